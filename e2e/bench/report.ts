/** Results as JSON lines for programs, or a table for people. What is said beside them goes to standard error. */
import type { Result } from './paired.ts';

export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

export function printJson(result: Result): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const heads = ['case', 'ours', 'peer', 'unit', 'ratio', '95 %', 'better', 'rounds'];

export function printTable(results: readonly Result[]): void {
  const rows = results.map((result) => [
    result.case,
    String(result.ours),
    String(result.peer),
    result.unit,
    result.ratio.toFixed(3),
    result.ci.map((end) => end.toFixed(3)).join(' to '),
    result.better,
    String(result.rounds),
  ]);
  const widths = heads.map((head, at) => Math.max(head.length, ...rows.map((row) => row[at]?.length ?? 0)));
  for (const row of [heads, ...rows]) {
    process.stdout.write(
      `${row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}
