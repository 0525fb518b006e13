/** A real HTTP endpoint that keeps what it got and answers as the test says. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** Answers a request: a status, and headers if need be; `undefined` never answers. */
export type Answer = (
  received: Received,
  count: number,
) => { readonly status: number; readonly headers?: Record<string, string> } | undefined;

export class Endpoint implements AsyncDisposable {
  readonly received: Received[] = [];
  answer: Answer = () => ({ status: 204 });
  readonly #server: http.Server;
  #arrived = Promise.withResolvers<void>();

  private constructor(server: http.Server) {
    this.#server = server;
    server.on('request', (request, response) => void this.#take(request, response));
  }

  static async listen(): Promise<Endpoint> {
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Endpoint(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  /** Resolves once so many requests that match have come. */
  async until(count: number, matches: (received: Received) => boolean = () => true): Promise<Received[]> {
    for (;;) {
      const found = this.received.filter(matches);
      if (found.length >= count) return found;
      await this.#arrived.promise;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #take(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const received = { headers: request.headers, body: Buffer.concat(pieces).toString('utf8') };
    this.received.push(received);
    const answer = this.answer(received, this.received.length);
    if (answer !== undefined) response.writeHead(answer.status, answer.headers).end('thanks');
    const arrived = this.#arrived;
    this.#arrived = Promise.withResolvers();
    arrived.resolve();
  }
}
