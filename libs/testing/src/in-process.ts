/** A service in this process. */
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { type Environment, type RunningService, startService } from '@nephos/service';
import type { PlatformService } from './platform-service.ts';
import type { Definition, ServiceName } from './services.ts';

export interface ServicePlace {
  readonly name: ServiceName;
  readonly address: string;
  readonly data: string;
  /** Its log, one file over all its starts. */
  readonly logFile: string;
  readonly env: Environment;
}

export class InProcessService implements PlatformService {
  readonly name: ServiceName;
  readonly address: string;
  readonly data: string;
  readonly #place: ServicePlace;
  readonly #definition: Definition;
  #running: RunningService | undefined;
  #log: WriteStream | undefined;

  constructor(place: ServicePlace, definition: Definition) {
    this.name = place.name;
    this.address = place.address;
    this.data = place.data;
    this.#place = place;
    this.#definition = definition;
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  async start(): Promise<void> {
    if (this.#running) return;
    await mkdir(path.dirname(this.#place.logFile), { recursive: true });
    const log = createWriteStream(this.#place.logFile, { flags: 'a' });
    this.#log = log;
    const logTo = { write: (line: string): void => void log.write(line) };
    this.#running = await startService(this.#definition, { env: this.#place.env, logTo });
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
    const log = this.#log;
    this.#log = undefined;
    if (log) await new Promise<void>((resolve) => log.end(resolve));
  }
}
