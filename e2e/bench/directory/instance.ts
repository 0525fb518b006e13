/** An instance as services register themselves, and its state by number: it stands in a label. Pure. */
import { Health, Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { numberIn, serviceOf, type Told, ttlMs, uidOf } from './commands.ts';

/** How often services of ours renew. */
export const renewMs = 500;

export function instanceOf({ number, state }: Told): Instance {
  return Instance.fromPartial({
    header: { uid: uidOf(number), labels: { state: String(state), rack: 'r1' } },
    service: serviceOf(number),
    version: '1.0.0',
    address: `10.0.${(number >> 8) & 255}.${number & 255}:7000`,
    grpcServices: ['nephos.orchestration.v1.VmService', 'nephos.orchestration.v1.HostService'],
    health: Health.SERVING,
    leaseTtl: { seconds: BigInt(ttlMs / 1000), nanos: 0 },
    renewInterval: { seconds: 0n, nanos: renewMs * 1e6 },
  });
}

export function toldBy({ header }: Instance): Told {
  return { number: numberIn(header?.uid ?? ''), state: Number(header?.labels['state']) };
}
