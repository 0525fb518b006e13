/** What servers and clients of both sides can be asked. */

export interface Calls {
  /** In all. */
  readonly calls: number;
  /** Calls, or streams, at once. */
  readonly inFlight: number;
}

export interface Called {
  readonly seconds: number;
  /** Of each call, milliseconds. */
  readonly times: Float64Array;
}

export type ServerCommands = {
  port(input: undefined): Promise<number>;
};

export type ClientCommands = {
  unary(input: Calls): Promise<Called>;
  /** Messages rather than calls, over `inFlight` streams; gives the seconds. */
  serverStream(input: Calls): Promise<number>;
  bidi(input: Calls): Promise<number>;
};
