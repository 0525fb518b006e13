/**
 * Which life of a stream this is: a word of its own, written into its description by whoever made it, that another
 * life of the same name does not have. The state's says of which life of the events it is.
 * Not the time of its making: each server of a cluster (2.9) tells its own once it was restarted, so that the life
 * would seem to change with the leader.
 */
import type { StreamInfo } from '@nats-io/jetstream';
import { newUid } from '@nephos/service';

type Described = Pick<StreamInfo, 'config' | 'created'>;

/** Of streams that nobody described, the time of their making, which a server alone keeps. */
export function lifeOf({ config, created }: Described): string {
  return config.description || created;
}

/** A word for a stream that is about to be made. `of`: the stream that it is fed by. */
export function newLife(of?: Described): string {
  return of === undefined ? newUid() : `${newUid()}${ofWord}${lifeOf(of)}`;
}

const ofWord = ' of ';

/** Whether the stream was fed by another life of its source than this one. */
export function isOfAnotherLife(fed: Described, source: Described): boolean {
  const at = fed.config.description?.indexOf(ofWord) ?? -1;
  if (at < 0) return Date.parse(fed.created) < Date.parse(source.created);
  return fed.config.description?.slice(at + ofWord.length) !== lifeOf(source);
}
