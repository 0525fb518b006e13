/**
 * Everything that somebody with a NATS connection may try in order to leave a slice of the events. What comes of it
 * is not taken from the broker's words: what arrived is looked through, and the platform's streams, consumers and
 * buckets are compared with what they were. A plain NATS client, no code of the platform.
 */
import { AckPolicy, DeliverPolicy, type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { type Msg, type NatsConnection, nanos } from '@nats-io/transport-node';

export interface Ways {
  /** What the attacker has by right. */
  readonly own: { readonly consumer: string; readonly slice: string; readonly api: string };
  /** What is another's. */
  readonly other: { readonly consumer: string; readonly subject: string };
  /** Goes into all that is published, to be found where it came through. */
  readonly marker: string;
}

export interface Tried {
  readonly attempts: number;
  /** Messages that the attacker got and had no right to, by subject. */
  readonly leaked: readonly string[];
  /** What the server said of it. */
  readonly violations: number;
}

const streams = [
  'NEPHOS_EVENTS',
  'NEPHOS_STATE',
  'NEPHOS_JOB_EVENTS',
  'NEPHOS_DEAD_LETTERS',
  'KV_nephos-directory',
];
const prefixes = ['$JS.API', '$JS.nephos.API'];

/** Tries all of it, and waits until the broker has dealt with it. */
export async function tryToLeave(connection: NatsConnection, ways: Ways): Promise<Tried> {
  const leaked: string[] = [];
  let violations = 0;
  let attempts = 0;
  const heard = (error: Error | null, message: Msg): void => {
    if (error) violations += 1;
    else if (!isByRight(message, ways) && !isOfItself(message, connection))
      leaked.push(`${message.subject} ${message.string().slice(0, 200)}`);
  };
  void (async () => {
    for await (const { type } of connection.status()) if (type === 'error') violations += 1;
  })();
  for (const subject of listening(ways)) {
    attempts += 1;
    connection.subscribe(subject, { callback: heard });
  }
  const inbox = `_INBOX.${ways.marker}`;
  connection.subscribe(`${inbox}.>`, { callback: heard });
  for (const [at, { subject, body = '', reply = `${inbox}.${at}` }] of sending(ways).entries()) {
    attempts += 1;
    // The client itself refuses some subjects.
    try {
      connection.publish(subject, body, { reply });
    } catch {
      violations += 1;
    }
  }
  await connection.flush();
  return {
    attempts,
    leaked,
    get violations() {
      return violations;
    },
  };
}

function isByRight(message: Msg, { own, marker }: Ways): boolean {
  const { subject } = message;
  if (subject.startsWith(own.slice)) return true;
  // Heartbeats, and requests that ran out.
  if (message.headers?.code) return true;
  const text = message.string();
  if (text === '' || text === '+OK') return true;
  // The broker's audit of what this very account asked for.
  if (subject === '$JS.EVENT.ADVISORY.API') {
    return (JSON.parse(text) as { client?: { acc?: string } }).client?.acc === own.consumer;
  }
  if (text.includes('"error"') && !text.includes('"stream_name"')) return true;
  if (text.includes('"type":"io.nats.jetstream.api.v1.consumer_info_response"')) {
    return (JSON.parse(text) as { name?: string }).name === own.consumer;
  }
  // What it says itself, in a room of its own, is no secret.
  return subject.includes(marker) && text.includes(marker);
}

/** Whoever is not forbidden to ask is told of the connections of its own account, and which server they are at. */
function isOfItself(message: Msg, { info }: NatsConnection): boolean {
  const text = message.string();
  if (!text.includes('"connections"')) return false;
  const { data } = JSON.parse(text) as { data?: { connections?: { cid: number }[] } };
  return data?.connections?.every(({ cid }) => cid === info?.client_id) ?? false;
}

function listening({ other }: Ways): string[] {
  return [
    '>',
    '*.>',
    'nephos.v1.>',
    'nephos-jobs.v1.>',
    'nephos-dead.v1.>',
    other.subject,
    '$JS.>',
    '$JS.ACK.>',
    '$JS.EVENT.ADVISORY.>',
    '$SYS.>',
    '$SYS.ACCOUNT.>',
    '$KV.>',
    '$SRV.>',
    '$O.>',
    '_R_.>',
    '_INBOX.>',
    '_INBOX.*',
    '$NRG.>',
    '$G.>',
  ];
}

interface Sent {
  readonly subject: string;
  readonly body?: string;
  readonly reply?: string;
}

function sending(ways: Ways): Sent[] {
  return [
    ...prefixes.flatMap((prefix) => asking(prefix, ways)),
    ...acknowledging(ways),
    ...byReply(ways),
    ...publishing(ways),
    ...asSystem(ways),
  ];
}

function asking(prefix: string, { own, other, marker }: Ways): Sent[] {
  const consumer = (name: string, config: object) =>
    JSON.stringify({ config: { ack_policy: AckPolicy.Explicit, ...config, name, durable_name: name } });
  const made = `made_${marker}`;
  const anyone = ['*', '>', other.consumer];
  return [
    { subject: `${prefix}.INFO` },
    { subject: `${prefix}.STREAM.NAMES` },
    { subject: `${prefix}.STREAM.LIST` },
    { subject: `${prefix}.STREAM.CREATE.${marker}`, body: stream(marker, [`${marker}.>`]) },
    {
      subject: `${prefix}.STREAM.CREATE.${marker}2`,
      body: stream(`${marker}2`, ['other.>'], 'NEPHOS_EVENTS'),
    },
    ...streams.flatMap((name): Sent[] => [
      { subject: `${prefix}.STREAM.INFO.${name}` },
      { subject: `${prefix}.STREAM.UPDATE.${name}`, body: stream(name, [`${marker}.>`]) },
      { subject: `${prefix}.STREAM.MSG.GET.${name}`, body: '{"seq":1}' },
      { subject: `${prefix}.STREAM.MSG.GET.${name}`, body: JSON.stringify({ last_by_subj: other.subject }) },
      { subject: `${prefix}.STREAM.MSG.DELETE.${name}`, body: '{"seq":1}' },
      { subject: `${prefix}.DIRECT.GET.${name}`, body: JSON.stringify({ last_by_subj: other.subject }) },
      { subject: `${prefix}.DIRECT.GET.${name}.${other.subject}` },
      {
        subject: `${prefix}.STREAM.SNAPSHOT.${name}`,
        body: JSON.stringify({ deliver_subject: `_INBOX.${marker}` }),
      },
      { subject: `${prefix}.CONSUMER.NAMES.${name}` },
      { subject: `${prefix}.CONSUMER.LIST.${name}` },
      { subject: `${prefix}.STREAM.PURGE.${name}` },
      ...anyone.flatMap((who): Sent[] => [
        { subject: `${prefix}.CONSUMER.INFO.${name}.${who}` },
        { subject: `${prefix}.CONSUMER.MSG.NEXT.${name}.${who}`, body: '5' },
        { subject: `${prefix}.CONSUMER.DELETE.${name}.${who}` },
      ]),
      // New ones, on anything.
      {
        subject: `${prefix}.CONSUMER.CREATE.${name}.${made}`,
        body: JSON.stringify({ stream_name: name, ...JSON.parse(consumer(made, {})) }),
      },
      {
        subject: `${prefix}.CONSUMER.DURABLE.CREATE.${name}.${made}`,
        body: JSON.stringify({ stream_name: name, ...JSON.parse(consumer(made, {})) }),
      },
      {
        subject: `${prefix}.CONSUMER.CREATE.${name}`,
        body: JSON.stringify({
          stream_name: name,
          config: {
            deliver_subject: `_INBOX.${marker}.push`,
            ack_policy: AckPolicy.None,
            deliver_policy: DeliverPolicy.All,
          },
        }),
      },
      { subject: `${prefix}.STREAM.DELETE.${name}.nothing` },
    ]),
    // One's own consumer, turned into another: a wider filter, or one that pushes onto the platform's subjects.
    ...[
      `${prefix}.CONSUMER.CREATE.NEPHOS_EVENTS.${own.consumer}`,
      `${prefix}.CONSUMER.DURABLE.CREATE.NEPHOS_EVENTS.${own.consumer}`,
    ].flatMap((subject): Sent[] => [
      { subject: `${subject}.nephos.v1.>`, body: mine(own.consumer, { filter_subject: 'nephos.v1.>' }) },
      { subject, body: mine(own.consumer, { filter_subject: 'nephos.v1.>' }) },
      { subject, body: mine(own.consumer, { deliver_subject: '$JS.API.STREAM.PURGE.NEPHOS_EVENTS' }) },
      { subject, body: mine(own.consumer, { deliver_subject: other.subject }) },
      {
        subject,
        body: mine(own.consumer, {
          filter_subject: own.slice,
          deliver_subject: '$JS.API.STREAM.PURGE.NEPHOS_EVENTS',
        }),
      },
    ]),
  ];
}

function stream(name: string, subjects: readonly string[], source?: string): string {
  return JSON.stringify({
    name,
    subjects,
    ...(source !== undefined && { sources: [{ name: source }] }),
    storage: 'memory',
    retention: 'limits',
    num_replicas: 1,
  });
}

function mine(name: string, config: object): string {
  return JSON.stringify({
    stream_name: 'NEPHOS_EVENTS',
    config: { durable_name: name, ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.All, ...config },
  });
}

function acknowledging({ own, other }: Ways): Sent[] {
  return ['+ACK', '+TERM', '-NAK', '+NXT'].flatMap((body): Sent[] =>
    ['NEPHOS_EVENTS', 'NEPHOS_STATE'].flatMap((name) => [
      { subject: `$JS.ACK.${name}.${other.consumer}.1.1.1.0.0`, body },
      { subject: `$JS.ACK._._.${name}.${other.consumer}.1.1.1.0.0.x`, body },
      // Of one's own, but with somebody else's subject to answer to.
      {
        subject: `$JS.ACK.${name}.${own.consumer}.1.1.1.0.0`,
        body,
        reply: '$JS.API.STREAM.PURGE.NEPHOS_STATE',
      },
    ]),
  );
}

/** The broker answers where it is told to: into the platform's subjects, if it lets itself. */
function byReply({ own, other, marker }: Ways): Sent[] {
  const questions: Sent[] = [
    {
      subject: `${own.api}.CONSUMER.MSG.NEXT.NEPHOS_EVENTS.${own.consumer}`,
      body: JSON.stringify({ batch: 1, expires: nanos(2_000) }),
    },
    { subject: `${own.api}.CONSUMER.INFO.NEPHOS_EVENTS.${own.consumer}` },
    { subject: `${own.api}.CONSUMER.INFO.NEPHOS_STATE.${own.consumer}` },
  ];
  const replies = [
    `nephos.v1.injected.${marker}.vm.by-reply`,
    other.subject,
    `$KV.nephos-directory.${marker}`,
    '$JS.API.STREAM.PURGE.NEPHOS_EVENTS',
    '$JS.API.STREAM.PURGE.NEPHOS_STATE',
    '$JS.API.STREAM.DELETE.NEPHOS_STATE',
    `$JS.ACK.NEPHOS_EVENTS.${other.consumer}.1.1.1.0.0`,
    `$JS.API.CONSUMER.DELETE.NEPHOS_EVENTS.${other.consumer}`,
    '$SYS.REQ.CLAIMS.LIST',
    `${own.api}.CONSUMER.MSG.NEXT.NEPHOS_EVENTS.${own.consumer}`,
    `${own.api}.CONSUMER.INFO.NEPHOS_EVENTS.${own.consumer}`,
  ];
  return questions.flatMap((question) => replies.map((reply) => ({ ...question, reply })));
}

function publishing({ other, marker }: Ways): Sent[] {
  return [
    `nephos.v1.injected.${marker}.vm.by-hand`,
    other.subject,
    `nephos-jobs.v1._._.job.${marker}`,
    `nephos-dead.v1.x.vm.${marker}`,
    `$KV.nephos-directory.${marker}`,
    `_INBOX.${marker}.other`,
    `_R_.${marker}`,
    `$SRV.PING`,
    `$SRV.INFO`,
    `$SRV.STATS`,
    `$JS.EVENT.ADVISORY.${marker}`,
    marker,
  ].map((subject) => ({ subject, body: JSON.stringify({ marker }) }));
}

function asSystem({ marker }: Ways): Sent[] {
  return [
    '$SYS.REQ.SERVER.PING',
    '$SYS.REQ.SERVER.PING.CONNZ',
    '$SYS.REQ.SERVER.PING.JSZ',
    '$SYS.REQ.ACCOUNT.PING.CONNZ',
    '$SYS.REQ.CLAIMS.LIST',
    '$SYS.REQ.CLAIMS.PACK',
    '$SYS.REQ.CLAIMS.UPDATE',
    '$SYS.REQ.CLAIMS.DELETE',
    `$SYS.ACCOUNT.${marker}.CLAIMS.UPDATE`,
  ].map((subject) => ({ subject }));
}

/** The platform's side of it: what must be the same before and after, events apart. */
export interface Standing {
  readonly streams: Readonly<Record<string, string>>;
  readonly consumers: Readonly<Record<string, string>>;
  /** Events from the first one that the stream still has. */
  readonly first: number;
  readonly marked: readonly string[];
}

export async function standing(inside: NatsConnection, marker: string): Promise<Standing> {
  const jsm = await jetstreamManager(inside, { timeout: 60_000 });
  const found: Record<string, string> = {};
  const consumers: Record<string, string> = {};
  let first = 0;
  const marked: string[] = [];
  for await (const { config, state } of jsm.streams.list()) {
    const { name } = config;
    found[name] = JSON.stringify(config);
    if (name === 'NEPHOS_EVENTS') first = state.first_seq;
    for await (const { name: who, config: made } of jsm.consumers.list(name)) {
      consumers[`${name}/${who}`] = JSON.stringify(made);
    }
    marked.push(...(await subjectsWith(jsm, name, marker)));
  }
  return { streams: found, consumers, first, marked };
}

async function subjectsWith(jsm: JetStreamManager, name: string, marker: string): Promise<string[]> {
  const { state } = await jsm.streams.info(name);
  const found: string[] = [];
  for (let seq = Math.max(1, state.first_seq); seq <= state.last_seq; seq += 1) {
    const message = await jsm.streams.getMessage(name, { seq });
    if (message && (message.subject.includes(marker) || message.string().includes(marker)))
      found.push(message.subject);
  }
  return found;
}
