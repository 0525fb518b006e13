/**
 * What may befall events, a scenario each; every choice in it comes from its seed. In the end all is at rest, and
 * the findings say what was told.
 */

import { streams } from '@nephos/events';
import { offsetClock, systemClock } from '@nephos/service';
import { connectTo } from './broker.ts';
import { streamOptions } from './entity.ts';
import { readersChange } from './readers.ts';
import type { Choices } from './seeded.ts';
import { relayStalled } from './stalled.ts';
import { type Findings, rest, told, type World } from './world.ts';

/** Longer than the broker remembers ids. */
const pastWindowMs = streamOptions.dedupMs * 1.6;
const hourMs = 60 * 60 * 1000;

/** The source's process is killed at a place in its relay, again and again. */
async function sourceKilled(world: World, seed: number, choices: Choices): Promise<Findings> {
  await using _ = world.subscribe();
  let source = await world.source(seed);
  for (let round = 0; round < 3; round += 1) {
    await told(source, 'ready');
    const point = choices.chance(0.5) ? 'relay.publish' : 'relay.clear';
    world.control.reset();
    world.control.add({ point, nth: 1 + choices.below(200), action: 'kill' });
    await told(source, 'never');
    world.control.reset();
    if (choices.chance(0.4)) await systemClock.sleep(pastWindowMs);
    source = await world.source(seed + round);
  }
  await told(source, 'ready');
  await systemClock.sleep(300);
  await rest(world, seed, source);
  return await world.findings();
}

/** The broker is killed under load, at times for longer than it remembers ids. */
async function brokerKilled(world: World, seed: number, choices: Choices): Promise<Findings> {
  await using _ = world.subscribe();
  const source = await world.source(seed);
  await told(source, 'ready');
  for (let round = 0; round < 3; round += 1) {
    await systemClock.sleep(200 + choices.below(600));
    await world.nats.kill();
    await systemClock.sleep(choices.chance(0.5) ? pastWindowMs : choices.below(300));
    await world.nats.restart();
  }
  await systemClock.sleep(300);
  await rest(world, seed, source);
  return await world.findings();
}

/** The stream of events, or that of states, is deleted under load, and made anew by whoever finds it gone. */
async function streamLost(world: World, seed: number, choices: Choices): Promise<Findings> {
  await using _ = world.subscribe();
  const source = await world.source(seed);
  await told(source, 'ready');
  for (let round = 0; round < 2; round += 1) {
    await systemClock.sleep(300 + choices.below(700));
    const { jsm } = await world.bus.ready();
    const lost = choices.chance(0.5) ? streams.events : streams.state;
    await jsm.streams.delete(lost).catch(() => false);
  }
  // What is missing is made anew a while after it went.
  await systemClock.sleep(3_500);
  await rest(world, seed, source);
  const findings = await world.findings();
  // What lay in the deleted stream is gone from it. Each entity that there was is stated again, but one that was
  // just then removed, and came back later, is not: whoever knew it is resynced.
  return { ...findings, stream: { ...findings.stream, lost: 0 } };
}

/** The subscriber goes, thousands of events come, and it is back an hour later, perhaps with what it missed gone. */
async function subscriberAway(world: World, seed: number, choices: Choices): Promise<Findings> {
  const source = await world.source(seed);
  await told(source, 'ready');
  const bus = await connectTo(world.nats, systemClock);
  const first = world.subscribe({ concurrency: 4 }, bus);
  await first.started;
  await systemClock.sleep(200 + choices.below(500));
  // Killed with events in hand, or stopped in good order.
  if (choices.chance(0.5)) await bus.session?.connection.close();
  else await first[Symbol.asyncDispose]();
  await bus[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  await systemClock.sleep(1_500 + choices.below(1_000));
  const { jsm } = await world.bus.ready();
  const areGone = choices.chance(0.5);
  if (areGone) {
    const { state } = await jsm.streams.info(streams.events);
    // The stream's bounds take the oldest away. A purge would move the subscriber's position with it.
    await jsm.streams.update(streams.events, { max_msgs: Math.ceil(state.messages / 5) });
    await jsm.streams.update(streams.events, { max_msgs: -1 });
  }
  await rest(world, seed, source);
  const later = await connectTo(world.nats, offsetClock(systemClock, hourMs));
  await using _bus = later;
  await using _ = world.subscribe({}, later);
  const findings = await world.findings();
  return areGone ? { ...findings, stream: { ...findings.stream, lost: 0 } } : findings;
}

export const scenarios = {
  sourceKilled,
  brokerKilled,
  streamLost,
  subscriberAway,
  relayStalled,
  readersChange,
};
