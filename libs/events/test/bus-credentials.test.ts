// Connections to a broker that asks who one is: by a file of credentials that may be replaced while one is away.
import { copyFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { connectBus } from '../src/index.ts';
import { startNatsServer } from '../src/testing.ts';
import { context, until } from './harness.ts';

test('the file is read at each connection: refused with a stranger’s, let in with the right one', async () => {
  await using nats = await startNatsServer({ accounts: ['billing'] });
  await using elsewhere = await startNatsServer({ accounts: ['billing'] });
  const [right, wrong] = [nats.keys?.credsOf('billing') ?? '', elsewhere.keys?.credsOf('billing') ?? ''];
  const file = path.join(path.dirname(right), 'in-use.creds');
  await copyFile(wrong, file);
  const warned: string[] = [];
  const warn = (_: object, message: string): void => void warned.push(message);
  const log = { ...context.log, warn };
  await using bus = await connectBus({ ...context, log, nats: nats.url, natsCreds: file });
  await until('the refusal is told', () => warned.includes('the broker refuses our credentials'));
  await copyFile(right, file);
  const first = await bus.ready();
  await writeFile(file, '');
  await nats.kill();
  await nats.restart();
  await until('it is noticed', () => bus.session !== first);
  await copyFile(right, file);
  expect((await bus.ready()).incarnation).toBe(first.incarnation);
  expect(warned.filter((each) => each === 'the broker refuses our credentials')).toHaveLength(1);
});

test('a file that cannot be read is refused at once, by its name', async () => {
  const options = { ...context, nats: 'nats://127.0.0.1:9', natsCreds: '/nowhere/billing.creds' };
  await expect(connectBus(options)).rejects.toThrow(/cannot be read: \/nowhere\/billing.creds/);
});
