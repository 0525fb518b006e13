/** `nephos events`: entity changes, as any subscriber gets them, and what describes them. */
import { eventText } from '@nephos/client';
import { type Bus, type EntityEvent, type StartFrom, subscribe } from '@nephos/events';
import { SchemaServiceDefinition } from '@nephos/proto/nephos/events/v1/schema';
import { checkEntityWord, eventTypeOf } from '@nephos/schemas';
import { type Clock, Invalid, newUid } from '@nephos/service';
import type { Command } from 'commander';
import { findName } from '../resource.ts';
import type { Session } from '../session.ts';
import { printable } from '../table.ts';
import { zoneKind } from './zones.ts';

const examples = `
Examples:
  nephos events tail                                 what changes from now on
  nephos events tail --entity vm --from all          every change of a VM that is still kept
  nephos events tail --since 10m                     the last ten minutes, then what comes
  nephos events tail --owner acme --zone east --json
  nephos events tail --from 2026-11-23T04:00:00Z --json
  nephos events schema dev.nephos.vm.v1.created      the JSON Schema of an event
  nephos events asyncapi > asyncapi.json             all of it as an AsyncAPI document`;

interface TailOptions {
  readonly entity?: string;
  readonly owner?: string;
  readonly zone?: string;
  readonly from: string;
  readonly since?: string;
}

export function addEvents(program: Command, session: Session): void {
  const group = program
    .command('events')
    .description('events: every change of every entity')
    .addHelpText('after', examples);
  group
    .command('tail')
    .description('show events as they come, until Ctrl-C')
    .option('--entity <word>', 'only of this kind, e.g. vm, volume, host, job')
    .option('--owner <owner>', 'only of this owner')
    .option('--zone <zone>', 'only in this zone')
    .option('--from <where>', 'new, all, a time (RFC 3339) or a sequence of the stream', 'new')
    .option('--since <age>', 'begin so long ago, e.g. 90s, 10m, 2h, 1d')
    .action(async (options: TailOptions) => tail(session, options));
  group
    .command('schema')
    .description('the JSON Schema of an event, its data or a resource')
    .argument('[id]', 'e.g. dev.nephos.vm.v1.created; without one: what there is')
    .action(async (id: string | undefined) => schema(session, id));
  group
    .command('asyncapi')
    .description('the AsyncAPI 3 document of all events')
    .action(async () => {
      const { content } = await (
        await session.platform.client(SchemaServiceDefinition, 'events')
      ).getAsyncApi({});
      session.document(JSON.parse(content));
    });
}

/** A tail that is killed cannot take its position back from the broker. */
const forgetAfterMs = 5 * 60_000;

/** A broker that says nothing for so long is worth a word. */
const brokerPatienceMs = 3_000;

async function tail(session: Session, { entity, owner, zone, from, since }: TailOptions): Promise<void> {
  const filter = {
    ...(entity !== undefined && { entity }),
    ...(owner !== undefined && { owner }),
    ...(zone !== undefined && { zone: await findName(session, zoneKind, zone) }),
  };
  const start = since === undefined ? startOf(from) : before(session.platform.clock, since);
  using waiting = session.platform.clock.timer(brokerPatienceMs, () =>
    session.note('The broker does not answer; waiting for it. Ctrl-C ends it.'),
  );
  const bus = await session.platform.bus();
  if (entity !== undefined && entity !== 'job') await checkEntity(session, bus, entity);
  const options = { name: `cli-${newUid()}`, filter, from: start, concurrency: 1, forgetAfterMs };
  const tree = entity === 'job' ? 'jobs' : 'entities';
  const subscription = subscribe(bus, { ...options, tree }, async (event) => show(session, event));
  await Promise.race([subscription.started, interrupted(session)]);
  waiting[Symbol.dispose]();
  if (!session.json) session.note('Listening; Ctrl-C ends it.');
  await interrupted(session);
  await subscription.remove();
}

/** One that nothing here knows may be of a platform that is newer than this program: its schemas decide. */
async function checkEntity(session: Session, bus: Bus, entity: string): Promise<void> {
  try {
    await checkEntityWord({ session: await bus.ready(session.signal) }, entity, '--entity');
  } catch (refusal) {
    const name = `schemas/${eventTypeOf({ entity }, 'created')}`;
    const schemas = await session.platform.client(SchemaServiceDefinition, 'events');
    await schemas.getSchema({ name }).catch(() => {
      throw refusal;
    });
  }
}

function show(session: Session, event: EntityEvent): void {
  if (session.json) session.out(JSON.stringify(event));
  else session.out(printable(`${event.time.toISOString()}  ${eventText(event)}`));
}

function startOf(text: string): StartFrom {
  if (text === 'new' || text === 'all') return text;
  if (/^\d+$/.test(text)) return { sequence: Number(text) };
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new Invalid('FIELD_INVALID', `--from is new, all, a time or a sequence, not "${text}"`);
}

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function before(clock: Clock, age: string): Date {
  const [, number, unit = ''] = /^(\d+)([smhd])$/.exec(age) ?? [];
  if (number === undefined)
    throw new Invalid('FIELD_INVALID', `--since is a number and s, m, h or d, not "${age}"`);
  return new Date(clock.now().getTime() - Number(number) * (units[unit] ?? 0));
}

async function schema(session: Session, id: string | undefined): Promise<void> {
  const client = await session.platform.client(SchemaServiceDefinition, 'events');
  if (id !== undefined) {
    const { content } = await client.getSchema({ name: `schemas/${id.replace(/^schemas\//, '')}` });
    return session.document(JSON.parse(content));
  }
  const ids: string[] = [];
  let pageToken = '';
  do {
    const page = await client.listSchemas({ pageSize: 500, pageToken });
    ids.push(...page.schemas.map(({ name }) => name.replace('schemas/', '')));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  if (session.json) session.document(ids);
  else session.out(ids.join('\n'));
}

function interrupted({ signal }: Session): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
