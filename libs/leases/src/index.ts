/** The surface of @nephos/leases. */
export { type Held, type HoldOptions, holdLease } from './hold.ts';
export { type LeaseOptions, type LeaseRecord, type Leases, openLeases } from './leases.ts';
export { LeaseSet, type LeaseSetOptions } from './set.ts';
