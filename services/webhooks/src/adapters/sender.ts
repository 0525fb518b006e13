/**
 * Sends one signed request to one endpoint. Owner: the bridge. Every address that is connected to is checked against
 * the policy, whatever name led there; redirects are not followed; of an answer only the status counts, and no more
 * than a little of its body is read. Never throws: what goes wrong is the attempt's error, without the URL.
 */
import { lookup as resolve } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Clock } from '@nephos/service';
import type { HttpMessage } from '../domain/envelope.ts';
import { retryAfter } from '../domain/retry.ts';
import { literalAddress, type TargetPolicy } from '../domain/target.ts';
import type { AttemptRecord } from '../domain/webhook.ts';

const mostAnswerBytes = 64 * 1024;
/** What comes after the status may take this long: a connection is not held by an answer without an end. */
const longestAnswerMs = 2_000;
const idleMs = 30_000;
const socketsPerEndpoint = 8;

export interface Attempt extends AttemptRecord {
  /** What the endpoint asked for, milliseconds. */
  readonly retryAfterMs: number | undefined;
}

export interface SendRequest extends HttpMessage {
  readonly url: URL;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

export class Sender implements Disposable {
  readonly #policy: TargetPolicy;
  readonly #clock: Clock;
  readonly #http: http.Agent;
  readonly #https: https.Agent;

  constructor(policy: TargetPolicy, clock: Clock) {
    this.#policy = policy;
    this.#clock = clock;
    const options = { keepAlive: true, timeout: idleMs, maxSockets: socketsPerEndpoint };
    this.#http = new http.Agent(options);
    this.#https = new https.Agent(options);
  }

  async send(request: SendRequest): Promise<Attempt> {
    const time = this.#clock.now();
    const began = this.#clock.monotonic();
    const late = new AbortController();
    using _limit = this.#clock.timer(request.timeoutMs, () =>
      late.abort(new Error(`no answer within ${request.timeoutMs} ms`)),
    );
    const done = (status: number, error: string, asked?: string): Attempt => ({
      time: time.toISOString(),
      durationMs: Math.round(this.#clock.monotonic() - began),
      status,
      error,
      retryAfterMs: retryAfter(asked, this.#clock.now()),
    });
    try {
      this.#policy.check(request.url.href, 'url');
      const signal = AbortSignal.any([late.signal, request.signal]);
      const answer = await this.#post(request, signal);
      return done(answer.status, '', answer.retryAfter);
    } catch (error) {
      const reason: unknown = late.signal.aborted ? late.signal.reason : error;
      return done(0, errorText(reason, request.url));
    }
  }

  [Symbol.dispose](): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #post({ url, headers, body }: SendRequest, signal: AbortSignal): Promise<Answer> {
    const secure = url.protocol === 'https:';
    const options: https.RequestOptions = {
      method: 'POST',
      agent: secure ? this.#https : this.#http,
      headers: { ...headers, 'user-agent': 'nephos-webhooks', 'content-length': Buffer.byteLength(body) },
      lookup: this.#lookup,
      signal,
    };
    return new Promise((answered, reject) => {
      const request = (secure ? https : http).request(url, options, (response) => {
        this.#drain(response);
        answered({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] });
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  /** Reads the rest of a short answer, so that the connection can be used again; cuts a long or slow one off. */
  #drain(response: http.IncomingMessage): void {
    let read = 0;
    const limit = this.#clock.timer(longestAnswerMs, () => response.destroy());
    response.on('data', (piece: Buffer) => {
      read += piece.length;
      if (read > mostAnswerBytes) response.destroy();
    });
    response.on('error', () => response.destroy());
    response.on('close', () => limit[Symbol.dispose]());
  }

  /** Resolves a name and refuses it unless every address that it has is allowed. */
  readonly #lookup: LookupFunction = (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0);
      const refused = addresses.find(({ address }) => !this.#policy.allows(address));
      const [first] = addresses;
      if (refused !== undefined || first === undefined) {
        // Not to which: whoever asks would learn the names of a network that is not theirs.
        return callback(new Error(`${hostname} does not lead to public addresses alone`), '', 0);
      }
      if (options.all === true) return callback(null, addresses);
      return callback(null, first.address, first.family);
    });
  };
}

/** One line for the log of deliveries. The URL may hold a token. */
function errorText(error: unknown, url: URL): string {
  const text =
    error instanceof Error || (typeof error === 'object' && error !== null && 'message' in error)
      ? String(error.message)
      : String(error);
  const host = literalAddress(url) ?? url.hostname;
  return text.replaceAll(url.href, host).split('\n', 1)[0]?.slice(0, 300) ?? '';
}
