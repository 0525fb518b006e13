// A subscription that nobody reads any more is noticed, in the log and in the figures.
import { expect, test } from '@jest/globals';
import { subscribe } from '@nephos/events';
import { type Clock, createLog, systemClock } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { Activity } from '../src/activity.ts';
import { Stack } from './support/stack.ts';

/** Real waits are short on it, and its own time is moved by hand. */
class HandClock implements Clock {
  #offset = 0;
  now = () => systemClock.now();
  monotonic = () => systemClock.monotonic() + this.#offset;
  sleep = (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal);
  timer = (ms: number, fire: () => void) => systemClock.timer(ms, fire);
  every = (ms: number, fire: () => void) => systemClock.every(ms, fire);

  pass(ms: number): void {
    this.#offset += ms;
  }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await systemClock.sleep(10);
}

test('a stop is said once, with what waits; going on is said too', async () => {
  await using stack = await Stack.open();
  const lines: { readonly msg: string; readonly subscription: string; readonly lag: number }[] = [];
  const clock = new HandClock();
  const to = { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) };
  const log = createLog({ service: 'events', version: '1', instanceId: 'test', level: 'info', to });
  const activity = new Activity({ bus: stack.bus, clock, log });
  const stopping = new AbortController();
  const running = activity.run(stopping.signal);
  const filter = { owner: 'act' };
  const reader = subscribe(stack.bus, { name: 'steady', filter }, async () => undefined);
  await reader.started;
  clock.pass(120_000);
  await systemClock.sleep(200);
  expect(lines).toEqual([]);
  await reader[Symbol.asyncDispose]();
  await stack.publish('a1', [1, 2], { owner: 'act' });
  await systemClock.sleep(100);
  await until(() => {
    clock.pass(10_000);
    return lines.length > 0;
  });
  expect(lines).toMatchObject([
    { msg: 'a subscription has stopped: nobody reads it', subscription: 'subscriptions/steady', lag: 2 },
  ]);
  clock.pass(600_000);
  await systemClock.sleep(200);
  expect(lines.length).toBe(1);
  await using again = subscribe(stack.bus, { name: 'steady', filter }, async () => undefined);
  await until(() => again.counts.handled === 2 && lines.length === 2);
  expect(lines[1]).toMatchObject({ msg: 'a subscription is read again' });
  stopping.abort();
  await running;
});

test('lag, age and reading are metrics', async () => {
  await using stack = await Stack.open();
  const port = await freePort();
  await stack.replica({ NEPHOS_METRICS_BIND: `127.0.0.1:${port}` });
  const gate = Promise.withResolvers<void>();
  const reader = subscribe(stack.bus, { name: 'measured', filter: { owner: 'm' } }, () => gate.promise);
  await reader.started;
  await stack.publish('m1', [1, 2, 3], { owner: 'm' });
  const figure = async (name: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const line = new RegExp(
      `^nephos_subscription_${name}\\S*\\{[^}]*subscription="measured"[^}]*\\} (\\S+)`,
      'm',
    ).exec(text);
    return Number(line?.[1] ?? Number.NaN);
  };
  await until(async () => (await figure('unacknowledged')) === 3);
  expect(await figure('read')).toBe(1);
  expect(await figure('lag')).toBe(0);
  expect(await figure('oldest_unhandled_age')).toBeGreaterThan(0);
  gate.resolve();
  await until(async () => (await figure('oldest_unhandled_age')) === 0);
  await reader[Symbol.asyncDispose]();
});
