/** One service of a platform under test, in this process or in its own. Types only. */
import type { ServiceName } from './services.ts';

export interface PlatformService {
  readonly name: ServiceName;
  /** `host:port`; the same over restarts. */
  readonly address: string;
  /** Folder of its files; the same over restarts. */
  readonly data: string;
  readonly running: boolean;
  /** Starts it, as before, and returns once it takes calls. Running already is success. */
  start(): Promise<void>;
  /** Ends it in order. Ended already is success. */
  stop(): Promise<void>;
}

/** One that is a process of its own. */
export interface ServiceProcess extends PlatformService {
  /** Changes with each start. */
  readonly pid: number;
  /** SIGKILL; returns once the process is gone. */
  kill(): Promise<void>;
}
