/**
 * Instances of the template service among themselves: real gRPC, real disks, one store. What one lacks it passes on
 * from another and copies in the background; what comes is checked; the loss of one loses nothing.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { DirectoryHandle } from '@nephos/directory';
import { openEntity } from '@nephos/events';
import { openIdempotency } from '@nephos/idempotency';
import type { JobClient } from '@nephos/jobs';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import {
  defineService,
  formatAddress,
  type Logger,
  newHeader,
  newUid,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { ContentStore } from '../src/adapters/content-store.ts';
import { Inspector } from '../src/adapters/inspector.ts';
import { Peers } from '../src/adapters/peers.ts';
import { Sources } from '../src/adapters/sources.ts';
import { templatesApi } from '../src/api/templates.ts';
import { copyOnce } from '../src/copier.ts';
import { templateEntity } from '../src/records/template.ts';

const log = { info() {}, warn() {} } as unknown as Logger;
const mebibyte = 2 ** 20;
const image = randomBytes(3 * mebibyte + 17);
const forever = new AbortController().signal;

let stack: AsyncDisposableStack;
let folder = '';
let store: Store;
let listed: { readonly uid: string; readonly address: string }[] = [];
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-peers-'));
  stack.defer(() => rm(folder, { recursive: true }));
  store = stack.use(await openStore({ url: `sqlite://${folder}/t.db`, clock: systemClock }));
  listed = [];
});
afterEach(() => stack.disposeAsync());

/** One instance: a disk of its own, its API on a port, in the list that all of them see. */
async function openInstance() {
  const uid = newUid();
  const root = path.join(folder, uid);
  await mkdir(root);
  const content = await ContentStore.open(root);
  const templates = await openEntity(store, templateEntity, { source: 'template', clock: systemClock });
  const idempotency = await openIdempotency(store, { clock: systemClock });
  let peers!: Peers;
  const running: RunningService = await startService(
    defineService({
      name: 'template',
      version: '0.1.0',
      config: {},
      start: async (ctx) => {
        const resolve = async () =>
          listed.map(({ address, uid: instance }) =>
            Instance.fromPartial({ address, header: { uid: instance } }),
          );
        const directory = { uid, resolve } as Pick<DirectoryHandle, 'uid' | 'resolve'>;
        peers = new Peers(directory, ctx.clients, log);
        const limits = { fileSizeBytes: mebibyte, virtualSizeBytes: mebibyte };
        const inspector = new Inspector(systemClock, limits);
        const deps = {
          templates,
          content,
          sources: new Sources('', []),
          inspector,
          clock: systemClock,
          peers,
        };
        const api = templatesApi({ ...deps, mostFileBytes: mebibyte }, {} as JobClient, idempotency);
        ctx.server.add(TemplateServiceDefinition, api);
      },
    }),
    { env: { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' } },
  );
  stack.use(running);
  const address = formatAddress(running.address);
  listed.push({ uid, address });
  const client = running.context.clients.of(TemplateServiceDefinition, address);
  const parts = { templates, content, peers, clock: systemClock, log };
  const read = async (name: string, offset = 0, length = 0): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    const request = { name, offset: BigInt(offset), length: BigInt(length) };
    for await (const { data } of client.readTemplate(request)) pieces.push(Buffer.from(data));
    return Buffer.concat(pieces);
  };
  return { root, content, templates, client, parts, read, stop: () => running.stop() };
}

type TemplateInstance = Awaited<ReturnType<typeof openInstance>>;

/** A ready template whose image lies on one instance's disk; gives its name and hash. */
async function ready({ content, templates }: TemplateInstance): Promise<{ name: string; sha256: string }> {
  const uid = newUid();
  const source = path.join(folder, uid);
  await writeFile(source, image);
  await using handle = await open(source);
  const copied = await content.copy(handle, uid, { signal: forever, mostBytes: 2 ** 30, progress() {} });
  await content.keep(uid, copied.sha256);
  const named = { displayName: uid, owner: '', zone: '', labels: {}, annotations: {} };
  await templates.insert(uid, {
    header: newHeader(uid, named, systemClock),
    state: 'ready',
    architecture: 'x86_64',
    origin: 'test',
    importJob: newUid(),
    image: { format: 'raw', virtualSizeBytes: image.length, ...copied },
  });
  return { name: `templates/${uid}`, sha256: copied.sha256 };
}

test('an instance that lacks an image passes on any range of it; asked for its own disk only, it has none', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const { name } = await ready(one);
  expect((await two.read(name)).equals(image)).toBe(true);
  expect(
    (await two.read(name, mebibyte - 3, mebibyte)).equals(image.subarray(mebibyte - 3, 2 * mebibyte - 3)),
  ).toBe(true);
  expect((await two.read(name, image.length)).length).toBe(0);
  const own = two.client.readTemplate({ name, localOnly: true });
  await expect(Array.fromAsync(own)).rejects.toMatchObject({ kind: 'not-found' });
});

test('images are copied in the background; then the loss of the first instance loses nothing', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const { name, sha256 } = await ready(one);
  await copyOnce(two.parts, forever);
  expect((await readFile(two.content.imagePath(sha256))).equals(image)).toBe(true);
  expect(await two.content.fetches()).toEqual([]);
  await one.stop();
  await rm(one.root, { recursive: true });
  expect((await two.read(name)).equals(image)).toBe(true);
  const third = await openInstance();
  await copyOnce(third.parts, forever);
  expect((await third.read(name)).equals(image)).toBe(true);
});

test('a copy that broke off goes on where it stopped; bytes that are others are refused and not kept', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const { sha256 } = await ready(one);
  const sizeBytes = image.length;
  const asked: number[] = [];
  const broken = async function* (offset: number) {
    asked.push(offset);
    yield image.subarray(offset, offset + mebibyte);
    throw new Error('the peer died');
  };
  await expect(two.content.fetch({ sha256, sizeBytes }, broken)).rejects.toThrow('the peer died');
  await copyOnce(two.parts, forever);
  expect(asked).toEqual([0]);
  expect((await readFile(two.content.imagePath(sha256))).equals(image)).toBe(true);

  const third = await openInstance();
  const changed = Buffer.from(image);
  changed[mebibyte] = (changed[mebibyte] ?? 0) ^ 1;
  const lie = async function* (offset: number) {
    yield changed.subarray(offset);
  };
  const flood = async function* () {
    for (;;) yield image;
  };
  for (const source of [lie, flood]) {
    await expect(third.content.fetch({ sha256, sizeBytes }, source)).rejects.toMatchObject({
      reason: 'CHECKSUM_MISMATCH',
    });
    expect(await third.content.fetches()).toEqual([]);
    expect(await third.content.has(sha256)).toBe(false);
  }
});

test('where nobody within reach has the image, that is said, and the copy is tried again', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const { name, sha256 } = await ready(one);
  await one.stop();
  await expect(two.read(name)).rejects.toMatchObject({ kind: 'unavailable', reason: 'STORAGE_FAILED' });
  await copyOnce(two.parts, forever);
  expect(await two.content.has(sha256)).toBe(false);
});

test('what was fetched of an image that nobody wants any more goes', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const { name, sha256 } = await ready(one);
  const broken = async function* () {
    yield image.subarray(0, 10);
    throw new Error('the peer died');
  };
  await expect(two.content.fetch({ sha256, sizeBytes: image.length }, broken)).rejects.toThrow(
    'the peer died',
  );
  await one.client.deleteTemplate({ name });
  await copyOnce(two.parts, forever);
  expect(await two.content.fetches()).toEqual([]);
  expect(await one.content.has(sha256)).toBe(false);
});
