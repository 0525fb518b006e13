// Messages with every field set, written by one implementation of protobuf and told as JSON by the one that events use.
import { create, type DescField, type DescMessage, ScalarType, toBinary } from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';

const deepest = 5;

interface Codec {
  decode(bytes: Uint8Array): unknown;
  toJSON(message: unknown): unknown;
}

/** The JSON of the message with all its fields set; `variant` chooses among the members of each oneof. */
export async function filledJson(message: DescMessage, variant: number): Promise<unknown> {
  const module = (await import(`@nephos/proto/${message.file.name}`)) as Record<string, Codec>;
  const codec = module[message.name];
  if (!codec) throw new Error(`no codec of ${message.typeName}`);
  return codec.toJSON(codec.decode(toBinary(message, filled(message, variant, 0).message)));
}

function filled(message: DescMessage, variant: number, depth: number): ReflectMessage {
  const into = reflect(message, create(message));
  for (const field of message.fields) {
    const { oneof } = field;
    if (oneof && oneof.fields.indexOf(field) !== variant % oneof.fields.length) continue;
    if (field.message && depth >= deepest) continue;
    fill(into, field, variant, depth);
  }
  return into;
}

function fill(into: ReflectMessage, field: DescField, variant: number, depth: number): void {
  const inner = (type: DescMessage) => filled(type, variant, depth + 1);
  switch (field.fieldKind) {
    case 'scalar':
      return into.set(field, scalar(field.scalar));
    case 'enum':
      return into.set(field, field.enum.values.at(-1)?.number);
    case 'message':
      return into.set(field, inner(field.message));
    case 'list':
      if (field.listKind === 'scalar') return into.get(field).add(scalar(field.scalar));
      if (field.listKind === 'enum') return into.get(field).add(field.enum.values.at(-1)?.number);
      return into.get(field).add(inner(field.message));
    case 'map': {
      const key = field.mapKey === ScalarType.STRING ? 'key' : 1;
      if (field.mapKind === 'scalar') return void into.get(field).set(key, scalar(field.scalar));
      if (field.mapKind === 'enum') return void into.get(field).set(key, field.enum.values.at(-1)?.number);
      return void into.get(field).set(key, inner(field.message));
    }
  }
}

function scalar(type: ScalarType) {
  switch (type) {
    case ScalarType.STRING:
      return 'text';
    case ScalarType.BOOL:
      return true;
    case ScalarType.BYTES:
      return new Uint8Array([1, 2, 3]);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return 0.5;
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return 1_700_000_000n;
    default:
      return 7;
  }
}
