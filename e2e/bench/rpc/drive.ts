/** How clients call, whatever a call is; the same on both sides. */
import type { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import type { Called, Calls, ClientCommands } from './commands.ts';
import { asking, message } from './echo.ts';

/** One side's client. */
export interface Echo {
  say(request: ErrorInfo): Promise<ErrorInfo>;
  /** Gives how many answers came. */
  count(request: ErrorInfo): Promise<number>;
  /** Sends so many messages as fast as they are taken; gives how many answers came. */
  chat(messages: number): Promise<number>;
}

export function commandsOf(echo: Echo): ClientCommands {
  return {
    unary: (calls) => unary(echo, calls),
    serverStream: (calls) => streams(calls, (messages) => echo.count(asking(messages))),
    bidi: (calls) => streams(calls, (messages) => echo.chat(messages)),
  };
}

async function unary(echo: Echo, { calls, inFlight }: Calls): Promise<Called> {
  const times = new Float64Array(calls);
  let next = 0;
  const began = performance.now();
  const caller = async (): Promise<void> => {
    while (next < calls) {
      const place = next++;
      const asked = performance.now();
      await echo.say(message);
      times[place] = performance.now() - asked;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return { seconds: (performance.now() - began) / 1000, times };
}

async function streams(
  { calls, inFlight }: Calls,
  one: (messages: number) => Promise<number>,
): Promise<number> {
  const messages = Math.ceil(calls / inFlight);
  const began = performance.now();
  const came = await Promise.all(Array.from({ length: inFlight }, () => one(messages)));
  if (came.some((count) => count !== messages))
    throw new Error(`${messages} were due, and came: ${came.join()}`);
  return (performance.now() - began) / 1000;
}
