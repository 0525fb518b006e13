/** The surface of @nephos/events. */
export { type Bus, type BusContext, type BusOptions, connectBus, type Session } from './bus.ts';
export { changedPaths, type JsonObject } from './changes.ts';
export {
  dataSchemaId,
  decodeEvent,
  type EntityEvent,
  type EventPayload,
  encodeEvent,
  eventId,
  type Omission,
  removedHeader,
  schemaUri,
} from './cloudevent.ts';
export type { EventsContext, EventsLog } from './context.ts';
export { type DeadLetter, deadLetterHeaders } from './dead-letter.ts';
export {
  countDeadLetters,
  type DeadLetterFilter,
  dropDeadLetter,
  getDeadLetter,
  type KeptDeadLetter,
  listDeadLetters,
} from './dead-letter-box.ts';
export { type RedriveOutcome, redriveDeadLetter, redriveSubject } from './dead-letter-redrive.ts';
export {
  defineEntity,
  type EntityCollection,
  type EntityDefinition,
  type MessageCodec,
  type ModifyOptions,
  type Place,
  type WriteOptions,
} from './entity.ts';
export { type EntityOptions, openEntity } from './entity-collection.ts';
export { follow } from './follow.ts';
export { sourcePlace } from './history.ts';
export { type Relay, type RelayOptions, startRelay } from './relay.ts';
export type { RelayMetrics } from './relay-metrics.ts';
export { lifeOf } from './stream-life.ts';
export { deadLetterRoot, raiseReplicas, type StreamOptions, streamOf, streams } from './streams.ts';
export {
  decodeToken,
  type EntityAddress,
  type EventFilter,
  type EventTree,
  encodeToken,
  filterSubject,
  parseSubject,
  subjectOf,
  subjectRoots,
} from './subject.ts';
export { subscribe } from './subscribe.ts';
export { type SharedSubscription, subscribeOnOne } from './subscribe-on-one.ts';
export type {
  EventHandler,
  FollowItem,
  FollowOptions,
  HandlerContext,
  MessageDecoder,
  StartFrom,
  SubscribeOptions,
  Subscription,
  SubscriptionCounts,
} from './subscription.ts';
