/** What the writers and subscribers of both sides can be asked, and how their entities are numbered. Types, pure. */

export interface Burst {
  /** Number of the first entity. */
  readonly from: number;
  readonly count: number;
  /** Writes that are not acknowledged at once. */
  readonly window: number;
  readonly kind: 'insert' | 'update';
}

export interface Paced {
  readonly from: number;
  readonly count: number;
  readonly perSecond: number;
}

/** Times in nanoseconds on the machine's shared clock, by the event's place. */
export interface PacedTimes {
  /** When the write was asked for. */
  readonly asked: Float64Array;
  /** When its writer was told that it is kept. */
  readonly kept: Float64Array;
}

export type WriterCommands = {
  /** Makes what is to be written, as far as that is the application's own work. */
  prepare(input: Omit<Burst, 'window'>): Promise<void>;
  /** Gives when the first write was asked for. */
  burst(input: Burst): Promise<number>;
  paced(input: Paced): Promise<PacedTimes>;
  /** Resolves when nothing is left to do in the background. */
  settle(input: undefined): Promise<void>;
};

export interface Expected {
  readonly from: number;
  readonly count: number;
}

export interface Handled {
  /** When the last one was handled. */
  readonly last: number;
  /** When each was, by its place; filled where each entity has one event. */
  readonly at: Float64Array;
}

export type SubscriberCommands = {
  /** Resolves once so many events were handled from the call on. */
  expect(input: Expected): Promise<Handled>;
};

const uidStart = '0192f4c3-1a2b-7c3d-8e4f-';

/** A uid as entities have it, with its number in it. */
export function uidOf(number: number): string {
  return uidStart + number.toString(16).padStart(12, '0');
}

export function numberIn(uid: string): number {
  return Number.parseInt(uid.slice(uidStart.length), 16);
}
