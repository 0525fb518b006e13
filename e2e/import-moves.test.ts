/**
 * An import whose instance of the template service dies half-way, at each step and each side of it, and stays away:
 * another instance with an empty disk of its own ends it. The first comes back, copies the image, and has no leftovers.
 */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import {
  Template_State as State,
  TemplateServiceDefinition,
} from '@nephos/proto/nephos/template/v1/template';
import { onMongo } from '@nephos/store/testing/on-mongo';
import {
  emptyQcow2,
  FailpointControl,
  judge,
  nameOf,
  startPlatformProcesses,
  succeeded,
  until,
} from '@nephos/testing';

const steps = ['read', 'judge', 'keep', 'ready'];
const places = steps.flatMap((step) => ['before', 'after'].map((when) => ({ step, when })));
/** Leases short, so that a killed instance is soon followed. */
const env = { NEPHOS_JOB_LEASE: '3s', NEPHOS_JOB_GRACE: '1s', NEPHOS_JOB_HEARTBEAT: '500ms' };

await onMongo((server) => {
  test('an import moves to another instance half-way', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-moves-'));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const control = stack.use(await FailpointControl.listen(path.join(folder, 'failpoints')));
    const platform = stack.use(
      await startPlatformProcesses({
        ...{ replicas: 2, hosts: 1, store: server.fresh(), data: path.join(folder, 'data') },
        env: { ...env, NEPHOS_FAILPOINTS: control.path },
      }),
    );
    const { api, clients, replicas, imports } = platform;
    const instances = replicas.template;
    const zone = nameOf(await api.zones.createZone({ zone: { header: { displayName: 'moves' } } }));
    for (const [at, { step, when }] of places.entries()) {
      const displayName = `${when}-${step}`;
      // Each of other bytes: an image that is there already would need no reading.
      const bytes = emptyQcow2({ virtualBytes: (at + 1) * 2 ** 20 });
      const file = path.join(imports, `${displayName}.qcow2`);
      await writeFile(file, bytes);
      const killed = Promise.withResolvers<(typeof instances)[number]>();
      control.reset();
      control.add({
        ...{ point: `job.step.${when}`, facts: { job: 'template.import', step }, nth: 1 },
        action: async ({ pid }) => {
          const instance = instances.find((each) => each.pid === pid);
          if (!instance) throw new Error(`nobody of ours runs the import: ${pid}`);
          await instance.kill();
          killed.resolve(instance);
          return 'go' as const;
        },
      });
      const source = { source: { $case: 'localFile' as const, value: file } };
      const asked = { template: { header: { displayName, zone } }, source };
      await succeeded(api, await api.templates.createTemplate(asked));
      const gone = await killed.promise;
      const [left] = instances.filter((each) => each !== gone);
      const { templates } = await api.templates.listTemplates({ filter: `display_name = "${displayName}"` });
      expect(templates.map(({ state }) => state)).toEqual([State.READY]);
      const name = nameOf(templates[0]);
      const imageOn = async (address = ''): Promise<Buffer> => {
        const pieces: Uint8Array[] = [];
        const client = clients.of(TemplateServiceDefinition, address);
        for await (const { data } of client.readTemplate({ name, localOnly: true })) pieces.push(data);
        return Buffer.concat(pieces);
      };
      expect((await imageOn(left?.address)).equals(bytes)).toBe(true);
      await gone.start();
      await until(async () => (await imageOn(gone.address).catch(() => undefined))?.equals(bytes));
    }
    expect((await judge(platform)).problems).toEqual([]);
    const folders = await Promise.all(instances.map(({ data }) => readdir(path.join(data, 'images'))));
    for (const images of folders) expect(images).toHaveLength(places.length);
  }, 900_000);
});
