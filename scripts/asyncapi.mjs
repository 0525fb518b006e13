// Prints the AsyncAPI document of all events (`pnpm -s asyncapi > asyncapi.json`), or brings the generated part of
// docs/events.md up to date (`pnpm asyncapi docs`). Owner: the tool chain. Needs no running platform.
import fs from 'node:fs';
import path from 'node:path';
import { asyncApiDocument, ownContracts, withEventTable } from '../libs/schemas/src/index.ts';

const repo = path.dirname(import.meta.dirname);
const page = path.join(repo, 'docs/events.md');

if (process.argv[2] === 'docs') {
  fs.writeFileSync(page, withEventTable(fs.readFileSync(page, 'utf8'), ownContracts()));
} else {
  const { version } = JSON.parse(fs.readFileSync(path.join(repo, 'package.json'), 'utf8'));
  const base = process.env.NEPHOS_SCHEMA_BASE ?? '';
  process.stdout.write(`${JSON.stringify(asyncApiDocument(ownContracts(), { version, base }), null, 2)}\n`);
}
