/** Our subscribers, at their defaults, all on one connection. Arguments: broker, how many. */
import { connectBus, subscribe } from '@nephos/events';
import { answer } from '../child.ts';
import type { Expected, SubscriberCommands } from './commands.ts';
import { numberIn } from './commands.ts';
import { silentContext } from './silent.ts';
import { Tally } from './tally.ts';

const [nats = '', subscribers = '1'] = process.argv.slice(2);
const open = new AsyncDisposableStack();
const bus = open.use(await connectBus({ ...silentContext, nats }));
const tally = new Tally();
const subscriptions = Array.from({ length: Number(subscribers) }, (_, at) =>
  open.use(
    subscribe(bus, { name: `bench-${at}`, filter: { entity: 'vm' } }, async (event) => {
      tally.handled(numberIn(event.uid), event.sequence - event.firstSequence + 1);
    }),
  ),
);
await Promise.all(subscriptions.map(({ started }) => started));

answer<SubscriberCommands>({ expect: (input: Expected) => tally.expect(input) }, () => open.disposeAsync());
