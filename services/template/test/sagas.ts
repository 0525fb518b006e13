/** Every job of the template service, with worlds to prove it in: a real store and disk, and an image to import. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openEntity } from '@nephos/events';
import { defaultImageLimits } from '@nephos/images';
import { type OpenSagas, saga, type World } from '@nephos/jobs/testing';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Logger, newHeader, newUid, systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { ContentStore } from '../src/adapters/content-store.ts';
import { Inspector } from '../src/adapters/inspector.ts';
import { Sources } from '../src/adapters/sources.ts';
import { type ImportDeps, type ImportInput, importTemplate } from '../src/jobs/import.ts';
import { templateEntity } from '../src/records/template.ts';
import { sweepOnce } from '../src/sweeper.ts';

const log = { info() {}, warn() {} } as unknown as Logger;
const mebibyte = 2 ** 20;

export async function openSagas(): Promise<OpenSagas> {
  return { sagas: [saga(importTemplate, importWorld)], [Symbol.asyncDispose]: () => Promise.resolve() };
}

async function importWorld(): Promise<World<ImportInput, ImportDeps>> {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-import-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const store = stack.use(await openStore({ url: `sqlite://${folder}/t.db`, clock: systemClock }));
  const templates = await openEntity(store, templateEntity, { source: 'template', clock: systemClock });
  const content = await ContentStore.open(folder);
  const imports = path.join(folder, 'imports');
  await mkdir(imports);
  const file = path.join(imports, 'disk.raw');
  const disk = Buffer.alloc(mebibyte, 'data');
  disk.writeUInt16LE(0xaa55, 510);
  await writeFile(file, disk);
  const templateUid = newUid();
  const named = { displayName: 'disk', owner: '', zone: '', labels: {}, annotations: {} };
  await templates.insert(templateUid, {
    header: newHeader(templateUid, named, systemClock),
    state: 'importing',
    architecture: 'x86_64',
    origin: 'disk.raw',
    importJob: newUid(),
  });
  const deps: ImportDeps = {
    templates,
    content,
    sources: new Sources('', [imports]),
    inspector: new Inspector(systemClock, defaultImageLimits),
    clock: systemClock,
    mostFileBytes: 4 * mebibyte,
  };
  const state = async () => (await templates.get(templateUid))?.value.state;
  return {
    deps,
    input: { templateUid, source: { kind: 'file', path: file }, expectedSha256: '' },
    faults: async () => {
      const [images, partials] = [await content.images(), await content.partials()];
      const now = await state();
      return now === 'ready' && images.length === 1 && partials.length === 0
        ? []
        : [`it is ${now}, with ${images.length} images and ${partials.length} partial files`];
    },
    /** What the sweeper takes away is no leak: an image may be kept before its import is given up. */
    leaks: async () => {
      const now = await state();

      const jobs = { get: () => Promise.resolve(Job.fromPartial({ state: JobState.FAILED })) };
      await sweepOnce({ templates, content, clock: systemClock, log, jobs });
      const left = [...(await content.images()), ...(await content.partials())];
      return [...left, ...(now === 'failed' ? [] : [`the template is ${now}`])];
    },
    dispose: () => stack.disposeAsync(),
  };
}
