/** What the libraries need of a service, for a process that is none. */
import { systemClock } from '@nephos/service';

const silent = (): void => undefined;

export const silentContext = {
  name: 'bench',
  clock: systemClock,
  log: {
    debug: silent,
    info: silent,
    warn: silent,
    error: (facts: object, message: string): void =>
      void process.stderr.write(`${message} ${JSON.stringify(facts)}\n`),
  },
};
