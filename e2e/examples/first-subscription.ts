/** The first event subscription: the state of every VM, then each change. Needs `npm start` to be running. */
import { connectPlatform, findEndpoints } from '@nephos/client';
import { follow } from '@nephos/events';

const where = findEndpoints('.'); // what npm start wrote into .nephos: addresses, and credentials for the broker
if (where === undefined) throw new Error('nothing runs here: npm start');
await using platform = connectPlatform({ ...where, principal: 'users/newcomer' });
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());

const bus = await platform.bus();
for await (const item of follow(bus, { filter: { entity: 'vm' }, signal: interrupted.signal })) {
  if (item.kind === 'synced') console.log('from here on, changes as they come; Ctrl-C ends it');
  if (item.kind !== 'snapshot' && item.kind !== 'change') continue;
  const { verb, subject, sequence, changedPaths } = item.event;
  console.log(item.kind, subject, `#${sequence}`, verb, ...changedPaths);
}
