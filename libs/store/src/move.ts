// Moving data between stores; apart from the package's main surface, since it needs MongoDB's driver.
export {
  type MovedService,
  type MoveOptions,
  type MoveProgress,
  type MoveReport,
  moveStores,
} from './move/move.ts';
