/** Started by run.test.ts: a process that starts, calls and stops must end by itself, since nothing is left open. */
import { collect, startEcho } from './echo.ts';

const echo = await startEcho();
await echo.client.say({ reason: 'x' });
await collect(echo.client.count({ reason: '3' }));
await echo[Symbol.asyncDispose]();
process.stdout.write('stopped\n');
