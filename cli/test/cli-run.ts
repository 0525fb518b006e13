/** Runs the command line as a terminal would, in this process. */
import { runCli } from '../src/program.ts';

export interface CliOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Where {
  readonly directory: string;
  readonly nats: string;
  /** File of credentials, where the broker asks for some. */
  readonly natsCreds?: string | undefined;
}

export interface RunningCli {
  readonly outcome: Promise<CliOutcome>;
  /** Ctrl-C. */
  interrupt(): void;
  /** Resolves once stdout or stderr holds the text. */
  said(text: string): Promise<void>;
}

export function startCli(
  { directory, nats, natsCreds }: Where,
  args: readonly string[],
  { tty = false } = {},
): RunningCli {
  let stdout = '';
  let stderr = '';
  let interrupt = (): void => {};
  const listeners = new Set<() => void>();
  const heard = (): void => {
    for (const listener of listeners) listener();
  };
  const world = {
    stdout: { isTTY: tty, write: (text: string) => ((stdout += text), heard()) },
    stderr: { isTTY: tty, write: (text: string) => ((stderr += text), heard()) },
    env: { NEPHOS_SERVER: directory, NEPHOS_NATS: nats, NEPHOS_NATS_CREDS: natsCreds, USER: 'tester' },
    cwd: '/',
    onInterrupt: (react: () => void) => {
      interrupt = react;
    },
  };
  const outcome = runCli(args, world).then((code) => ({ code, stdout, stderr }));
  return {
    outcome,
    interrupt: () => interrupt(),
    said: (text) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (!stdout.includes(text) && !stderr.includes(text)) return;
          listeners.delete(check);
          resolve();
        };
        listeners.add(check);
        check();
      }),
  };
}

export function runLine(where: Where, line: string): Promise<CliOutcome> {
  const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
  return startCli(where, words).outcome;
}
