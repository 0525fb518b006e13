/** Our writer, as a service has it: a SQLite store, an entity in it, a relay to the broker. Arguments: broker, folder. */
import { connectBus, openEntity, startRelay } from '@nephos/events';
import { systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { answer } from '../child.ts';
import type { Burst, Paced, WriterCommands } from './commands.ts';
import { uidOf } from './commands.ts';
import { burst, paced } from './load.ts';
import { silentContext } from './silent.ts';
import { newVm, toggled, type VmRecord, vmEntity } from './vm-entity.ts';

const [nats = '', folder = ''] = process.argv.slice(2);
const open = new AsyncDisposableStack();
const store = open.use(await openStore({ url: `sqlite://${folder}/store.db`, clock: systemClock }));
const vms = await openEntity(store, vmEntity, { source: 'bench', clock: systemClock });
const bus = open.use(await connectBus({ ...silentContext, nats }));
const relay = open.use(startRelay(silentContext, { store, bus }));
await bus.ready();

const prepared = new Map<number, VmRecord>();

async function prepare({ from, count, kind }: Omit<Burst, 'window'>): Promise<void> {
  prepared.clear();
  if (kind === 'update') return;
  for (let number = from; number < from + count; number += 1) prepared.set(number, newVm(number));
}

const insert = (number: number) => vms.insert(uidOf(number), prepared.get(number) ?? newVm(number));
const update = (number: number) => vms.modify(uidOf(number), toggled);

answer<WriterCommands>(
  {
    prepare,
    burst: (input: Burst) => burst(input, input.kind === 'insert' ? insert : update),
    paced: (input: Paced) => paced(input, insert),
    settle: () => relay.flush(),
  },
  () => open.disposeAsync(),
);
