/**
 * Several instances of one subscriber, of which the one that holds the lease reads: they are stopped, killed and
 * started again under load. What a clean stop hands over comes once; after a kill only what was not acknowledged
 * comes again.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import type { Told } from './oracle.ts';
import type { Choices } from './seeded.ts';
import { serveStore } from './shared-store.ts';
import { end, type Findings, rest, told, type World } from './world.ts';

/** Handlers at once, and what had been handled when their acknowledgements were still on their way. */
const unacknowledged = 64;

type Heard = Told & { readonly at: number };

export async function readersChange(world: World, seed: number, choices: Choices): Promise<Findings> {
  await using store = await openStore({ url: world.besideUrl, clock: systemClock });
  const source = await world.source(seed);
  await told(source, 'ready');
  const heard: Heard[] = [];
  const readers = [await startReader(world, store, heard), await startReader(world, store, heard)];
  let kills = 0;
  for (let round = 0; round < 3; round += 1) {
    await systemClock.sleep(800 + choices.below(800));
    const [gone] = readers.splice(choices.below(2), 1);
    if (!gone) continue;
    if (choices.chance(0.5)) {
      kills += 1;
      await end(gone);
    } else {
      const exited = once(gone, 'exit');
      gone.kill('SIGTERM');
      await exited;
    }
    readers.push(await startReader(world, store, heard));
  }
  await rest(world, seed, source);
  const inTime = (): Told[] => heard.toSorted((one, other) => one.at - other.at);
  const findings = await world.findings({ handled: () => withoutRepeats(inTime()).once });
  const { repeats } = withoutRepeats(inTime());
  for (const reader of readers) await end(reader);
  const tooMany = Math.max(0, repeats - kills * unacknowledged);
  return { ...findings, handler: { ...findings.handler, doubled: findings.handler.doubled + tooMany } };
}

async function startReader(world: World, store: Store, heard: Heard[]): Promise<ChildProcess> {
  const reader = world.spawn('reader-process.ts', []);
  reader.on('message', (message: { handled?: Heard }) => {
    if (message.handled) heard.push(message.handled);
  });
  const served = serveStore(store, reader, () => false);
  reader.once('exit', () => served[Symbol.dispose]());
  await told(reader, 'ready');
  return reader;
}

/** What came again word for word is counted apart; what is left has to be in order. */
function withoutRepeats(all: readonly Told[]): { once: Told[]; repeats: number } {
  const seen = new Set<string>();
  const once = all.filter(({ entity, sequence }) => {
    const key = `${entity}/${sequence}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  return { once, repeats: all.length - once.length };
}
