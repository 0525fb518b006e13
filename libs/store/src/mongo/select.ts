// Plans as MongoDB filters: ranges of one index's keys, in order. Pure.
// Owner: the MongoDB adapter. A key holds all that an index compares, so any plan is one or a few half-open
// intervals of it, behind the cursor; a tombstone has no keys, and by id is left out by its mark.
import type { Document } from 'mongodb';
import type { Bound, FieldCondition, Plan } from '../plan.ts';
import { behindField, fieldEnd, fieldText, idText, typeTag } from './keys.ts';

interface Interval {
  readonly from: string;
  /** Not included; `undefined`: no end. */
  readonly to: string | undefined;
}

export interface Selection {
  readonly filter: Document;
  readonly sort: Record<string, 1 | -1>;
}

/** `keyName` is that of the plan's index. */
export function selectionOf(plan: Plan, keyName: string | undefined): Selection {
  const field = keyName === undefined ? '_id' : `keys.${keyName}`;
  const byPath = new Map(plan.conditions.map((condition) => [condition.path, condition]));
  const paths = plan.unique ? plan.fields : [...plan.fields, 'id'];
  const intervals = behindCursor(plan, intervalsOf(paths, byPath));
  const filters = [anyOf(field, intervals)];
  const ofId = byPath.get('id');
  if (plan.unique && ofId !== undefined) filters.push(anyOf('_id', intervalsOf(['id'], byPath)));
  if (keyName === undefined) filters.push({ removedAt: null });
  return {
    filter: filters.length === 1 ? (filters[0] as Document) : { $and: filters },
    sort: { [field]: plan.descending ? -1 : 1 },
  };
}

function anyOf(field: string, intervals: readonly Interval[]): Document {
  const ranges = intervals.map(({ from, to }) => ({
    [field]: { $gte: from, ...(to !== undefined && { $lt: to }) },
  }));
  // No interval at all: nothing is below the least text.
  return ranges.length === 1
    ? (ranges[0] as Document)
    : ranges.length > 1
      ? { $or: ranges }
      : { [field]: { $lt: '' } };
}

/** In order, and apart from each other. */
function intervalsOf(paths: readonly string[], byPath: ReadonlyMap<string, FieldCondition>): Interval[] {
  let prefixes = [''];
  for (const path of paths) {
    const condition = byPath.get(path);
    if (condition === undefined) break;
    if (!('oneOf' in condition)) return prefixes.map((prefix) => rangeBehind(prefix, condition));
    const texts = condition.oneOf.map((one) =>
      path === 'id' ? idText(String(one)) : fieldText(one) + fieldEnd,
    );
    prefixes = prefixes.flatMap((prefix) => texts.toSorted().map((text) => prefix + text));
    if (path === 'id') return prefixes.map((key) => ({ from: key, to: behind(key) }));
  }
  return prefixes.map((prefix) => ({ from: prefix, to: behindAllWith(prefix) }));
}

function rangeBehind(
  prefix: string,
  { path, type, lower, upper }: Exclude<FieldCondition, { oneOf: unknown }>,
): Interval {
  if (path === 'id') {
    const keyOf = ({ value }: Bound): string => prefix + idText(String(value));
    const from = lower === undefined ? prefix : lower.inclusive ? keyOf(lower) : behind(keyOf(lower));
    if (upper === undefined) return { from, to: behindAllWith(prefix) };
    return { from, to: upper.inclusive ? behind(keyOf(upper)) : keyOf(upper) };
  }
  const begin = prefix + typeTag[type];
  const atValue = (value: string | number, included: boolean): string =>
    prefix + fieldText(value) + (included ? fieldEnd : behindField);
  return {
    from: lower === undefined ? begin : atValue(lower.value, lower.inclusive),
    to: upper === undefined ? `${begin}\x7f` : atValue(upper.value, !upper.inclusive),
  };
}

function behindCursor(plan: Plan, intervals: readonly Interval[]): Interval[] {
  const { after, order, conditions, descending } = plan;
  if (after === undefined) return [...intervals];
  const valueOf = (path: string) => {
    const place = order.indexOf(path);
    const fixed = conditions.find((condition) => condition.path === path);
    if (place >= 0) return after[place];
    return fixed !== undefined && 'oneOf' in fixed ? fixed.oneOf[0] : undefined;
  };
  const fields = plan.fields.map((path) => fieldText(valueOf(path) ?? '') + fieldEnd).join('');
  const key = plan.unique ? fields : fields + idText(String(after.at(-1)));
  return intervals.flatMap(({ from, to }) => {
    const cut = descending
      ? { from, to: to === undefined || key < to ? key : to }
      : { from: from > key ? from : behind(key), to };
    return cut.to === undefined || cut.from < cut.to ? [cut] : [];
  });
}

/** The least text that any key above this one can have. */
function behind(key: string): string {
  return key + fieldEnd;
}

/** Not one of the keys that begin with whole fields; they end with `fieldEnd`. */
function behindAllWith(prefix: string): string | undefined {
  return prefix === '' ? undefined : prefix.slice(0, -fieldEnd.length) + behindField;
}
