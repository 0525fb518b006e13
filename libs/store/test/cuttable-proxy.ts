// A TCP proxy before a MongoDB server that breaks connections, so that answers to carried-out writes are lost.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttableProxy extends AsyncDisposable {
  /** Of the same database; ends in an option. */
  readonly url: string;
  /** Breaks all connections once; returns how many there were. */
  cut(): number;
  /** Takes no connections until `up`. */
  down(): Promise<void>;
  up(): Promise<void>;
}

export async function cuttableProxy(url: string): Promise<CuttableProxy> {
  const { hostname, port, pathname, searchParams } = new URL(url);
  const sockets = new Set<Socket>();
  const make = () =>
    createServer((near) => {
      const far = connect(Number(port === '' ? 27_017 : port), hostname);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.pipe(to);
        from.on('error', () => undefined);
        from.on('close', () => {
          sockets.delete(from);
          to.destroy();
        });
      }
    });
  let server = make();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const own = typeof address === 'object' && address !== null ? address.port : 0;
  const cut = (): number => {
    const count = sockets.size;
    for (const socket of sockets) socket.destroy();
    return count;
  };
  const down = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    cut();
    await closed;
  };
  searchParams.set('directConnection', 'true');
  return {
    url: `mongodb://127.0.0.1:${own}${pathname}?${searchParams.toString()}`,
    cut,
    down,
    up: async () => {
      server = make();
      server.listen(own, '127.0.0.1');
      await once(server, 'listening');
    },
    [Symbol.asyncDispose]: down,
  };
}
