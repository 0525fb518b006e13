// Every event that the platform publishes, as a stranger with a plain NATS client hears it.
import { connect } from '@nats-io/transport-node';
import { natsOptions } from '@nephos/events/testing';
import { type Platform, until } from '@nephos/testing';

export type Json = { readonly [key: string]: unknown };

export interface Told {
  readonly natsSubject: string;
  readonly entity: string;
  readonly verb: string;
  /** The resource name. */
  readonly subject: string;
  readonly sequence: number;
  readonly new?: Json;
  readonly old?: Json;
  readonly changedPaths: readonly string[];
  /** The CloudEvent as it is on the bus. */
  readonly cloudEvent: Json;
}

export interface Listener extends AsyncDisposable {
  readonly told: readonly Told[];
  /** What was told of one resource, once `enough` says so. */
  of(name: string, enough: (events: readonly Told[]) => boolean): Promise<readonly Told[]>;
}

export async function listen({ nats }: Platform): Promise<Listener> {
  const connection = await connect(natsOptions(nats));
  const told: Told[] = [];
  for (const root of ['nephos.v1.>', 'nephos-jobs.v1.>']) {
    connection.subscribe(root, {
      callback: (_, message) => void told.push(toldIn(message.subject, message.json<Json>())),
    });
  }
  await connection.flush();
  return {
    told,
    of: (name, enough) =>
      until(async () => {
        const own = told.filter(({ subject }) => subject === name);
        return enough(own) && own;
      }),
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

function toldIn(natsSubject: string, cloudEvent: Json): Told {
  const [, , entity = '', , verb = ''] = String(cloudEvent['type']).split('.');
  const data = cloudEvent['data'] as {
    readonly new?: Json;
    readonly old?: Json;
    readonly changedPaths: string[];
  };
  const { subject, sequence } = cloudEvent;
  return {
    natsSubject,
    entity,
    verb,
    subject: String(subject),
    sequence: Number(sequence),
    cloudEvent,
    ...data,
  };
}
