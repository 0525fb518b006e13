/** The launcher's arguments. Pure. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Invalid } from '@nephos/service';
import { worldStoreUrl } from '@nephos/store';
import { portCount } from './layout.ts';

export interface LaunchOptions {
  /** Do the main job, take it back, stop. */
  readonly once: boolean;
  readonly simulate: boolean;
  /** Absolute. */
  readonly data: string;
  readonly portBase: number;
  /** `mongodb://…`; undefined: each service has a file in the data folder. */
  readonly store: string | undefined;
  readonly isolate: boolean;
  readonly verbose: boolean;
  readonly help: boolean;
}

export const usage = `Usage: npm start -- [options]

Starts the whole platform on this machine and a first VM on it, then stays until Ctrl-C.

  --once           do all of it once, take the VM back, stop; exit code 0 only if every step was seen to work
  --simulate       simulated hosts: nothing boots, and all the rest is real
  --data DIR       keep everything in DIR (default .nephos)
  --port-base N    first of the ${portCount} ports taken on 127.0.0.1 (default 7400)
  --store URL      keep the records in MongoDB: mongodb://host:27017, or …/PREFIX for databases of that name
                   instead of nephos_… (default: NEPHOS_STORE, which also suits a URL with a password; else a
                   file for each service). nephos store move brings what is in the files there
  --isolate        a process for each service (default: the control plane in one, the host agent in another)
  --verbose        show what the services log as well
  --help           this text

Exit codes: 0 all well, 1 something failed (it says what), 2 wrong arguments, 130 interrupted or forced.
`;

const lastPortBase = 65_536 - portCount;

/** Throws `Invalid` on arguments that are not ours. `cwd`: where relative folders begin. */
export function parseOptions(args: readonly string[], cwd: string, storeOfEnv = ''): LaunchOptions {
  const values = read(args);
  const store = values.store ?? storeOfEnv;
  if (store !== '') worldStoreUrl(store, 'simulated');
  const portBase = Number(values['port-base'] ?? 7400);
  if (!Number.isInteger(portBase) || portBase < 1024 || portBase > lastPortBase) {
    throw new Invalid('FIELD_INVALID', `--port-base is a number from 1024 to ${lastPortBase}`);
  }
  return {
    once: values.once ?? false,
    simulate: values.simulate ?? false,
    data: path.resolve(cwd, values.data ?? '.nephos'),
    portBase,
    store: store === '' ? undefined : store,
    isolate: values.isolate ?? false,
    verbose: values.verbose ?? false,
    help: values.help ?? false,
  };
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        once: { type: 'boolean' },
        simulate: { type: 'boolean' },
        data: { type: 'string' },
        'port-base': { type: 'string' },
        store: { type: 'string' },
        isolate: { type: 'boolean' },
        verbose: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (cause) {
    throw new Invalid('FIELD_INVALID', cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
