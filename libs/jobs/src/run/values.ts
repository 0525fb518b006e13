/** Values as records hold them: JSON text, bounded, so that the first run sees exactly what a replay will see. */
import { Invalid } from '@nephos/service';

const mostBytes = 256 * 1024;

/** Text for the record; empty for undefined. Throws `Invalid` on what is not JSON data or is past 256 KiB. */
export function toText(value: unknown, what: string): string {
  if (value === undefined) return '';
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new Invalid('FIELD_INVALID', `${what} is not JSON data`, { cause: error });
  }
  if (text === undefined) throw new Invalid('FIELD_INVALID', `${what} is not JSON data`);
  if (text.length > mostBytes || (text.length * 3 > mostBytes && Buffer.byteLength(text) > mostBytes)) {
    throw new Invalid('FIELD_INVALID', `${what} is larger than 256 KiB`);
  }
  return text;
}

/** The other way round. The type is what the same definition recorded; a version change is caught before. */
export function fromText<T>(text: string): T {
  return (text === '' ? undefined : JSON.parse(text)) as T;
}
