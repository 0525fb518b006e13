/**
 * What the launcher says. On a terminal: colour, and one live line at the bottom that is drawn over; else plain
 * lines that read as well in a log file. Nothing else in this package writes to the terminal.
 */
import { durationText } from '@nephos/client';
import type { Clock } from '@nephos/service';

export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

type Colour = 'green' | 'red' | 'yellow' | 'dim' | 'bold' | 'cyan';
const codes: Readonly<Record<Colour, string>> = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  cyan: '36',
};

const eraseLine = '\r\u001b[2K';

export class Screen {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #live: boolean;
  readonly #coloured: boolean;
  readonly #began: number;
  #liveText = '';

  constructor(terminal: Terminal, clock: Clock, env: Readonly<Record<string, string | undefined>>) {
    this.#terminal = terminal;
    this.#clock = clock;
    this.#live = terminal.isTTY === true && env['TERM'] !== 'dumb';
    this.#coloured = this.#live && !env['NO_COLOR'];
    this.#began = clock.monotonic();
  }

  /** Milliseconds since the launcher started. */
  get elapsedMs(): number {
    return this.#clock.monotonic() - this.#began;
  }

  line(text = ''): void {
    this.#terminal.write(`${this.#live && this.#liveText !== '' ? eraseLine : ''}${text}\n`);
    this.#draw();
  }

  heading(text: string): void {
    this.line();
    this.line(this.paint('bold', text));
  }

  /** Something that was seen to work. */
  done(what: string, detail = '', ms?: number): void {
    this.#outcome(this.paint('green', this.#live ? '✓ ' : 'ok'), what, detail, ms);
  }

  failed(what: string, detail: string, ms?: number): void {
    this.#outcome(this.paint('red', this.#live ? '✗ ' : 'FAILED'), what, detail, ms);
  }

  warn(text: string): void {
    this.line(`${this.paint('yellow', '!')} ${text}`);
  }

  detail(text: string): void {
    this.line(`     ${this.paint('dim', text)}`);
  }

  /** The line at the bottom; empty takes it away. Says nothing where there is no terminal. */
  live(text: string): void {
    if (!this.#live || text === this.#liveText) return;
    if (this.#liveText !== '' && text === '') this.#terminal.write(eraseLine);
    this.#liveText = text;
    this.#draw();
  }

  paint(colour: Colour, text: string): string {
    return this.#coloured ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text;
  }

  #outcome(mark: string, what: string, detail: string, ms: number | undefined): void {
    const time = ms === undefined ? '' : this.paint('dim', `  ${durationText(ms)}`);
    this.line(`  ${mark} ${what.padEnd(16)} ${detail}${time}`.trimEnd());
  }

  #draw(): void {
    if (!this.#live || this.#liveText === '') return;
    const room = Math.max(20, (this.#terminal.columns || 80) - 1);
    this.#terminal.write(`${eraseLine}${this.#liveText.slice(0, room)}`);
  }
}
