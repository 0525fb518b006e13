/**
 * The peer's writer: the same bytes to the same kind of subject with the same message id, by @nats-io's own publish
 * with acknowledgement. Arguments: broker, stream, a body of ours.
 */
import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { answer } from '../child.ts';
import type { Burst, Paced, WriterCommands } from './commands.ts';
import { uidOf } from './commands.ts';
import { burst, paced } from './load.ts';
import { rawSubjects } from './raw-stream.ts';

const [servers = '', body = ''] = process.argv.slice(2);
const connection = await connect({ servers });
const js = jetstream(connection);
let published = 0;

const publish = (number: number) => {
  published += 1;
  return js.publish(rawSubjects.of(uidOf(number)), body, { msgID: `vm/${uidOf(number)}/${published}` });
};

answer<WriterCommands>(
  {
    prepare: async () => undefined,
    burst: (input: Burst) => burst(input, publish),
    paced: (input: Paced) => paced(input, publish),
    settle: async () => undefined,
  },
  () => connection.drain(),
);
