/**
 * What travels with the work under way, by itself: whose it is, under which request id, trace and job. One
 * AsyncLocalStorage holds it; clients and logs read it. It is also OpenTelemetry's context manager, so that
 * a span made active there is the parent of what is called from within.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Context, type ContextManager, context as otel, ROOT_CONTEXT } from '@opentelemetry/api';
import type { Call } from './call.ts';
import { traceOf, traceparentOf } from './metadata.ts';

/** Whose work it is. What is undefined is not known. */
export interface Origin {
  readonly requestId?: string | undefined;
  readonly principal?: string | undefined;
  readonly onBehalfOf?: string | undefined;
  readonly jobId?: string | undefined;
  /** W3C trace context of what caused the work. */
  readonly traceparent?: string | undefined;
  /** Calls made from within are cancelled with it. */
  readonly signal?: AbortSignal | undefined;
}

/** A call being served also bounds what is called from it; see server-call.ts. */
export interface CallOrigin extends Call {
  /** Milliseconds left to the caller; Infinity without a deadline or once detached. */
  left(): number;
  readonly detached: boolean;
}

interface Frame {
  readonly origin: Origin;
  readonly call: CallOrigin | undefined;
  readonly otel: Context;
}

const frames = new AsyncLocalStorage<Frame>();
const nobody: Origin = Object.freeze({});

/** The call being served here, if any. */
export function currentCall(): Call | undefined {
  return frames.getStore()?.call;
}

/** The same, with what clients need of it. */
export function currentCallOrigin(): CallOrigin | undefined {
  return frames.getStore()?.call;
}

/** Whose work is under way here; empty outside of any. */
export function currentOrigin(): Origin {
  return frames.getStore()?.origin ?? nobody;
}

/** The trace context here. */
export function currentTrace(): Context {
  return frames.getStore()?.otel ?? ROOT_CONTEXT;
}

/** Runs `work` as part of the call. */
export function runCall<R>(call: CallOrigin, trace: Context, work: () => R): R {
  return frames.run({ origin: call, call, otel: trace }, work);
}

/**
 * Runs work that is no call, such as a job's step or an event's handler, on somebody's behalf. Nothing is
 * inherited from the call that may be under way: such work outlives it.
 */
export function runAs<R>(origin: Origin, work: () => R): R {
  return frames.run({ origin, call: undefined, otel: traceOf(origin.traceparent) }, work);
}

/** The traceparent of the work under way here, to be carried in an event or a record. */
export function currentTraceparent(): string | undefined {
  return traceparentOf(currentTrace());
}

class FrameContextManager implements ContextManager {
  active(): Context {
    return currentTrace();
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    trace: Context,
    fn: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    const frame = frames.getStore();
    return frames.run({ origin: frame?.origin ?? nobody, call: frame?.call, otel: trace }, () =>
      Reflect.apply(fn, thisArg, args),
    );
  }

  bind<T>(trace: Context, target: T): T {
    if (typeof target !== 'function') return target;
    const bound = (...args: unknown[]): unknown =>
      this.with(trace, () => Reflect.apply(target, undefined, args));
    return bound as T;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    return this;
  }
}

/** Makes `@opentelemetry/api` see the same context. Once a process; a manager set before stays. */
export function shareContextWithTelemetry(): void {
  otel.setGlobalContextManager(new FrameContextManager());
}
