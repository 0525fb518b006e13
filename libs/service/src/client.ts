/** Typed clients: one function a method, of the kind that its contract says. */

import type { Channel } from './channel.ts';
import { bidi, clientStream, serverStream } from './client-streams.ts';
import { unary } from './client-unary.ts';
import type { Client, MethodContract, ServiceContract } from './contract.ts';
import type { ClientEnvironment, Method } from './outgoing.ts';

function functionFor(
  contract: MethodContract,
  method: Method,
  channel: Channel,
  env: ClientEnvironment,
): unknown {
  if (contract.requestStream) {
    return contract.responseStream ? bidi(method, channel, env) : clientStream(method, channel, env);
  }
  return contract.responseStream ? serverStream(method, channel, env) : unary(method, channel, env);
}

/** A client of the contract on the channel. */
export function makeClient<D extends ServiceContract>(
  definition: D,
  channel: Channel,
  env: ClientEnvironment,
): Client<D> {
  const functions = Object.entries(definition.methods).map(([key, contract]) => {
    const { requestType, responseType } = contract;
    const path = `/${definition.fullName}/${contract.name}`;
    return [key, functionFor(contract, { path, requestType, responseType }, channel, env)] as const;
  });
  return Object.freeze(Object.fromEntries(functions)) as Client<D>;
}
