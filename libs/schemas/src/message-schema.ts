/**
 * Messages as JSON Schemas, in the JSON that events carry them in (that of the generated code: ts-proto). Pure.
 * 64-bit integers are text, times RFC 3339, durations objects of text seconds and nanos, enums their values' names,
 * bytes base64; a oneof is its member's own field; a field with its default is left out, so none is required;
 * sensitive fields are absent. Unknown fields are allowed, since a newer platform adds some, unless `closed`.
 */
import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import type { Contracts } from './contracts.ts';

/** A JSON Schema of the keywords that 2020-12 and draft-07 (AsyncAPI) have in common. */
export type JsonSchema = { readonly [keyword: string]: unknown };

export interface MessageSchemaOptions {
  /** Where schemas of other messages lie: `#/$defs/` or `#/components/schemas/`. */
  readonly refs: string;
  /** True: fields that the contract does not know are refused. For tests of the schema itself. */
  readonly closed?: boolean;
}

const integerText = { type: 'string', pattern: '^-?[0-9]+$' };
const naturalText = { type: 'string', pattern: '^[0-9]+$' };

/** Messages that the generated code writes in a form of their own. */
const wellKnown: Readonly<Record<string, JsonSchema>> = {
  'google.protobuf.Timestamp': { type: 'string', format: 'date-time' },
  'google.protobuf.FieldMask': { type: 'string' },
  'google.protobuf.Struct': { type: 'object' },
  'google.protobuf.ListValue': { type: 'array' },
  'google.protobuf.Value': {},
  'google.protobuf.Any': {
    type: 'object',
    properties: { typeUrl: { type: 'string' }, value: { type: 'string', contentEncoding: 'base64' } },
  },
};

/** The schemas of a message and of all that it holds, by full name. */
export function messageSchemas(
  contracts: Contracts,
  typeName: string,
  options: MessageSchemaOptions,
): Record<string, JsonSchema> {
  const schemas: Record<string, JsonSchema> = {};
  const add = (message: DescMessage): void => {
    if (message.typeName in schemas) return;
    const writer = new Writer(contracts, options, (found) => wanted.push(found));
    const wanted: DescMessage[] = [];
    schemas[message.typeName] = writer.message(message);
    for (const each of wanted) add(each);
  };
  add(contracts.message(typeName));
  return schemas;
}

class Writer {
  readonly #contracts: Contracts;
  readonly #options: MessageSchemaOptions;
  readonly #need: (message: DescMessage) => void;

  constructor(contracts: Contracts, options: MessageSchemaOptions, need: (message: DescMessage) => void) {
    this.#contracts = contracts;
    this.#options = options;
    this.#need = need;
  }

  message(message: DescMessage): JsonSchema {
    const shown = message.fields.filter((field) => !this.#contracts.isSensitive(field));
    const properties = Object.fromEntries(shown.map((field) => [field.jsonName, this.#described(field)]));
    const choices = message.oneofs
      .map(({ fields }) => fields.filter((field) => shown.includes(field)).map(({ jsonName }) => jsonName))
      .filter((names) => names.length > 1);
    return {
      type: 'object',
      ...described(this.#contracts.comment(message)),
      properties,
      ...(choices.length > 0 && { allOf: choices.map(atMostOne) }),
      ...(this.#options.closed === true && { additionalProperties: false }),
    };
  }

  #described(field: DescField): JsonSchema {
    const schema = this.#field(field);
    const description = this.#contracts.comment(field);
    // Beside a reference draft-07 reads nothing.
    if ('$ref' in schema && description !== '') return { description, allOf: [schema] };
    return { ...described(description), ...schema };
  }

  #field(field: DescField): JsonSchema {
    switch (field.fieldKind) {
      case 'scalar':
        return scalar(field.scalar);
      case 'enum':
        return this.#enum(field.enum);
      case 'message':
        return this.#reference(field.message);
      case 'list':
        return { type: 'array', items: this.#element(field) };
      case 'map':
        return { type: 'object', additionalProperties: this.#element(field) };
    }
  }

  #element(field: Extract<DescField, { readonly fieldKind: 'list' | 'map' }>): JsonSchema {
    const kind = field.fieldKind === 'list' ? field.listKind : field.mapKind;
    if (kind === 'scalar' && field.scalar !== undefined) return scalar(field.scalar);
    if (kind === 'enum' && field.enum) return this.#enum(field.enum);
    return field.message ? this.#reference(field.message) : {};
  }

  #reference(message: DescMessage): JsonSchema {
    const known = wellKnown[message.typeName];
    if (known) return known;
    this.#need(message);
    return { $ref: `${this.#options.refs}${message.typeName}` };
  }

  #enum(type: DescEnum): JsonSchema {
    // What a writer reads of a newer peer and does not know goes on as this word.
    return { type: 'string', enum: [...type.values.map(({ name }) => name), 'UNRECOGNIZED'] };
  }
}

function described(description: string): { readonly description?: string } {
  return description === '' ? {} : { description };
}

function atMostOne(names: readonly string[]): JsonSchema {
  const present = names.map((name) => ({ required: [name] }));
  return { oneOf: [...present, { not: { anyOf: present } }] };
}

function scalar(type: ScalarType): JsonSchema {
  switch (type) {
    case ScalarType.BOOL:
      return { type: 'boolean' };
    case ScalarType.STRING:
      return { type: 'string' };
    case ScalarType.BYTES:
      return { type: 'string', contentEncoding: 'base64' };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { type: 'number' };
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return naturalText;
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return integerText;
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 };
    default:
      return { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
  }
}
