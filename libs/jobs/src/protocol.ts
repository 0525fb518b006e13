/** What job control shares with the clients of its streams. */
export { Frames } from './frames.ts';
export { errorOf, statusOf } from './status.ts';
