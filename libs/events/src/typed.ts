/** Events with their messages decoded, where the subscriber named the type. Pure. */
import type { EntityEvent } from './cloudevent.ts';
import type { MessageDecoder } from './subscription.ts';

/** Without a decoder `M` is proto JSON, and the event is returned as it is. */
export function typed<M>(event: EntityEvent, decoder: MessageDecoder<M> | undefined): EntityEvent<M> {
  if (!decoder) return event as EntityEvent<M>;
  const { new: now, old, ...rest } = event;
  return {
    ...rest,
    ...(now && { new: decoder.fromJSON(now) }),
    ...(old && { old: decoder.fromJSON(old) }),
  };
}
