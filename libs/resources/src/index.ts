/** The surface of @nephos/resources. */
export { type Creation, creating, insertOnce, nameTaken } from './creating.ts';
export { headerChangeable, headerFields, withHeader } from './header.ts';
export { findResource, getResource, listResources } from './reading.ts';
export {
  type StandardMethods,
  type StandardParts,
  type StandardResource,
  standardMethods,
} from './standard-methods.ts';
