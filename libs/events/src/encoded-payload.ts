/**
 * A payload whose JSON is made once, when its write is asked for: the store keeps the text, and the relay sends the
 * part of it that tells the change. The objects it is made of are not held on to, so what waits for the broker is a
 * text and not a tree. Pure.
 */
import { JsonText } from '@nephos/store';
import type { EventPayload } from './cloudevent.ts';
import type { EntityAddress, EventTree } from './subject.ts';

export class EncodedPayload extends JsonText implements EventPayload {
  readonly tree: EventTree;
  readonly address: EntityAddress;
  readonly verb: string;
  readonly source: string;
  readonly name: string;
  readonly schema: string;
  readonly traceparent?: string;
  /** Nothing is there after the change. */
  readonly removed: boolean;
  /** The JSON of `change`. */
  readonly changeText: string;

  constructor({ change, ...head }: EventPayload) {
    const changeText = JSON.stringify(change);
    super(`${JSON.stringify(head).slice(0, -1)},"change":${changeText}}`);
    this.tree = head.tree;
    this.address = head.address;
    this.verb = head.verb;
    this.source = head.source;
    this.name = head.name;
    this.schema = head.schema;
    if (head.traceparent !== undefined) this.traceparent = head.traceparent;
    this.removed = change.new === undefined;
    this.changeText = changeText;
  }

  get change(): EventPayload['change'] {
    return JSON.parse(this.changeText) as EventPayload['change'];
  }
}
