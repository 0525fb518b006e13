/** `nephos store`: where the services keep their records. Needs no platform: it runs on the files themselves. */
import path from 'node:path';
import { Invalid } from '@nephos/service';
import type { MovedService, MoveProgress, MoveReport } from '@nephos/store/move';
import type { Command } from 'commander';
import type { Session } from '../session.ts';
import { type Column } from '../table.ts';

interface MoveArguments {
  readonly from: string;
  readonly to?: string;
  readonly dryRun?: boolean;
}

const explained = `
Copies every document with its counters, pending events and tombstones as they are, reads all of it
back, and only then declares it whole: until then no service starts on the copy. Broken off, the same
command goes on where it was. The files are locked meanwhile and stay as they are. The host agent's
records stay in its file: they are those of its host.

Examples:
  nephos store move --from .nephos/simulated --to mongodb://db:27017 --dry-run
  nephos store move --from .nephos/simulated --to mongodb://db:27017
  npm start -- --simulate --store mongodb://db:27017

Each service gets a database: nephos_simulated_orchestrator and so on; a path in the URL takes the
place of nephos. A URL with a password is better in NEPHOS_STORE than in --to, where others see it.`;

export function addStore(program: Command, session: Session): void {
  const group = program.command('store').description('where the services keep their records');
  group
    .command('move')
    .description("move services' records from SQLite files to MongoDB, checked")
    .requiredOption('--from <path>', "a data folder of npm start (.nephos/qemu), or one service's .db file")
    .option('--to <url>', 'mongodb://host:port, or with /prefix; default: NEPHOS_STORE')
    .option('--dry-run', 'look at both sides and write nothing')
    .addHelpText('after', explained)
    .action(async (options: MoveArguments) => {
      const { cwd, env } = session.world;
      const to = options.to ?? env['NEPHOS_STORE'] ?? '';
      if (to === '') throw new Invalid('FIELD_REQUIRED', '--to or NEPHOS_STORE says where to');
      // Loaded by need: MongoDB's driver is large, and no other command uses it.
      const { moveStores } = await import('@nephos/store/move');
      const report = await moveStores({
        from: path.resolve(cwd, options.from),
        to,
        dryRun: options.dryRun ?? false,
        onProgress: (progress) => showProgress(session, progress),
      });
      if (session.json) session.document(report);
      else printReport(session, report);
    });
}

const columns: readonly Column[] = [
  { title: 'SERVICE', path: 'service' },
  { title: 'OUTCOME', path: 'outcome' },
  { title: 'DOCUMENTS', path: 'documents' },
  { title: 'TOMBSTONES', path: 'tombstones' },
  { title: 'PENDING EVENTS', path: 'pendingEvents' },
  { title: 'DATABASE', path: 'database' },
  { title: 'SHA-256', path: 'digest', format: (digest) => String(digest).slice(0, 12) },
];

function printReport(session: Session, { services, left }: MoveReport): void {
  const sum = (collections: MovedService['collections'], of: 'documents' | 'tombstones' | 'pendingEvents') =>
    collections.reduce((total, collection) => total + collection[of], 0);
  const rows = services.map(({ collections, ...service }) => ({
    ...service,
    documents: sum(collections, 'documents') - sum(collections, 'tombstones'),
    tombstones: sum(collections, 'tombstones'),
    pendingEvents: sum(collections, 'pendingEvents'),
  }));
  session.table(columns, rows);
  for (const service of left) session.note(`${service} keeps its file: its records are those of its host.`);
}

/** Ctrl-C breaks off between two steps; the same command then goes on. */
function showProgress(session: Session, { service, doing, collection, done, total }: MoveProgress): void {
  if (session.signal.aborted) throw session.signal.reason as Error;
  const { stderr } = session.world;
  const text = `${service}: ${doing} ${collection} ${done} of ${total}`;
  if (stderr.isTTY === true) stderr.write(`\r\u001b[2K${done === total ? '' : text}`);
  else if (done === total) stderr.write(`${text}\n`);
}
