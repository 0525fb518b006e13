/**
 * The peer's subscribers: a pull consumer each with explicit acknowledgements, all on one connection, by @nats-io
 * alone. A handler of ours gets an event that is decoded, so theirs parses its body. Arguments: broker, how many.
 */
import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { answer } from '../child.ts';
import type { Expected, SubscriberCommands } from './commands.ts';
import { numberIn } from './commands.ts';
import { rawConsumer, rawStream } from './raw-stream.ts';
import { Tally } from './tally.ts';

const [servers = '', subscribers = '1'] = process.argv.slice(2);
const connection = await connect({ servers });
const js = jetstream(connection);
const tally = new Tally();
for (let at = 0; at < Number(subscribers); at += 1) {
  const consumer = await js.consumers.get(rawStream, rawConsumer(at));
  await consumer.consume({
    max_messages: 1000,
    expires: 10_000,
    callback: (message) => {
      message.json();
      tally.handled(numberIn(message.subject.slice(message.subject.lastIndexOf('.') + 1)));
      message.ack();
    },
  });
}

answer<SubscriberCommands>({ expect: (input: Expected) => tally.expect(input) }, () => connection.drain());
