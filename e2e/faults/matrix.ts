/** The report: kills survived, step by part, as `before/after` counts. Pure. */
import { type Kill, parts, type Step } from './places.ts';

export function matrixOf(steps: readonly Step[], kills: readonly Kill[]): string {
  const rows = steps.map(({ operation, step }) => {
    const here = kills.filter((kill) => kill.operation === operation && kill.step === step);
    const cells = parts.map((part) => {
      const [before, after] = (['before', 'after'] as const).map(
        (when) => here.filter((kill) => kill.part === part && kill.when === when).length,
      );
      return before === 0 && after === 0 ? '·' : `${before}/${after}`;
    });
    return [`${operation}: ${step}`, ...cells];
  });
  const table = [['kills before/after', ...parts], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
