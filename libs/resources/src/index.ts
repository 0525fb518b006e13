/** The surface of @nephos/resources. */
export { type Creation, creating, insertOnce, nameTaken } from './creating.ts';
export { headerFields, withCheckedHeader } from './header.ts';
export { findResource } from './reading.ts';
export {
  type StandardMethods,
  type StandardParts,
  type StandardResource,
  standardMethods,
} from './standard-methods.ts';
