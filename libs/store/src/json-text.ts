// JSON that its writer has encoded already, so that a store that keeps text need not encode it again.
// Owner: libs/store. Invariant: `text` is valid JSON; who asks for the value gets what the text says.
import type { Json } from './collection.ts';
import type { EventToAdd } from './driver.ts';

/** May stand for an event's JSON wherever a write takes one; hints of commits hand it on as it came. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toJSON(): Json {
    return JSON.parse(this.text) as Json;
  }
}

/** A write's event for the driver. */
export function eventToAdd(at: string, payload: Json): EventToAdd {
  const given: unknown = payload;
  return given instanceof JsonText ? new EncodedEvent(at, given) : { at, payload };
}

class EncodedEvent implements EventToAdd {
  readonly at: string;
  readonly encoded: JsonText;

  constructor(at: string, encoded: JsonText) {
    this.at = at;
    this.encoded = encoded;
  }

  get payload(): Json {
    return this.encoded.toJSON();
  }
}
