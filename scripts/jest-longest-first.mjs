// The order in which jest takes the test files: those that take longest first, so that both workers end together.
// Owner: the tool chain. Where a file ran before, jest knows how long it took. On a fresh machine (CI) it would go by
// the size of the files, which says little: what tests the whole platform takes longer than what tests a service,
// and that longer than a library, so the folder goes first and the size second.
import path from 'node:path';
import Sequencer from '@jest/test-sequencer';

const longestFirst = ['e2e', 'services', 'libs'];

function rankOf({ path: file, context }) {
  const [folder] = path.relative(context.config.rootDir, file).split(path.sep);
  const rank = longestFirst.indexOf(folder);
  return rank === -1 ? longestFirst.length : rank;
}

export default class LongestFirst extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    if (sorted.some(({ duration }) => duration !== undefined)) return sorted;
    return sorted.toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}
