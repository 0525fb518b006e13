/** DeadLetterService: what subscriptions gave up on. */
import {
  type Bus,
  dropDeadLetter,
  getDeadLetter,
  type KeptDeadLetter,
  listDeadLetters,
  type Session,
} from '@nephos/events';
import {
  type DeadLetter,
  type DeadLetterServiceDefinition,
  type ListDeadLettersRequest,
  RedriveDeadLettersResponse_Outcome as Outcome,
  type RedriveDeadLettersRequest,
  type RedriveDeadLettersResponse,
} from '@nephos/proto/nephos/events/v1/dead_letter';
import {
  type Call,
  type DeepPartial,
  fieldInvalid,
  type Implementation,
  NotFound,
  pageSizeOf,
  pageTokenOf,
  readPageToken,
} from '@nephos/service';
import { type LetterFilter, letterFilterOf } from '../domain/letter-filter.ts';
import { type Redriven, redriveAll } from '../redriving.ts';
import { sessionOf, withSession } from '../session.ts';

const prefix = 'deadLetters/';

export function deadLetterApi(bus: Bus): Implementation<typeof DeadLetterServiceDefinition> {
  const get = async (session: Session, name: string): Promise<KeptDeadLetter> => {
    const letter = await getDeadLetter(session, idOf(name));
    if (!letter)
      throw new NotFound('RESOURCE_NOT_FOUND', `${name} is not there`, { metadata: { resource: name } });
    return letter;
  };
  return {
    listDeadLetters: async (request, { signal }) =>
      withSession(bus, signal, (session) => listPage(session, request)),

    getDeadLetter: async ({ name }, { signal }) =>
      withSession(bus, signal, async (session) => messageOf(await get(session, name))),

    redriveDeadLetters: (request, call) => redrive(bus, request, call),

    deleteDeadLetter: async ({ name }, { signal }) =>
      withSession(bus, signal, async (session) => {
        await dropDeadLetter(session, await get(session, name));
        return {};
      }),

    purgeDeadLetters: async ({ filter, force }, { signal }) => {
      const wanted = letterFilterOf(filter);
      if (wanted.isEmpty)
        throw fieldInvalid('filter', 'is required: say which, e.g. subscription = "billing"', true);
      return withSession(bus, signal, async (session) => {
        const letters = await lettersOf(session, wanted);
        if (!force) return { purgeCount: letters.length };
        let purgeCount = 0;
        for (const letter of letters) if (await dropDeadLetter(session, letter)) purgeCount += 1;
        return { purgeCount };
      });
    },
  };
}

async function listPage(session: Session, { filter, pageSize, pageToken }: ListDeadLettersRequest) {
  const wanted = letterFilterOf(filter);
  const size = pageSizeOf(pageSize);
  const after = Number(readPageToken(pageToken, [filter]) ?? 0);
  const page: KeptDeadLetter[] = [];
  let more = false;
  for await (const letter of listDeadLetters(session, wanted.exact, after)) {
    if (!wanted.means(letter)) continue;
    more = page.length === size;
    if (more) break;
    page.push(letter);
  }
  const cursor = more ? page.at(-1)?.place : undefined;
  return {
    deadLetters: page.map(messageOf),
    nextPageToken: pageTokenOf(cursor === undefined ? undefined : String(cursor), [filter]),
  };
}

async function lettersOf(session: Session, wanted: LetterFilter): Promise<KeptDeadLetter[]> {
  const letters: KeptDeadLetter[] = [];
  for await (const letter of listDeadLetters(session, wanted.exact))
    if (wanted.means(letter)) letters.push(letter);
  return letters;
}

async function* redrive(
  bus: Bus,
  { which }: RedriveDeadLettersRequest,
  { signal }: Call,
): AsyncGenerator<DeepPartial<RedriveDeadLettersResponse>> {
  if (which === undefined) throw fieldInvalid('which', 'is required: name or filter', true);
  const filter = which.$case === 'filter' ? letterFilterOf(which.value) : undefined;
  const id = which.$case === 'name' ? idOf(which.value) : '';
  const letters = await withSession(bus, signal, async (session) => {
    if (filter) return await lettersOf(session, filter);
    const letter = await getDeadLetter(session, id);
    return letter ? [letter] : [];
  });
  if (!filter && letters.length === 0) yield { name: which.value, outcome: Outcome.GONE };
  const session = await sessionOf(bus, signal);
  for await (const redriven of redriveAll(bus, session, letters, signal)) yield answerOf(redriven);
}

const outcomes = {
  handled: Outcome.HANDLED,
  failed: Outcome.FAILED,
  'nobody-reads': Outcome.NOBODY_READS,
  unknown: Outcome.UNKNOWN,
  gone: Outcome.GONE,
} as const;

function answerOf({ letter, outcome: result }: Redriven): DeepPartial<RedriveDeadLettersResponse> {
  const { letterId, subscription, eventId = '' } = letter;
  const { outcome } = result;
  const told = { name: prefix + letterId, subscription, eventId, outcome: outcomes[outcome] };
  if (outcome !== 'failed') return told;
  return { ...told, reason: result.reason, newName: result.newLetterId && prefix + result.newLetterId };
}

function messageOf(letter: KeptDeadLetter): DeepPartial<DeadLetter> {
  const {
    letterId,
    subscription,
    entity,
    id: uid,
    eventId = '',
    reason,
    attempts,
    redrives,
    time,
    subject,
  } = letter;
  return {
    name: prefix + letterId,
    subscription,
    entity,
    uid,
    eventId,
    reason,
    attempts,
    redrives,
    time,
    subject,
    streamSequence: BigInt(letter.streamSequence),
    cloudEvent: letter.body,
  };
}

function idOf(name: string): string {
  const id = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  if (!/^[0-9a-z-]{1,64}$/.test(id)) throw fieldInvalid('name', `must be ${prefix}{id}`, name === '');
  return id;
}
