// A service's own store: opened from its configuration, closed with it, watched by its health.
// Owner: the service that calls it. A store that failed for good ends the process: what runs on could acknowledge
// nothing. Invariant: no two services share a MongoDB database, though they may share a server and a URL.
import { Invalid, type ServiceContext, withoutUrlSecrets } from '@nephos/service';
import type { Store } from './collection.ts';
import { openStore } from './open.ts';

/** Folders of `npm start`, each with a platform of its own. */
const worlds = ['qemu', 'simulated'];
const defaultPrefix = 'nephos';
const mongoUrl = /^(mongodb(?:\+srv)?:\/\/[^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/;
const prefixName = /^[A-Za-z0-9_-]{1,32}$/;

/** Throws `Unavailable` where another process holds it, `Invalid` for a URL that no adapter serves. */
export async function openServiceStore(ctx: ServiceContext): Promise<Store> {
  const url = serviceStoreUrl(ctx.config.store, ctx.name);
  const store = await openStore({ url, clock: ctx.clock, log: ctx.log });
  ctx.resources.use(store);
  ctx.health('store', () => store.ping());
  void store.failure.then((error) => ctx.fail(error));
  return store;
}

/**
 * The store of one service among those that share a URL. In MongoDB the path is a prefix, `nephos` by default, and
 * each service has the database `<prefix>_<service>`; any other URL is the service's alone already. Throws `Invalid`.
 */
export function serviceStoreUrl(url: string, service: string): string {
  return /^mongodb(\+srv)?:/.test(url) ? withSuffix(url, service.replaceAll('-', '_')) : url;
}

/**
 * The URL for the services of one platform of `npm start`, named by its folder: real and simulated hosts never share
 * a database. Folders of other names change nothing. Throws `Invalid` for what is no MongoDB URL.
 */
export function worldStoreUrl(url: string, folder: string): string {
  const suffixed = withSuffix(url, folder);
  return worlds.includes(folder) ? suffixed : url;
}

/** A store's URL for people: without credentials and options. */
export function shownStoreUrl(url: string): string {
  return withoutUrlSecrets(url.split('?')[0] ?? '');
}

function withSuffix(url: string, suffix: string): string {
  const [, server, path = '', query = ''] = mongoUrl.exec(url) ?? [];
  const prefix = path === '' ? defaultPrefix : path;
  if (server === undefined || !prefixName.test(prefix)) {
    throw new Invalid(
      'FIELD_INVALID',
      `a MongoDB URL looks like mongodb://host:27017/prefix, the prefix matching ${prefixName.source}`,
    );
  }
  const options = new URLSearchParams(query);
  // The driver would look users up in the path's database, which is no longer the one that was written.
  if (path !== '' && server.includes('@') && !options.has('authSource')) options.set('authSource', path);
  return `${server}/${prefix}_${suffix}${options.size === 0 ? '' : `?${options.toString()}`}`;
}
