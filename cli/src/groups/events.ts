/** `nephos events`: entity changes, as any subscriber gets them. */
import { eventText } from '@nephos/client';
import { type EntityEvent, type StartFrom, subscribe } from '@nephos/events';
import { Invalid, newUid } from '@nephos/service';
import type { Command } from 'commander';
import { findName } from '../resource.ts';
import type { Session } from '../session.ts';
import { printable } from '../table.ts';
import { zoneKind } from './zones.ts';

const examples = `
Examples:
  nephos events tail                                 what changes from now on
  nephos events tail --entity vm --from all          every change of a VM that is still kept
  nephos events tail --from 2026-11-23T04:00:00Z --json`;

interface TailOptions {
  readonly entity?: string;
  readonly owner?: string;
  readonly zone?: string;
  readonly from: string;
}

export function addEvents(program: Command, session: Session): void {
  program
    .command('events')
    .description('events: every change of every entity')
    .addHelpText('after', examples)
    .command('tail')
    .description('show events as they come, until Ctrl-C')
    .option('--entity <word>', 'only of this kind, e.g. vm, volume, host, instance')
    .option('--owner <owner>', 'only of this owner')
    .option('--zone <zone>', 'only in this zone')
    .option('--from <where>', 'new, all, a time (RFC 3339) or a sequence of the stream', 'new')
    .action(async (options: TailOptions) => tail(session, options));
}

/** A tail that is killed cannot take its position back from the broker. */
const forgetAfterMs = 5 * 60_000;

async function tail(session: Session, { entity, owner, zone, from }: TailOptions): Promise<void> {
  const filter = {
    ...(entity !== undefined && { entity }),
    ...(owner !== undefined && { owner }),
    ...(zone !== undefined && { zone: await findName(session, zoneKind, zone) }),
  };
  const bus = await session.platform.bus();
  const options = { name: `cli-${newUid()}`, filter, from: startOf(from), concurrency: 1, forgetAfterMs };
  const subscription = subscribe(bus, options, async (event) => show(session, event));
  await Promise.race([subscription.started, interrupted(session)]);
  if (!session.json) session.note('Listening; Ctrl-C ends it.');
  await interrupted(session);
  await subscription.remove();
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

function interrupted({ signal }: Session): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
