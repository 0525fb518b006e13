/**
 * Every job that any service defines, found in the sources and not on a list: its steps repeated, failed and crashed.
 * By convention a service with jobs has `test/sagas.ts`, which opens worlds to prove them in.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import type { OpenSagas } from '@nephos/jobs/testing';

const services = path.resolve(import.meta.dirname, '../services');

/** Types of the definitions that a service's modules export, alone or in a table. */
async function definedBy(service: string): Promise<string[]> {
  const folder = path.join(services, service, 'src/jobs');
  if (!existsSync(folder)) return [];
  const types = new Set<string>();
  for (const file of readdirSync(folder)) {
    const exported: Record<string, unknown> = await import(pathToFileURL(path.join(folder, file)).href);
    for (const value of Object.values(exported)) for (const type of typesIn(value)) types.add(type);
  }
  return [...types].toSorted();
}

function typesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('type' in value && 'version' in value && 'run' in value) return [String(value.type)];
  return Object.values(value).flatMap((inner: unknown) =>
    typeof inner === 'object' && inner !== null && 'run' in inner ? typesIn(inner) : [],
  );
}

/** Paths below `services`; the folders of installed packages are not walked. */
function sourcesOf(service: string): string[] {
  const files = readdirSync(path.join(services, service, 'src'), { recursive: true, encoding: 'utf8' });
  return files.map((file) => path.join(service, 'src', file));
}

const defining = await Promise.all(
  readdirSync(services).map(async (service) => ({ service, types: await definedBy(service) })),
);

test('jobs are defined where this test looks for them', () => {
  const elsewhere = defining
    .flatMap(({ service }) => sourcesOf(service))
    .filter((file) => file.endsWith('.ts') && !/^[^/]+\/src\/jobs\//.test(file))
    .filter((file) => /\bdefineJob[<(]/.test(readFileSync(path.join(services, file), 'utf8')));
  expect(elsewhere).toEqual([]);
  expect(defining.flatMap(({ types }) => types)).toEqual(
    expect.arrayContaining(['template.import', 'vm.create']),
  );
});

describe.each(defining.filter(({ types }) => types.length > 0))('$service', ({ service, types }) => {
  test(`${types.join(', ')}: each step twice, failing and dying; nothing leaks`, async () => {
    const file = path.join(services, service, 'test/sagas.ts');
    const { openSagas } = (await import(pathToFileURL(file).href)) as { openSagas(): Promise<OpenSagas> };
    await using opened = await openSagas();
    expect(opened.sagas.map(({ type }) => type).toSorted()).toEqual(types);
    const proved = await Promise.all(opened.sagas.map(({ prove }) => prove()));
    expect(proved.every((runs) => runs.length > 10)).toBe(true);
  }, 240_000);
});
