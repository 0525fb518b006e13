/**
 * Configuration: declared as a table of fields, parsed once from the environment, frozen and handed down.
 * A wrong value names the key, the value and what is allowed. Secrets are wrapped so that no log or JSON shows
 * them; each may come from a file named by `<NAME>_FILE`.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type FieldViolation, Invalid } from './errors.ts';
import { Secret, withoutUrlSecrets } from './secret.ts';

/** How one value is read from its text. `parse` throws an Error whose message says what is allowed. */
export interface ConfigField<T> {
  readonly description: string;
  readonly fallback: { readonly value: T } | undefined;
  readonly secret: boolean;
  parse(text: string): T;
}

export interface ConfigSchema {
  readonly [key: string]: ConfigField<unknown>;
}

type ValueOf<F> = F extends ConfigField<infer T> ? T : never;

/** What a schema parses to. */
export type ConfigValues<S extends ConfigSchema> = { readonly [K in keyof S]: ValueOf<S[K]> };

interface Described<T> {
  readonly description: string;
  /** Left out: the value has to be given. */
  readonly default?: T;
}

function field<T>(options: Described<T>, parse: (text: string) => T, secret = false): ConfigField<T> {
  const fallback = options.default === undefined ? undefined : { value: options.default };
  return { description: options.description, fallback, secret, parse };
}

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const byteUnits = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

function quantity(text: string, units: Readonly<Record<string, number>>, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text);
  const unit = units[match?.[2] ?? ''];
  if (match === null || unit === undefined) {
    throw new Error(`${what}: a number and one of ${Object.keys(units).join(', ')}`);
  }
  return Math.round(Number(match[1]) * unit);
}

function integerIn(text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || value < min || value > max) {
    throw new Error(`a whole number from ${min} to ${max}`);
  }
  return value;
}

/** The types of values. A field without a default has to be given. */
export const config = {
  text: (options: Described<string>) => field(options, (text) => text),

  integer: (options: Described<number> & { readonly min?: number; readonly max?: number }) =>
    field(options, (text) =>
      integerIn(text, options.min ?? Number.MIN_SAFE_INTEGER, options.max ?? Number.MAX_SAFE_INTEGER),
    ),

  /** `250ms`, `30s`, `5m`, `2h`, `7d`; milliseconds once parsed. */
  duration: (options: Described<number>) =>
    field(options, (text) => quantity(text, durationUnits, 'a duration such as 30s')),

  /** `512B`, `64KiB`, `2GiB`; bytes once parsed. */
  bytes: (options: Described<number>) =>
    field(options, (text) => quantity(text, byteUnits, 'a size such as 64MiB')),

  boolean: (options: Described<boolean>) =>
    field(options, (text) => {
      if (text !== 'true' && text !== 'false') throw new Error('true or false');
      return text === 'true';
    }),

  choice: <const T extends string>(values: readonly T[], options: Described<NoInfer<T>>) =>
    field<T>(options, (text) => {
      const found = values.find((value) => value === text);
      if (found === undefined) throw new Error(`one of ${values.join(', ')}`);
      return found;
    }),

  url: (options: Described<string> & { readonly schemes?: readonly string[] }) =>
    field(options, (text) => {
      if (!isUrl(text, options.schemes)) throw new Error(`a URL${schemesIn(options.schemes)}`);
      return text;
    }),

  /** One or more, comma-separated; parsed, they stand side by side without blanks. */
  urls: (options: Described<string> & { readonly schemes?: readonly string[] }) =>
    field(options, (text) => {
      const all = text.split(',').map((url) => url.trim());
      if (!all.every((url) => isUrl(url, options.schemes)))
        throw new Error(`URLs, comma-separated, each${schemesIn(options.schemes)}`);
      return all.join();
    }),

  /** Made absolute against the working directory. */
  path: (options: Described<string>) => field(options, (text) => path.resolve(text)),

  secret: (options: Omit<Described<string>, 'default'> & { readonly default?: Secret }) =>
    field(options, (text) => new Secret(text), true),
} as const;

function isUrl(text: string, allowed: readonly string[] | undefined): boolean {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(text)?.[1];
  return scheme !== undefined && URL.canParse(text) && (allowed?.includes(scheme) ?? true);
}

function schemesIn(allowed: readonly string[] | undefined): string {
  return allowed === undefined ? '' : ` that starts with ${allowed.join(':// or ')}://`;
}

/** `maxVolumes` → `MAX_VOLUMES`. */
function upperSnake(key: string): string {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toUpperCase();
}

/** The variables that may set `key`, the strongest first. */
function namesOf(key: string, service: string | undefined): readonly string[] {
  const general = `NEPHOS_${upperSnake(key)}`;
  return service === undefined ? [general] : [`NEPHOS_${upperSnake(service)}_${upperSnake(key)}`, general];
}

interface Found {
  readonly name: string;
  readonly text: string;
}

function find(names: readonly string[], secret: boolean, env: Environment): Found | undefined {
  for (const name of names) {
    const text = env[name];
    if (text !== undefined && text !== '') return { name, text };
    const file = secret ? env[`${name}_FILE`] : undefined;
    if (file !== undefined && file !== '') {
      return { name: `${name}_FILE`, text: readFileSync(file, 'utf8').replace(/\r?\n$/, '') };
    }
  }
  return undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads every field of the schema from `env`. `service` allows the stronger `NEPHOS_<SERVICE>_<KEY>`.
 * Throws one Invalid that names every wrong key, its value and what is allowed.
 */
export function parseConfig<S extends ConfigSchema>(
  schema: S,
  env: Environment,
  service?: string,
): Readonly<ConfigValues<S>> {
  const wrong: FieldViolation[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, entry] of Object.entries(schema)) {
    const names = namesOf(key, service);
    const general = names.at(-1) ?? key;
    try {
      const found = find(names, entry.secret, env);
      if (found === undefined) {
        if (entry.fallback === undefined) {
          wrong.push({ field: general, description: `is not set; ${entry.description}` });
        }
        values[key] = entry.fallback?.value;
      } else {
        values[key] = parseFound(entry, found, wrong);
      }
    } catch (error) {
      wrong.push({ field: `${general}_FILE`, description: `cannot be read: ${(error as Error).message}` });
    }
  }
  if (wrong.length > 0) {
    const text = wrong.map(({ field: name, description }) => `${name} ${description}`).join('; ');
    throw new Invalid('FIELD_INVALID', `configuration: ${text}`, { fields: wrong });
  }
  return Object.freeze(values) as ConfigValues<S>;
}

function parseFound(entry: ConfigField<unknown>, found: Found, wrong: FieldViolation[]): unknown {
  try {
    return entry.parse(found.text);
  } catch (error) {
    const shown = entry.secret ? '(a secret)' : JSON.stringify(withoutUrlSecrets(found.text));
    wrong.push({ field: found.name, description: `is ${shown}; allowed: ${(error as Error).message}` });
    return undefined;
  }
}
