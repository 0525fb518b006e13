/** The surface of @nephos/directory. */

export { Health, Instance } from '@nephos/proto/nephos/directory/v1/instance';
export { joinDirectory } from './join.ts';
export { selects, type Traits } from './selection.ts';
export type { DirectoryEndpoint, DirectoryHandle, JoinOptions, Selector } from './types.ts';
