/** Prints resources: aligned tables and indented fields for people. Works on proto JSON. Pure. */

export type Json = Readonly<Record<string, unknown>>;

/** A column: where its value lies in the resource's JSON, and how it is told if not as it is. */
export interface Column {
  readonly title: string;
  /** Path in the JSON, e.g. `status.state`. */
  readonly path: string;
  readonly format?: (value: unknown, resource: Json) => string;
}

const gap = '  ';

/** `room`: columns of the terminal. A table that is wider leaves out what no row has, and shows the ends of uids. */
export function table(
  columns: readonly Column[],
  rows: readonly Json[],
  room = Number.POSITIVE_INFINITY,
): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map((column) => printable(cell(column, row)))),
  ];
  const whole = aligned(cells);
  if (rows.length === 0 || whole.split('\n').every((line) => width(line) <= room)) return whole;
  const said = columns.map((_, index) => cells.slice(1).some((line) => line[index] !== '-'));
  return aligned(cells.map((line) => line.filter((_, index) => said[index]).map(endsOfUids)));
}

const uid = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-([0-9a-f]{12})/g;

/** A resource is found by the end of its uid as well. */
function endsOfUids(text: string): string {
  return text.replace(uid, (found, end: string) => (found === text ? end : `…${end}`));
}

function aligned(cells: readonly (readonly string[])[]): string {
  const columns = cells[0] ?? [];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => width(line[index] ?? ''))));
  return cells
    .map((line) =>
      line
        .map((text, index) => pad(text, widths[index] ?? 0))
        .join(gap)
        .trimEnd(),
    )
    .join('\n');
}

function cell({ path, format }: Column, row: Json): string {
  const value = valueAt(row, path);
  if (format !== undefined) return format(value, row);
  return value === undefined || value === '' ? '-' : plain(value);
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

export function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

/** Everything that the resource says, a field a line. */
export function fields(value: unknown, indent = ''): string {
  if (typeof value !== 'object' || value === null) return `${indent}${printable(String(value))}`;
  const entries = Object.entries(value).filter(([, inner]) => !isEmpty(inner));
  return entries
    .map(([key, inner]) => {
      const label = Array.isArray(value) ? '-' : `${printable(key)}:`;
      if (typeof inner !== 'object' || inner === null) return `${indent}${label} ${printable(String(inner))}`;
      const below = fields(inner, `${indent}${gap}`);
      return Array.isArray(value) ? `${indent}${label} ${below.trimStart()}` : `${indent}${label}\n${below}`;
    })
    .join('\n');
}

function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === '' ||
    (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  );
}

/** Names come from anybody: nothing of them may steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => (character === '\t' ? ' ' : '\ufffd'));
}

/** East Asian wide characters take two columns. */
function width(text: string): number {
  let columns = 0;
  for (const character of text) {
    if (/\p{M}/u.test(character)) continue;
    columns +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}]/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return columns;
}

function pad(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - width(text)));
}
