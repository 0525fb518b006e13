/**
 * The other instances of the template service, as places that may hold an image. Owner: each instance its own.
 * Peers are asked for what is on their own disk only, so that no two ask each other in circles; one that breaks off is
 * followed by the next, at the byte where it stopped. Nothing is kept here.
 */
import type { DirectoryHandle } from '@nephos/directory';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import { type Clients, type Logger, NephosError, Unavailable } from '@nephos/service';

export interface Range {
  /** `templates/{uid}`. */
  readonly name: string;
  readonly offset: number;
  /** First byte that is not wanted. */
  readonly end: number;
  readonly signal: AbortSignal;
}

export interface Piece {
  readonly offset: number;
  readonly data: Uint8Array;
}

export class Peers {
  readonly #directory: Pick<DirectoryHandle, 'uid' | 'resolve'>;
  readonly #clients: Clients;
  readonly #log: Logger;

  constructor(directory: Pick<DirectoryHandle, 'uid' | 'resolve'>, clients: Clients, log: Logger) {
    this.#directory = directory;
    this.#clients = clients;
    this.#log = log;
  }

  /** The bytes of the range, in order. Throws `Unavailable` STORAGE_FAILED where no peer has them all. */
  async *read({ name, offset, end, signal }: Range): AsyncGenerator<Piece> {
    let at = offset;
    for (const { address } of await this.#others()) {
      const client = this.#clients.of(TemplateServiceDefinition, address, { service: 'template' });
      const request = { name, offset: BigInt(at), length: BigInt(end - at), localOnly: true };
      try {
        for await (const piece of client.readTemplate(request, { signal })) {
          if (Number(piece.offset) !== at) break;
          at += piece.data.length;
          yield { offset: Number(piece.offset), data: piece.data };
          if (at >= end) return;
        }
      } catch (error) {
        if (signal.aborted || !(error instanceof NephosError)) throw error;
        this.#log.info({ err: error, template: name, peer: address }, 'a peer did not give an image');
      }
    }
    throw new Unavailable('STORAGE_FAILED', `no instance within reach has the image of ${name}`);
  }

  async #others(): Promise<readonly { readonly address: string }[]> {
    const instances = await this.#directory.resolve('template');
    return instances.filter(({ header }) => header?.uid !== this.#directory.uid);
  }
}
