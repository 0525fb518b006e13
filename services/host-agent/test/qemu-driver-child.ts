/** A driver in a process of its own, to be killed: starts the spec it is given and says `started`. */
import { systemClock } from '@nephos/service';
import { pino } from 'pino';
import { QemuDriver, type QemuInstallation } from '../src/adapters/qemu/index.ts';

interface Given {
  readonly root: string;
  readonly socketFolder: string;
  readonly installation: QemuInstallation;
  readonly spec: Parameters<QemuDriver['start']>[0] & {
    readonly generation: string;
    readonly memoryBytes: string;
  };
}

const given = JSON.parse(process.argv[2] ?? '') as Given;
const driver = await QemuDriver.open({ ...given, clock: systemClock, log: pino({ level: 'silent' }) });
await driver.start({
  ...given.spec,
  generation: BigInt(given.spec.generation),
  memoryBytes: BigInt(given.spec.memoryBytes),
});
process.stdout.write('started\n');
// Lives until it is killed.
setInterval(() => {}, 60_000);
