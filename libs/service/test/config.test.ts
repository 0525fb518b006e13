import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { config, Invalid, parseConfig, Secret, startService } from '../src/index.ts';
import { echoService } from './echo.ts';

function refusal(schema: Parameters<typeof parseConfig>[0], env: Record<string, string>): string {
  try {
    parseConfig(schema, env);
  } catch (error) {
    if (error instanceof Invalid) return error.message;
  }
  throw new Error('was not refused');
}

const description = 'a value';

describe('values', () => {
  test('each type is read from its text, and keys become variables', () => {
    const values = parseConfig(
      {
        plainText: config.text({ description }),
        count: config.integer({ description, min: 1, max: 9 }),
        waitAtMost: config.duration({ description }),
        cacheSize: config.bytes({ description }),
        on: config.boolean({ description }),
        mode: config.choice(['fast', 'safe'], { description }),
        home: config.url({ description, schemes: ['http'] }),
        folder: config.path({ description }),
        token: config.secret({ description }),
        left: config.integer({ description, default: 7 }),
      },
      {
        NEPHOS_PLAIN_TEXT: 'a b',
        NEPHOS_COUNT: '9',
        NEPHOS_WAIT_AT_MOST: '1.5m',
        NEPHOS_CACHE_SIZE: '64KiB',
        NEPHOS_ON: 'true',
        NEPHOS_MODE: 'safe',
        NEPHOS_HOME: 'http://localhost:1',
        NEPHOS_FOLDER: 'some/where',
        NEPHOS_TOKEN: 'hush',
      },
    );
    const { token, ...rest } = values;
    expect(rest).toEqual({
      plainText: 'a b',
      count: 9,
      waitAtMost: 90_000,
      cacheSize: 65_536,
      on: true,
      mode: 'safe',
      home: 'http://localhost:1',
      folder: path.resolve('some/where'),
      left: 7,
    });
    expect(token.reveal()).toBe('hush');
    expect(Object.isFrozen(values)).toBe(true);
  });

  test.each([
    [config.integer({ description, min: 1, max: 9 }), '10', 'a whole number from 1 to 9'],
    [config.integer({ description }), '1.5', 'a whole number'],
    [config.duration({ description }), '30', 'a duration such as 30s'],
    [config.duration({ description }), '-1s', 'a duration such as 30s'],
    [config.bytes({ description }), '1kb', 'B, KiB, MiB, GiB, TiB'],
    [config.boolean({ description }), 'yes', 'true or false'],
    [config.choice(['fast', 'safe'], { description }), 'slow', 'one of fast, safe'],
    [config.url({ description, schemes: ['http', 'https'] }), 'ftp://x', 'http:// or https://'],
  ])('a wrong value names key, value and what is allowed (%#)', (field, text, allowed) => {
    const message = refusal({ someKey: field }, { NEPHOS_SOME_KEY: text });
    expect(message).toContain(`NEPHOS_SOME_KEY is ${JSON.stringify(text)}; allowed: `);
    expect(message).toContain(allowed);
  });

  test('all that is wrong is said at once, and what is missing too', () => {
    const schema = { a: config.integer({ description }), b: config.text({ description: 'the name of it' }) };
    const message = refusal(schema, { NEPHOS_A: 'x' });
    expect(message).toContain('NEPHOS_A is "x"');
    expect(message).toContain('NEPHOS_B is not set; the name of it');
  });

  test('a variable of the service wins over the general one', () => {
    const schema = { bind: config.text({ description }) };
    const env = { NEPHOS_BIND: 'general', NEPHOS_JOB_CONTROL_BIND: 'own' };
    expect(parseConfig(schema, env, 'job-control').bind).toBe('own');
    expect(parseConfig(schema, env, 'orchestrator').bind).toBe('general');
  });
});

test('several URLs are each checked, and the wrong one is told without its password', () => {
  const schema = { nats: config.urls({ description, schemes: ['nats', 'tls'] }) };
  const parse = (nats: string) => parseConfig(schema, { NEPHOS_NATS: nats }).nats;
  expect(parse('nats://a:4222')).toBe('nats://a:4222');
  expect(parse(' nats://a:4222, tls://me:pw@b:4222 ,nats://[::1]:4222')).toBe(
    'nats://a:4222,tls://me:pw@b:4222,nats://[::1]:4222',
  );
  for (const wrong of [
    'nats://a,',
    'nats://a,http://b',
    'nats://a,b:4222',
    'nats://a nats://b',
    'nats://a:x',
  ])
    expect(() => parse(wrong)).toThrow('URLs, comma-separated, each that starts with nats:// or tls://');
  expect(() => parse('nats://me:hunter2@a,http://me:hunter3@b')).toThrow(
    'nats://me:[secret]@a,http://me:[secret]@b',
  );
});

describe('secrets', () => {
  test('a URL that is refused is shown without its password', () => {
    const schema = { nats: config.url({ description, schemes: ['nats'] }) };
    const parse = () => parseConfig(schema, { NEPHOS_NATS: 'http://me:hunter2@host:1' });
    expect(parse).toThrow('http://me:[secret]@host:1');
    expect(parse).not.toThrow('hunter2');
  });

  test('come from a file too, and never show themselves', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-config-'));
    try {
      const file = path.join(folder, 'token');
      await writeFile(file, 'from-the-file\n');
      const schema = { token: config.secret({ description }) };
      const values = parseConfig(schema, { NEPHOS_TOKEN_FILE: file });
      expect(values.token.reveal()).toBe('from-the-file');
      expect(`${JSON.stringify(values)} ${inspect(values)} ${String(values.token)}`).not.toContain(
        'from-the-file',
      );
      expect(refusal(schema, { NEPHOS_TOKEN_FILE: path.join(folder, 'none') })).toContain('cannot be read');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('a default is a Secret as well', () => {
    const schema = { token: config.secret({ description, default: new Secret('d') }) };
    expect(parseConfig(schema, {}).token.reveal()).toBe('d');
  });
});

describe('what every service has', () => {
  test('defaults, and a store in the data folder', async () => {
    await using service = await startService(echoService(), {
      env: {
        NEPHOS_LOG_LEVEL: 'silent',
        NEPHOS_DATA: '/var/x',
        NEPHOS_DIRECTORY: 'a:1, b:2',
        NEPHOS_DRAIN_DELAY: '0ms',
      },
    });
    expect(service.context.config).toMatchObject({
      bind: '127.0.0.1:0',
      data: '/var/x',
      store: 'sqlite:///var/x/echo.db',
      nats: 'nats://127.0.0.1:4222',
      directory: ['a:1', 'b:2'],
    });
  });

  test('a wrong address is refused before anything starts', async () => {
    await expect(startService(echoService(), { env: { NEPHOS_BIND: 'nowhere' } })).rejects.toThrow(
      'NEPHOS_BIND is "nowhere"; allowed: host:port',
    );
  });
});
