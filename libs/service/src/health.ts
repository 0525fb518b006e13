/**
 * The standard health service (grpc.health.v1, https://github.com/grpc/grpc/blob/master/doc/health-checking.md):
 * Check, Watch and List. All contracts of a server share one state: whole instances leave the directory, never
 * parts. The three small messages are coded by hand: their contract lies outside of ours and never changes.
 */

import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Server,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { bytesAsTheyAre, toBuffer } from './streams.ts';

export const healthStates = { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;
export type HealthState = (typeof healthStates)[keyof typeof healthStates];

/** HealthCheckRequest: `string service = 1`. */
export function decodeHealthRequest(bytes: Uint8Array): string {
  const reader = new BinaryReader(bytes);
  let service = '';
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) service = reader.string();
    else reader.skip(wireType, field);
  }
  return service;
}

/** HealthCheckResponse: `ServingStatus status = 1`. */
function encodeHealthResponse(state: HealthState): Buffer {
  return toBuffer(new BinaryWriter().uint32(8).int32(state).finish());
}

/** HealthListResponse: `map<string, HealthCheckResponse> statuses = 1`. */
function encodeHealthList(states: readonly (readonly [string, HealthState])[]): Buffer {
  const writer = new BinaryWriter();
  for (const [service, state] of states) {
    writer.uint32(10).fork().uint32(10).string(service).uint32(18).bytes(encodeHealthResponse(state)).join();
  }
  return toBuffer(writer.finish());
}

type Watcher = ServerWritableStream<Buffer, Buffer>;

export class HealthService {
  readonly #services = new Set<string>(['']);
  readonly #watchers = new Map<Watcher, string>();
  #serving = false;

  /** Makes a contract known; the empty name stands for the whole server. */
  add(service: string): void {
    this.#services.add(service);
  }

  get serving(): boolean {
    return this.#serving;
  }

  setServing(serving: boolean): void {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const [watcher, service] of this.#watchers)
      watcher.write(encodeHealthResponse(this.#stateOf(service)));
  }

  /** Says NOT_SERVING to whoever watches, and ends the watches. */
  close(): void {
    this.setServing(false);
    for (const watcher of this.#watchers.keys()) watcher.end();
    this.#watchers.clear();
  }

  register(server: Server): void {
    const check: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
      const state = this.#stateOf(decodeHealthRequest(call.request));
      if (state === healthStates.SERVICE_UNKNOWN)
        callback({ code: status.NOT_FOUND, details: 'no such service' });
      else callback(null, encodeHealthResponse(state));
    };
    const list: handleUnaryCall<Buffer, Buffer> = (_call, callback) => {
      callback(
        null,
        encodeHealthList([...this.#services].map((service) => [service, this.#stateOf(service)])),
      );
    };
    const watch: handleServerStreamingCall<Buffer, Buffer> = (call) => {
      const service = decodeHealthRequest(call.request);
      this.#watchers.set(call, service);
      call.on('cancelled', () => this.#watchers.delete(call));
      call.write(encodeHealthResponse(this.#stateOf(service)));
    };
    server.register('/grpc.health.v1.Health/Check', check, bytesAsTheyAre, bytesAsTheyAre, 'unary');
    server.register('/grpc.health.v1.Health/List', list, bytesAsTheyAre, bytesAsTheyAre, 'unary');
    server.register('/grpc.health.v1.Health/Watch', watch, bytesAsTheyAre, bytesAsTheyAre, 'serverStream');
  }

  #stateOf(service: string): HealthState {
    if (!this.#services.has(service)) return healthStates.SERVICE_UNKNOWN;
    return this.#serving ? healthStates.SERVING : healthStates.NOT_SERVING;
  }
}
