/**
 * The types of a contract on both sides: what ts-proto generates for a service, the client it gives and the
 * implementation it asks for. Types only: server.ts and client.ts give them life.
 */
import type { Call, CallOptions } from './call.ts';

/** A message's codec as ts-proto generates it. */
export interface MessageType<T> {
  readonly $type: string;
  encode(message: T): { finish(): Uint8Array };
  decode(input: Uint8Array): T;
  fromPartial(object: DeepPartial<T>): T;
}

/** One method of a generated `XServiceDefinition`. */
export interface MethodContract {
  readonly name: string;
  readonly requestType: MessageType<unknown>;
  readonly requestStream: boolean;
  readonly responseType: MessageType<unknown>;
  readonly responseStream: boolean;
}

/** A generated `XServiceDefinition`. */
export interface ServiceContract {
  readonly name: string;
  readonly fullName: string;
  readonly methods: { readonly [method: string]: MethodContract };
}

type Builtin = Date | Uint8Array | string | number | boolean | undefined;

/** What a writer may leave out: everything. What is left out has proto3's default value. */
export type DeepPartial<T> = T extends Builtin
  ? T
  : T extends bigint
    ? bigint | number | string
    : T extends readonly (infer U)[]
      ? readonly DeepPartial<U>[]
      : T extends { readonly $case: string; readonly value: unknown }
        ? { readonly $case: T['$case']; readonly value?: DeepPartial<T['value']> | undefined }
        : T extends object
          ? { readonly [K in keyof T]?: DeepPartial<T[K]> | undefined }
          : T;

/** The type that a codec decodes to. */
export type MessageOf<M> = M extends { decode(input: Uint8Array): infer T } ? T : never;

type Request<M extends MethodContract> = MessageOf<M['requestType']>;
type Response<M extends MethodContract> = MessageOf<M['responseType']>;
/** Reads better in tool tips than the conditional it stands for. */
type Sent<T> = DeepPartial<T>;

export type ClientMethod<M extends MethodContract> = M['requestStream'] extends true
  ? M['responseStream'] extends true
    ? (requests: AsyncIterable<Sent<Request<M>>>, options?: CallOptions) => AsyncIterable<Response<M>>
    : (requests: AsyncIterable<Sent<Request<M>>>, options?: CallOptions) => Promise<Response<M>>
  : M['responseStream'] extends true
    ? (request: Sent<Request<M>>, options?: CallOptions) => AsyncIterable<Response<M>>
    : (request: Sent<Request<M>>, options?: CallOptions) => Promise<Response<M>>;

/** A typed client: one function a method. Unary calls retry `UNAVAILABLE` under one request id. */
export type Client<D extends ServiceContract> = {
  readonly [K in keyof D['methods']]: ClientMethod<D['methods'][K]>;
};

export type Handler<M extends MethodContract> = M['requestStream'] extends true
  ? M['responseStream'] extends true
    ? (requests: AsyncIterable<Request<M>>, call: Call) => AsyncIterable<Sent<Response<M>>>
    : (requests: AsyncIterable<Request<M>>, call: Call) => Promise<Sent<Response<M>>>
  : M['responseStream'] extends true
    ? (request: Request<M>, call: Call) => AsyncIterable<Sent<Response<M>>>
    : (request: Request<M>, call: Call) => Promise<Sent<Response<M>>>;

/** What serves a contract: one handler a method. */
export type Implementation<D extends ServiceContract> = {
  readonly [K in keyof D['methods']]: Handler<D['methods'][K]>;
};
