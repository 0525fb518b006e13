/** The first gRPC call: lists VMs, with a client found through the directory. Needs `npm start` to be running. */
import { connectPlatform } from '@nephos/client';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';

await using platform = connectPlatform({ directory: '127.0.0.1:7401', principal: 'users/newcomer' });
const vms = await platform.client(VmServiceDefinition, 'orchestrator');

const { vms: page } = await vms.listVms({ filter: 'state = "RUNNING"', pageSize: 10 });
for (const { header, status } of page) console.log(header?.displayName, header?.name, 'on', status?.host);
