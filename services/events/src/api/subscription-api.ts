/** SubscriptionService: the broker's consumers of the event streams, told in the platform's words. */
import { type Bus, countDeadLetters, decodeToken, type Session } from '@nephos/events';
import {
  Subscription_Activity as ActivityMessage,
  type ListSubscriptionsRequest,
  type Subscription,
  type SubscriptionServiceDefinition,
} from '@nephos/proto/nephos/events/v1/subscription';
import {
  type Clock,
  type DeepPartial,
  durationOf,
  type Implementation,
  Precondition,
  pageSizeOf,
  pageTokenOf,
  readPageToken,
} from '@nephos/service';
import type { Activity } from '../activity.ts';
import {
  type FoundSubscription,
  filtersOf,
  findSubscription,
  findSubscriptions,
  forgetSubscription,
  oldestUnhandled,
} from '../adapters/subscription-reader.ts';
import { selectedBy } from '../domain/subject-selection.ts';
import { parseSubscriptionName, subscriptionMissing, subscriptionName } from '../domain/subscription-name.ts';
import { withSession } from '../session.ts';

export interface SubscriptionDeps {
  readonly bus: Bus;
  readonly activity: Activity;
  readonly clock: Clock;
}

export function subscriptionApi(
  deps: SubscriptionDeps,
): Implementation<typeof SubscriptionServiceDefinition> {
  const { bus, activity } = deps;
  return {
    listSubscriptions: async (request, { signal }) =>
      withSession(bus, signal, (session) => list(deps, session, request)),

    getSubscription: async ({ name }, { signal }) => {
      const { tree, id } = parseSubscriptionName(name);
      return withSession(bus, signal, async (session) => {
        const found = await findSubscription(session, tree, id);
        if (!found) throw subscriptionMissing(name);
        return await messageOf(deps, session, found, await countDeadLetters(session));
      });
    },

    deleteSubscription: async ({ name, force }, { signal }) => {
      const { tree, id } = parseSubscriptionName(name);
      return withSession(bus, signal, async (session) => {
        const found = await findSubscription(session, tree, id);
        if (!found) throw subscriptionMissing(name);
        if (!force && activity.isRead(found)) throw stillRead(name);
        await forgetSubscription(session, tree, id);
        return {};
      });
    },
  };
}

async function list(
  deps: SubscriptionDeps,
  session: Session,
  { pageSize, pageToken }: ListSubscriptionsRequest,
) {
  const size = pageSizeOf(pageSize);
  const after = readPageToken(pageToken, []) ?? '';
  const named = (await findSubscriptions(session))
    .map((found) => ({ found, name: subscriptionName(found.tree, found.info.name) }))
    .filter(({ name }) => name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const page = named.slice(0, size);
  const letters = await countDeadLetters(session);
  const subscriptions = await Promise.all(page.map(({ found }) => messageOf(deps, session, found, letters)));
  const cursor = named.length > size ? page.at(-1)?.name : undefined;
  return { subscriptions, nextPageToken: pageTokenOf(cursor, []) };
}

async function messageOf(
  { activity, clock }: SubscriptionDeps,
  session: Session,
  found: FoundSubscription,
  letters: ReadonlyMap<string, number>,
): Promise<DeepPartial<Subscription>> {
  const { tree, info } = found;
  const { config, delivered, ack_floor } = info;
  const subjects = filtersOf(info);
  const [only = '', ...others] = subjects;
  const oldest = await oldestUnhandled(session, found);
  const lastActive = [delivered.last_active, ack_floor.last_active]
    .flatMap((time) => (time === undefined ? [] : [new Date(String(time))]))
    .sort((a, b) => b.getTime() - a.getTime())[0];
  return {
    name: subscriptionName(tree, info.name),
    stream: info.stream_name,
    selection: { subjects, ...(others.length === 0 && selectedBy(only, decodeToken)) },
    activity: activity.isRead(found) ? ActivityMessage.READING : ActivityMessage.STOPPED,
    lag: BigInt(info.num_pending),
    unacknowledged: BigInt(info.num_ack_pending),
    redelivered: BigInt(info.num_redelivered),
    ...(oldest && {
      oldestUnhandledTime: oldest,
      oldestUnhandledAge: durationOf(Math.max(0, clock.now().getTime() - oldest.getTime())),
    }),
    ...(lastActive && { lastActiveTime: lastActive }),
    createTime: new Date(info.created),
    position: BigInt(ack_floor.stream_seq),
    ...(config.inactive_threshold && { forgetAfter: durationOf(config.inactive_threshold / 1e6) }),
    deadLetters: BigInt(letters.get(info.name) ?? 0),
  };
}

function stillRead(name: string): Precondition {
  const description = `${name} is read by somebody: stop its reader first, or force it`;
  return new Precondition('RESOURCE_IN_USE', description, {
    preconditions: [{ type: 'RESOURCE_IN_USE', subject: name, description }],
  });
}
