/**
 * The contracts as their compiled descriptors tell of them: which messages are resources, which fields are secret,
 * and the comments beside them. Read once a process; nothing here changes.
 */
import { readFileSync } from 'node:fs';
import {
  createFileRegistry,
  type DescEnum,
  type DescEnumValue,
  type DescField,
  type DescFile,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { descriptorsPath } from '@nephos/proto/descriptors';
import { Internal } from '@nephos/service';

/** One kind of resource, as `(nephos.common.v1.resource)` declares it. */
export interface ResourceType {
  /** Full name of its message, e.g. `nephos.orchestration.v1.Vm`. */
  readonly message: string;
  /** Its word in event types and subjects, e.g. `vm`. */
  readonly entity: string;
  /** Its word in resource names, e.g. `vms`. */
  readonly collection: string;
  /** Every verb that its events may have. */
  readonly verbs: readonly string[];
}

/** Verbs that every resource has: `restated` tells a state anew after the broker lost events. */
const commonVerbs = ['created', 'updated', 'deleted', 'restated'];

/** Message numbers within descriptors, by which source locations are addressed. */
const within = {
  fileMessage: 4,
  fileEnum: 5,
  messageField: 2,
  messageMessage: 3,
  messageEnum: 4,
  enumValue: 2,
};

type Described = DescMessage | DescField | DescEnum | DescEnumValue;

export class Contracts {
  readonly #registry: FileRegistry;
  readonly #comments = new Map<string, Map<string, string>>();

  /** `descriptors`: a binary FileDescriptorSet with source information. */
  constructor(descriptors: Uint8Array) {
    this.#registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));
  }

  /** All resources, ordered by entity. */
  resources(): ResourceType[] {
    const option = this.#registry.getExtension('nephos.common.v1.resource');
    if (!option) throw new Internal('INTERNAL', 'the descriptors do not know what a resource is');
    const found: ResourceType[] = [];
    for (const type of this.#registry) {
      if (type.kind !== 'message' || !hasOption(type, option)) continue;
      const { entity, collection, verbs } = getOption(type, option) as unknown as Declared;
      found.push({ message: type.typeName, entity, collection, verbs: [...commonVerbs, ...verbs] });
    }
    return found.sort((a, b) => (a.entity < b.entity ? -1 : 1));
  }

  message(typeName: string): DescMessage {
    const message = this.#registry.getMessage(typeName);
    if (!message) throw new Internal('INTERNAL', `no descriptor of ${typeName}`);
    return message;
  }

  isSensitive(field: DescField): boolean {
    const option = this.#registry.getExtension('nephos.common.v1.sensitive');
    return option !== undefined && hasOption(field, option) && getOption(field, option) === true;
  }

  /** The comment before it, as one paragraph a blank line; empty where there is none. */
  comment(described: Described): string {
    const file =
      described.kind === 'enum_value' || described.kind === 'field' ? described.parent?.file : described.file;
    if (!file) return '';
    const comments = this.#comments.get(file.name) ?? commentsOf(file);
    this.#comments.set(file.name, comments);
    return comments.get(pathOf(described).join('.')) ?? '';
  }
}

interface Declared {
  readonly entity: string;
  readonly collection: string;
  readonly verbs: readonly string[];
}

let ours: Contracts | undefined;

/** Those that this program was built with. */
export function ownContracts(): Contracts {
  return (ours ??= new Contracts(readFileSync(descriptorsPath)));
}

function commentsOf(file: DescFile): Map<string, string> {
  const locations = file.proto.sourceCodeInfo?.location ?? [];
  return new Map(locations.map(({ path, leadingComments }) => [path.join('.'), paragraphs(leadingComments)]));
}

/** Lines of a comment are broken for the reader of the file, not for others. */
function paragraphs(comment: string): string {
  return comment
    .trim()
    .split(/\n\s*\n/)
    .map((part) =>
      part
        .split('\n')
        .map((line) => line.trim())
        .join(' '),
    )
    .join('\n\n');
}

function pathOf(described: Described): number[] {
  switch (described.kind) {
    case 'field':
      return [
        ...pathOf(described.parent),
        within.messageField,
        described.parent.proto.field.indexOf(described.proto),
      ];
    case 'enum_value':
      return [
        ...pathOf(described.parent),
        within.enumValue,
        described.parent.proto.value.indexOf(described.proto),
      ];
    case 'enum': {
      const { parent, file, proto } = described;
      if (!parent) return [within.fileEnum, file.proto.enumType.indexOf(proto)];
      return [...pathOf(parent), within.messageEnum, parent.proto.enumType.indexOf(proto)];
    }
    case 'message': {
      const { parent, file, proto } = described;
      if (!parent) return [within.fileMessage, file.proto.messageType.indexOf(proto)];
      return [...pathOf(parent), within.messageMessage, parent.proto.nestedType.indexOf(proto)];
    }
  }
}
