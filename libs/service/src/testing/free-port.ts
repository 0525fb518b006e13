/**
 * For tests: a port that stays a service's own over its restarts. It lies below the range that the kernel gives to outgoing
 * connections, so that none takes it while the service is down.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

const lowest = 20_000;
const highest = 32_000;

/** The first of `count` free ports in a row. */
export async function freePort(count = 1): Promise<number> {
  for (;;) {
    const first = randomInt(lowest, highest);
    const row = Array.from({ length: count }, (_, at) => isFree(first + at));
    if ((await Promise.all(row)).every(Boolean)) return first;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
