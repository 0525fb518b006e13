/**
 * A payload whose JSON is made once, when its write is asked for: the store keeps the text, and the relay sends the
 * part of it that tells the change. The objects it is made of are not held on to, so what waits for the broker is a
 * text and not a tree. Pure.
 */
import { type Json, JsonText } from '@nephos/store';
import type { EventPayload } from './cloudevent.ts';
import type { EntityAddress, EventTree } from './subject.ts';

const beforeChange = ',"change":';

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

  private constructor(text: string, head: Omit<EventPayload, 'change'>, removed: boolean) {
    super(text);
    this.tree = head.tree;
    this.address = head.address;
    this.verb = head.verb;
    this.source = head.source;
    this.name = head.name;
    this.schema = head.schema;
    if (head.traceparent !== undefined) this.traceparent = head.traceparent;
    this.removed = removed;
  }

  static of(payload: EventPayload): EncodedPayload {
    const { tree, address, verb, source, name, schema, traceparent, change } = payload;
    const text = JSON.stringify({ tree, address, verb, source, name, schema, traceparent, change });
    return new EncodedPayload(text, payload, change.new === undefined);
  }

  /** From the outbox. */
  static read(this: void, text: string): Json {
    const at = text.indexOf(beforeChange);
    if (at < 0) return JSON.parse(text) as Json;
    const head = JSON.parse(`${text.slice(0, at)}}`) as Omit<EventPayload, 'change'>;
    const removed = !text.startsWith('{"new":', at + beforeChange.length);
    return new EncodedPayload(text, head, removed) as unknown as Json;
  }

  /**
   * The JSON of `change`. It stands last, and the only objects before it have fields of text, in which quotes are
   * escaped: the first place that looks like its beginning is its beginning.
   */
  get changeText(): string {
    return this.text.slice(this.text.indexOf(beforeChange) + beforeChange.length, -1);
  }

  get change(): EventPayload['change'] {
    return JSON.parse(this.changeText) as EventPayload['change'];
  }
}
