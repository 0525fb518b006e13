// Folders to work in beside what is whole: named after the process, so that several builds at once leave each
// other's alone, and that those of dead ones are removed. Owner: deploy/guest.
import fs from 'node:fs';
import path from 'node:path';

const prefix = 'fresh-';

/** A new empty folder in `parent`; whoever made it removes it. */
export function freshFolder(parent) {
  for (const left of fs.readdirSync(parent).filter((name) => name.startsWith(prefix))) {
    const pid = Number(left.slice(prefix.length).split('-')[0]);
    if (!isAlive(pid)) fs.rmSync(path.join(parent, left), { recursive: true, force: true });
  }
  return fs.mkdtempSync(path.join(parent, `${prefix}${process.pid}-`));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (fault) {
    return fault.code === 'EPERM';
  }
}
