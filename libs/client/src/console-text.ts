/**
 * What a guest writes, made safe to show: its console is hostile to the terminals of people who read it. Terminal
 * escapes and control characters are taken out, broken UTF-8 is replaced; line ends and tabs stay. A machine of few
 * states, since an escape may be cut anywhere between two pieces.
 */

type State = 'text' | 'escape' | 'sequence' | 'string' | 'string-escape';

const esc = 0x1b;
const bell = 0x07;
const tab = 0x09;
const lineFeed = 0x0a;
/** One-character forms: CSI, and the string ones DCS, SOS, OSC, PM, APC with their end, ST. */
const csi = 0x9b;
const stringTerminator = 0x9c;
const strings: ReadonlySet<number> = new Set([0x90, 0x98, 0x9d, 0x9e, 0x9f]);
const stringsAfterEsc: ReadonlySet<string> = new Set(['P', 'X', ']', '^', '_']);

export class ConsoleCleaner {
  readonly #decoder = new TextDecoder();
  #state: State = 'text';

  /** The readable text of the next piece. */
  clean(piece: Uint8Array): string {
    let text = '';
    for (const character of this.#decoder.decode(piece, { stream: true })) {
      if (this.#takes(character, character.codePointAt(0) ?? 0)) text += character;
    }
    return text;
  }

  /** Moves on by one character; true where it is to be shown. */
  #takes(character: string, code: number): boolean {
    switch (this.#state) {
      case 'text':
        return this.#text(code);
      case 'escape':
        this.#state = character === '[' ? 'sequence' : stringsAfterEsc.has(character) ? 'string' : 'text';
        // Intermediate characters come before the last one.
        if (code >= 0x20 && code <= 0x2f) this.#state = 'escape';
        return false;
      case 'sequence':
        if (code >= 0x40 && code <= 0x7e) this.#state = 'text';
        else if (code === esc) this.#state = 'escape';
        // Nothing of a sequence: it was broken off.
        else if (code < 0x20 || code > 0x3f) return this.#broken(code);
        return false;
      case 'string':
        if (code === bell || code === stringTerminator) this.#state = 'text';
        else if (code === esc) this.#state = 'string-escape';
        else if (code === lineFeed) return this.#broken(code);
        return false;
      case 'string-escape':
        this.#state = 'escape';
        if (character !== '\\') return this.#takes(character, code);
        this.#state = 'text';
        return false;
    }
  }

  #text(code: number): boolean {
    if (code === esc) this.#state = 'escape';
    else if (code === csi) this.#state = 'sequence';
    else if (strings.has(code)) this.#state = 'string';
    else return code === tab || code === lineFeed || (code >= 0x20 && (code < 0x7f || code > 0x9f));
    return false;
  }

  #broken(code: number): boolean {
    this.#state = 'text';
    return this.#text(code);
  }
}
