/**
 * Server reflection, v1 and v1alpha (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md), from the
 * descriptors that were compiled with the contracts, byte for byte. They are loaded at the first question: most
 * processes are never asked. The protocol's few messages are coded by hand; both versions are the same bytes.
 */
import { readFile } from 'node:fs/promises';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { type Server, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { descriptorsPath } from '@nephos/proto/descriptors';
import { type DescriptorProto, FileDescriptorProto } from '@nephos/proto/google/protobuf/descriptor';
import { NotFound } from './errors.ts';
import { asNephosError, codeOf } from './status.ts';
import { bytesAsTheyAre, toBuffer, untilDrained } from './streams.ts';

interface File {
  readonly bytes: Uint8Array;
  readonly descriptor: FileDescriptorProto;
}

/** What the descriptors hold, found by name. */
export class DescriptorIndex {
  readonly #files = new Map<string, File>();
  readonly #symbols = new Map<string, File>();
  /** By extended type, then by field number. */
  readonly #extensions = new Map<string, Map<number, File>>();

  /** `set`: a google.protobuf.FileDescriptorSet, `repeated FileDescriptorProto file = 1`. */
  constructor(set: Uint8Array) {
    const reader = new BinaryReader(set);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1) this.#add(reader.bytes());
      else reader.skip(wireType, field);
    }
  }

  fileByName(name: string): Uint8Array[] {
    return this.#withImports(this.#files.get(name), `file ${name}`);
  }

  fileOfSymbol(symbol: string): Uint8Array[] {
    return this.#withImports(this.#symbols.get(symbol), `symbol ${symbol}`);
  }

  fileOfExtension(type: string, number: number): Uint8Array[] {
    return this.#withImports(this.#extensions.get(type)?.get(number), `extension ${number} of ${type}`);
  }

  extensionNumbers(type: string): number[] {
    return [...(this.#extensions.get(type)?.keys() ?? [])];
  }

  #add(bytes: Uint8Array): void {
    const descriptor = FileDescriptorProto.decode(bytes);
    const file = { bytes, descriptor };
    const inPackage = (descriptor.package ?? '') === '' ? '' : `${descriptor.package}.`;
    this.#files.set(descriptor.name ?? '', file);
    for (const message of descriptor.messageType) this.#addMessage(file, inPackage, message);
    for (const { name } of descriptor.enumType) this.#symbols.set(`${inPackage}${name}`, file);
    for (const { name, method } of descriptor.service) {
      this.#symbols.set(`${inPackage}${name}`, file);
      for (const { name: methodName } of method) this.#symbols.set(`${inPackage}${name}.${methodName}`, file);
    }
    this.#addExtensions(file, inPackage, descriptor.extension);
  }

  #addMessage(file: File, scope: string, message: DescriptorProto): void {
    const name = `${scope}${message.name}`;
    this.#symbols.set(name, file);
    for (const field of message.field) this.#symbols.set(`${name}.${field.name}`, file);
    for (const inner of message.nestedType) this.#addMessage(file, `${name}.`, inner);
    for (const inner of message.enumType) this.#symbols.set(`${name}.${inner.name}`, file);
    this.#addExtensions(file, `${name}.`, message.extension);
  }

  #addExtensions(file: File, scope: string, extensions: FileDescriptorProto['extension']): void {
    for (const { name, extendee, number } of extensions) {
      this.#symbols.set(`${scope}${name}`, file);
      const type = (extendee ?? '').replace(/^\./, '');
      const numbers = this.#extensions.get(type) ?? new Map<number, File>();
      this.#extensions.set(type, numbers.set(number ?? 0, file));
    }
  }

  /** The file and all it imports, itself first. */
  #withImports(file: File | undefined, what: string): Uint8Array[] {
    if (file === undefined) throw new NotFound('RESOURCE_NOT_FOUND', `${what} is not known here`);
    const found = new Set([file]);
    // A Set visits what is added to it while it is walked: this reaches the whole closure.
    for (const { descriptor } of found) {
      for (const name of descriptor.dependency) {
        const imported = this.#files.get(name);
        if (imported !== undefined) found.add(imported);
      }
    }
    return [...found].map(({ bytes }) => bytes);
  }
}

/** ServerReflectionRequest: the field that is set, and its value. */
interface Question {
  readonly field: number;
  readonly text: string;
  readonly number: number;
}

function readQuestion(bytes: Uint8Array): Question {
  const reader = new BinaryReader(bytes);
  let question: Question = { field: 0, text: '', number: 0 };
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 5) question = { field, ...readExtension(reader.bytes()) };
    else if (field === 3 || field === 4 || field === 6 || field === 7) {
      question = { field, text: reader.string(), number: 0 };
    } else reader.skip(wireType, field);
  }
  return question;
}

/** ExtensionRequest: `string containing_type = 1; int32 extension_number = 2`. */
function readExtension(bytes: Uint8Array): { text: string; number: number } {
  const reader = new BinaryReader(bytes);
  const extension = { text: '', number: 0 };
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) extension.text = reader.string();
    else if (field === 2) extension.number = reader.int32();
    else reader.skip(wireType, field);
  }
  return extension;
}

/** The tag of a length-delimited field. */
const lengthDelimited = (field: number): number => (field << 3) | 2;

function writeAnswer(
  writer: BinaryWriter,
  question: Question,
  index: DescriptorIndex,
  services: readonly string[],
): void {
  const files = (found: readonly Uint8Array[]): void => {
    writer.uint32(lengthDelimited(4)).fork();
    for (const bytes of found) writer.uint32(lengthDelimited(1)).bytes(bytes);
    writer.join();
  };
  switch (question.field) {
    case 3:
      return files(index.fileByName(question.text));
    case 4:
      return files(index.fileOfSymbol(question.text));
    case 5:
      return files(index.fileOfExtension(question.text, question.number));
    case 6:
      writer.uint32(lengthDelimited(5)).fork().uint32(lengthDelimited(1)).string(question.text);
      for (const number of index.extensionNumbers(question.text)) writer.uint32(16).int32(number);
      writer.join();
      return;
    default:
      writer.uint32(lengthDelimited(6)).fork();
      for (const name of services) {
        writer.uint32(lengthDelimited(1)).fork().uint32(lengthDelimited(1)).string(name).join();
      }
      writer.join();
  }
}

/** ServerReflectionResponse to one request; what is not known is an answer too, not the end of the stream. */
export function reflect(request: Uint8Array, index: DescriptorIndex, services: readonly string[]): Buffer {
  const writer = new BinaryWriter().uint32(lengthDelimited(2)).bytes(request);
  try {
    writeAnswer(writer, readQuestion(request), index, services);
  } catch (thrown) {
    const error = asNephosError(thrown);
    writer.uint32(lengthDelimited(7)).fork().uint32(8).int32(codeOf(error));
    writer.uint32(lengthDelimited(2)).string(error.message).join();
  }
  return toBuffer(writer.finish());
}

let index: Promise<DescriptorIndex> | undefined;

function loadIndex(): Promise<DescriptorIndex> {
  index ??= readFile(descriptorsPath).then((bytes) => new DescriptorIndex(bytes));
  return index;
}

async function converse(
  stream: ServerDuplexStream<Buffer, Buffer>,
  services: () => readonly string[],
): Promise<void> {
  const known = await loadIndex();
  for await (const request of stream) {
    if (!stream.write(reflect(request as Buffer, known, services()))) await untilDrained(stream);
  }
  stream.end();
}

/** Serves reflection; `services` is asked each time, since contracts are added one by one. */
export function registerReflection(server: Server, services: () => readonly string[]): void {
  const serve = (stream: ServerDuplexStream<Buffer, Buffer>): void => {
    converse(stream, services).catch((error: unknown) => {
      if (!stream.cancelled)
        stream.emit('error', { code: status.INTERNAL, details: (error as Error).message });
    });
  };
  for (const version of ['v1', 'v1alpha']) {
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    server.register(path, serve, bytesAsTheyAre, bytesAsTheyAre, 'bidi');
  }
}
