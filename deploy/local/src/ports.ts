/** Ports on loopback: whether something listens yet, and how it greets. */
import { connect } from 'node:net';
import { host } from './layout.ts';

const patienceMs = 1000;

/** True when the port takes connections. */
export function accepts(port: number): Promise<boolean> {
  return attempt(port, 'connect', () => true);
}

/** True when what listens speaks as a NATS broker does: it greets first. */
export function natsGreets(port: number): Promise<boolean> {
  return attempt(port, 'data', (data) => String(data).startsWith('INFO'));
}

function attempt(
  port: number,
  event: 'connect' | 'data',
  judge: (data: unknown) => boolean,
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: patienceMs });
    const answer = (outcome: boolean): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.once(event, (data: unknown) => answer(judge(data)));
    for (const end of ['error', 'timeout', 'close']) socket.once(end, () => answer(false));
  });
}
