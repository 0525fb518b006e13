/**
 * The other side of libs/service/src/failpoint.ts: a unix socket at which services ask whether to go on. Rules say
 * what happens at which pass; every pass is written down, so that a run without rules enumerates the places.
 */
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { FailpointFacts } from '@nephos/service';

/** One pass of a point, in the order in which they came. */
export interface Hit {
  readonly point: string;
  readonly facts: FailpointFacts;
  readonly service: string;
  readonly pid: number;
}

export type FailpointAction = 'go' | 'error' | 'kill' | 'hang';

export interface Rule {
  readonly point: string;
  /** Facts that must be equal; others may be anything. */
  readonly facts?: FailpointFacts;
  /** Which of the passes that match, from 1 on; default every one. */
  readonly nth?: number;
  /** What happens; a function may do things, e.g. kill another process, before it answers. */
  readonly action: FailpointAction | ((hit: Hit) => Promise<FailpointAction> | FailpointAction);
}

interface Question extends Hit {
  readonly id: number;
}

export class FailpointControl implements AsyncDisposable {
  readonly path: string;
  readonly hits: Hit[] = [];
  /** What rules threw; whoever asked was let go. */
  readonly failures: unknown[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #rules: { readonly rule: Rule; passed: number }[] = [];

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => this.#connected(socket));
  }

  /** Listens at `path`, which goes into NEPHOS_FAILPOINTS. */
  static async listen(path: string): Promise<FailpointControl> {
    const control = new FailpointControl(path);
    await new Promise<void>((resolve, reject) => {
      control.#server.once('error', reject);
      control.#server.listen(path, resolve);
    });
    return control;
  }

  add(rule: Rule): void {
    this.#rules.push({ rule, passed: 0 });
  }

  /** Forgets the rules and the passes so far. */
  reset(): void {
    this.#rules.length = 0;
    this.hits.length = 0;
    this.failures.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.path, { force: true });
  }

  #connected(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    const lines = createInterface({ input: socket });
    // A killed process may reset its connection; the socket's own handler has seen to it.
    lines.on('error', () => undefined);
    lines.on('line', (line) => {
      const { id, ...hit } = JSON.parse(line) as Question;
      this.hits.push(hit);
      const decided = this.#decide(hit).catch((error: unknown) => {
        this.failures.push(error);
        return 'go';
      });
      void decided.then((action) => {
        if (!socket.destroyed) socket.write(`${JSON.stringify({ id, action })}\n`);
      });
    });
  }

  async #decide(hit: Hit): Promise<FailpointAction> {
    for (const entry of this.#rules) {
      const { rule } = entry;
      if (!matches(rule, hit)) continue;
      entry.passed += 1;
      if (rule.nth !== undefined && rule.nth !== entry.passed) continue;
      return typeof rule.action === 'function' ? await rule.action(hit) : rule.action;
    }
    return 'go';
  }
}

function matches({ point, facts = {} }: Rule, hit: Hit): boolean {
  return point === hit.point && Object.entries(facts).every(([key, value]) => hit.facts[key] === value);
}
