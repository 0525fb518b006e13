/**
 * Resume tokens: where a watch stood, for any replica to go on from. Pure.
 * A token says which life of which stream, which filter, and the place; the mark is the time of the message at that
 * place, so that a stream which lost its end and grew again is noticed. It is neither a secret nor a right: a forged
 * one only moves the forger's own watch. The check sum tells damage.
 */
import { createHash } from 'node:crypto';
import { fieldInvalid, OutOfRange } from '@nephos/service';

/** Where a watch stands. All up to and with `place` of the event stream is told. */
export interface Position {
  readonly place: number;
  /** Time of the message at the place, in milliseconds since 1970; 0: not known. */
  readonly mark: number;
  /**
   * While the snapshot is read: the place in the state stream up to which it was told; changes follow after `place`.
   */
  readonly state?: number;
  /** `synced` is still to come, and not before this place: what changed while the snapshot was read lies up to it. */
  readonly until?: number;
}

/** What a token is bound to, as its marks. */
export interface Binding {
  readonly stream: string;
  readonly filter: string;
}

/** `stream`: its name and when it was made; `filter`: the filter's subject. */
export function bindingOf(stream: string, filter: string): Binding {
  return { stream: digest(stream), filter: digest(filter) };
}

const version = '1';
const longestToken = 256;

export function encodeResumeToken(position: Position, { stream, filter }: Binding): string {
  const { place, mark, state, until } = position;
  const phase = `${state ?? ''}-${until ?? ''}`;
  const text = [version, stream, filter, phase, place, mark.toString(36)].join('.');
  return Buffer.from(`${text}.${digest(text)}`).toString('base64url');
}

/** Throws `Invalid` on a token that is damaged or of another filter, `OutOfRange` on one of another life. */
export function decodeResumeToken(token: string, { stream, filter }: Binding): Position {
  const parts = readParts(token);
  if (parts.filter !== filter) throw refused('belongs to another filter');
  if (parts.stream !== stream) throw resyncRequired('the streams were made anew since this token was given');
  return parts.position;
}

/** Throws `Invalid` where it is no token at all: to be refused before anything else is looked at. */
export function checkResumeToken(token: string, filter: string): void {
  if (readParts(token).filter !== digest(filter)) throw refused('belongs to another filter');
}

export function resyncRequired(why: string): OutOfRange {
  return new OutOfRange('RESYNC_REQUIRED', `${why}: begin with a snapshot`);
}

function readParts(token: string) {
  const text = token.length <= longestToken ? Buffer.from(token, 'base64url').toString('latin1') : '';
  const end = text.lastIndexOf('.');
  const [, stream, filter, phase = '', place = '', mark = ''] = text.slice(0, end).split('.');
  const intact =
    end > 0 && text.slice(end + 1) === digest(text.slice(0, end)) && text.startsWith(`${version}.`);
  const [whole, state = '', until = ''] = /^(\d{0,15})-(\d{0,15})$/.exec(phase) ?? [];
  const wellFormed = whole !== undefined && /^\d{1,15}$/.test(place) && /^[0-9a-z]{1,12}$/.test(mark);
  if (!intact || !wellFormed) throw refused('is no resume token');
  const position: Position = {
    place: Number(place),
    mark: Number.parseInt(mark, 36),
    ...(state !== '' && { state: Number(state) }),
    ...(until !== '' && { until: Number(until) }),
  };
  return { stream, filter, position };
}

function refused(why: string) {
  return fieldInvalid('resume_token', `${why}: watch without one`);
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 12);
}
