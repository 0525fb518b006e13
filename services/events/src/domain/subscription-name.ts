/** Resource names of subscriptions: the broker's name, with `jobs.` before it on the stream of jobs. Pure. */
import { fieldInvalid, NotFound } from '@nephos/service';

const prefix = 'subscriptions/';
/** The broker allows no dot in a name: with it, the two streams cannot be mixed up. */
const jobs = 'jobs.';

type Tree = 'entities' | 'jobs';

export function subscriptionName(tree: Tree, name: string): string {
  return `${prefix}${tree === 'jobs' ? jobs : ''}${name}`;
}

/** Throws `Invalid`. */
export function parseSubscriptionName(name: string): { readonly tree: Tree; readonly id: string } {
  const rest = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  const tree = rest.startsWith(jobs) ? 'jobs' : 'entities';
  const id = tree === 'jobs' ? rest.slice(jobs.length) : rest;
  // What else the broker allows in names, we do not make.
  if (!/^[^\s.*>/\\]{1,256}$/.test(id)) {
    throw fieldInvalid('name', 'must be subscriptions/{name} or subscriptions/jobs.{name}', name === '');
  }
  return { tree, id };
}

export function subscriptionMissing(name: string): NotFound {
  return new NotFound('RESOURCE_NOT_FOUND', `${name} is not there`, { metadata: { resource: name } });
}
