// A process that writes until it is killed, and prints each write once it was acknowledged: "id rank;".
// Started by durability.ts with a store's URL and a prefix for its ids.
import { systemClock } from '@nephos/service';
import { openStore } from '../open.ts';
import { parts } from './fixture.ts';

const [url, prefix] = process.argv.slice(2) as [string, string];
const writers = 40;
const updates = 20;

const store = await openStore({ url, clock: systemClock });
const collection = await store.collection(parts);

async function write(writer: number): Promise<never> {
  for (let turn = 0; ; turn += 1) {
    const id = `${prefix}-${writer}-${turn}`;
    for (let rank = 1; rank <= updates; rank += 1) {
      const value = { rank, note: 'x'.repeat(rank * 10) };
      if (rank === 1) await collection.insert(id, value, rank);
      else await collection.update(id, rank - 1, value, rank);
      process.stdout.write(`${id} ${rank};\n`);
    }
  }
}

await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
