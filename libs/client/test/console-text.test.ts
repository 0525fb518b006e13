import { describe, expect, test } from '@jest/globals';
import { ConsoleCleaner } from '@nephos/client';

const clean = (...pieces: readonly (string | Uint8Array)[]): string => {
  const cleaner = new ConsoleCleaner();
  return pieces
    .map((piece) => cleaner.clean(typeof piece === 'string' ? Buffer.from(piece) : piece))
    .join('');
};

describe('what a guest writes, made safe to show', () => {
  test.each([
    ['plain text stays', 'login: ä 雲\tok\n', 'login: ä 雲\tok\n'],
    ['colours go', '\u001b[1;31mred\u001b[0m', 'red'],
    ['the cursor is not moved', 'a\u001b[2J\u001b[10;10Hb', 'ab'],
    ['the title is not set', 'a\u001b]0;owned\u0007b', 'ab'],
    ['nor by the other end of a string', 'a\u001b]52;c;ZXZpbA==\u001b\\b', 'ab'],
    ['device control strings go', 'a\u001bPq#0;2\u001b\\b', 'ab'],
    ['two-character sequences go', 'a\u001bcb\u001b(Bc', 'abc'],
    ['one-character control codes of the upper half go', 'a\u009b31mb\u0085c', 'abc'],
    ['bells, carriage returns and backspaces go', 'a\u0007b\rc\u0008d', 'abcd'],
    ['a string that never ends does not swallow what follows its line', 'a\u001b]0;x\nb', 'a\nb'],
    ['an escape in the midst of a sequence begins a new one', 'a\u001b[3\u001b[0mb', 'ab'],
    ['a broken sequence ends at the next line', 'a\u001b[3\nb', 'a\nb'],
  ])('%s', (_, text, shown) => {
    expect(clean(text)).toBe(shown);
  });

  test('an escape cut anywhere is still one', () => {
    const text = Buffer.from('a\u001b]0;owned\u001b\\b\u001b[1;31mc ä');
    for (let at = 0; at <= text.length; at += 1) {
      expect(clean(text.subarray(0, at), text.subarray(at))).toBe('abc ä');
    }
  });

  test('nothing that steers a terminal gets through, whatever comes', () => {
    let seed = 7;
    const next = (): number => (seed = (seed * 1103515245 + 12345) % 2 ** 31);
    const bytes = Uint8Array.from({ length: 20_000 }, () => next() >> 8);
    expect(clean(bytes)).not.toMatch(/(?![\t\n])\p{Cc}/u);
  });

  test('broken UTF-8 is replaced, not passed on', () => {
    expect(clean(Uint8Array.from([0x61, 0xff, 0x62]))).toBe('a\ufffdb');
  });
});
