import { describe, expect, test } from '@jest/globals';
import { httpMessage } from '../src/domain/envelope.ts';
import { pauseMs, retryAfter } from '../src/domain/retry.ts';
import { checkSecret, newSecret, signatureHeaders, withNewSecret } from '../src/domain/signature.ts';
import { endpointOf, TargetPolicy } from '../src/domain/target.ts';
import { again, attempted, type DeliveryRecord } from '../src/domain/webhook.ts';

describe('signatures', () => {
  // The example of the Standard Webhooks specification.
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const parts = {
    id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    at: new Date(1_614_265_330_000),
    body: '{"test": 2432232314}',
  };

  test("the specification's own example", () => {
    expect(signatureHeaders(parts, [{ value: secret }])).toEqual({
      'webhook-id': parts.id,
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  test('one signature for each secret that is valid, the newest first', () => {
    const before = { value: newSecret(), until: new Date(parts.at.getTime() + 1).toISOString() };
    const longBefore = { value: newSecret(), until: parts.at.toISOString() };
    const both = signatureHeaders(parts, [{ value: secret }, before, longBefore])['webhook-signature'];
    expect(both?.split(' ')).toHaveLength(2);
    expect(both).toMatch(/^v1,g0hM9SsE/);
  });

  test('a rotation without overlap ends all secrets before, also one that had time left', () => {
    const now = new Date('2026-01-01T00:00:00Z');
    const tomorrow = '2026-01-02T00:00:00.000Z';
    const once = withNewSecret([{ value: 'leaked' }], { value: 'second', until: tomorrow, now });
    expect(once).toEqual([{ value: 'second' }, { value: 'leaked', until: tomorrow }]);
    expect(withNewSecret(once, { value: 'third', until: now.toISOString(), now })).toEqual([
      { value: 'third' },
    ]);
    let many = once;
    for (let count = 0; count < 20; count += 1)
      many = withNewSecret(many, { value: String(count), until: tomorrow, now });
    expect(many.map(({ value }) => value)).toEqual(['19', '18', '17', '16', '15']);
  });

  test('a secret is 24 to 64 bytes in base64', () => {
    expect(() => checkSecret(newSecret(), 'secret')).not.toThrow();
    for (const bad of [
      '',
      'whsec_',
      'whsec_c2hvcnQ=',
      `whsec_${'A'.repeat(200)}`,
      secret.slice(6),
      'whsec_!!!!',
    ])
      expect(() => checkSecret(bad, 'secret')).toThrow(/must be whsec_/);
  });
});

describe('targets', () => {
  const policy = new TargetPolicy([]);

  test.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0177.0.0.1/',
    'https://0.0.0.0/',
    'https://10.0.0.1/',
    'https://172.16.5.4/',
    'https://192.168.1.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://100.64.0.1/',
    'https://224.0.0.1/',
    'https://255.255.255.255/',
    'https://[::1]/',
    'https://[::]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[::7f00:1]/',
    'https://[::10.0.0.1]/',
    'https://[64:ff9b:1::7f00:1]/',
    'https://[fec0::1]/',
    'https://[4000::1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001::1]/',
    'https://[fe80::1]/',
    'https://[fd00::1]/',
    'https://[ff02::1]/',
    'http://example.org/',
    'http://93.184.215.14/',
    'ftp://example.org/',
    'file:///etc/passwd',
    'gopher://example.org/',
    'javascript:alert(1)',
    'https://user@example.org/',
    'https://user:word@example.org/',
    'https://example.org/#part',
    'example.org',
    '//example.org/',
    '',
    `https://example.org/${'a'.repeat(2048)}`,
  ])('%s is refused', (url) => {
    expect(() => policy.check(url, 'url')).toThrow(/url/);
  });

  test.each([
    'https://example.org/hook?token=x',
    'https://93.184.215.14:8443/',
    'https://[2606:2800:21f::1]/',
  ])('%s is taken', (url) => {
    expect(policy.check(url, 'url').href).toBe(url);
  });

  test('ranges that the operator named are allowed, without TLS as well', () => {
    const open = new TargetPolicy(['10.1.0.0/16', 'fd00::/8']);
    expect(open.check('http://10.1.2.3:9000/', 'url').hostname).toBe('10.1.2.3');
    expect(open.check('http://[fd00::5]/', 'url').hostname).toBe('[fd00::5]');
    expect(open.allows('::ffff:10.1.2.3')).toBe(true);
    expect(open.allows('10.2.0.1')).toBe(false);
    expect(() => open.check('http://10.2.0.1/', 'url')).toThrow(/not a public address/);
  });

  test('what is shown of a URL has neither path nor query, and changes with them', () => {
    const shown = endpointOf(new URL('https://hooks.example.org/T0/secret?k=v'));
    expect(shown).toMatch(/^https:\/\/hooks\.example\.org \([0-9a-f]{8}\)$/);
    expect(endpointOf(new URL('https://hooks.example.org/T0/other'))).not.toBe(shown);
  });
});

test('binary mode: attributes as headers, percent-encoded where they are not plain', () => {
  const event = {
    specversion: '1.0',
    id: 'vm/1/2',
    source: '/nephos/orchestrator',
    subject: 'Euro € 100% "x"',
    datacontenttype: 'application/json',
    data: { new: { a: 1 } },
  };
  expect(httpMessage(JSON.stringify(event), 'binary')).toEqual({
    headers: {
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-id': 'vm/1/2',
      'ce-source': '/nephos/orchestrator',
      'ce-subject': 'Euro%20%E2%82%AC%20100%25%20%22x%22',
    },
    body: '{"new":{"a":1}}',
  });
});

test('pauses grow fourfold from a second to an hour, and heed Retry-After up to there', () => {
  const pauses = [1, 2, 3, 4, 7, 20].map((attempts) => pauseMs({ attempts, random: 0 }));
  expect(pauses).toEqual([1000, 4000, 16_000, 64_000, 3_600_000, 3_600_000]);
  expect(pauseMs({ attempts: 1, random: 0, retryAfterMs: 30_000 })).toBe(30_000);
  expect(pauseMs({ attempts: 1, random: 0, retryAfterMs: 1e9 })).toBeLessThanOrEqual(4_320_000);
  const now = new Date('2026-01-01T00:00:00Z');
  expect(retryAfter('120', now)).toBe(120_000);
  expect(retryAfter('Thu, 01 Jan 2026 00:00:10 GMT', now)).toBe(10_000);
  expect(retryAfter('soon', now)).toBeUndefined();
});

test('a delivery is pending until it goes well or its time is over', () => {
  const fresh: DeliveryRecord = {
    webhook: 'w',
    eventId: 'vm/1/1',
    eventType: 'dev.nephos.vm.v1.created',
    entity: 'vm',
    subject: 'vms/1',
    sequence: 1,
    event: '{}',
    state: 'pending',
    attemptCount: 0,
    attempts: [],
    createTime: '2026-01-01T00:00:00.000Z',
    nextAttemptTime: '2026-01-01T00:00:00.000Z',
    giveUpTime: '2026-01-01T00:01:00.000Z',
  };
  const attempt = { time: '2026-01-01T00:00:00.000Z', durationMs: 5, status: 500, error: '' };
  const waiting = attempted(fresh, attempt, 1000);
  expect(waiting).toMatchObject({
    state: 'pending',
    nextAttemptTime: '2026-01-01T00:00:01.005Z',
    attemptCount: 1,
  });
  expect(attempted(waiting, attempt, 60_000)).toMatchObject({ state: 'dead', attemptCount: 2 });
  expect(attempted(waiting, { ...attempt, status: 410 }, 1000).state).toBe('dead');
  const delivered = attempted(waiting, { ...attempt, status: 202 }, 1000);
  expect(delivered).toMatchObject({ state: 'delivered', settledTime: '2026-01-01T00:00:00.005Z' });
  expect(delivered).not.toHaveProperty('nextAttemptTime');
  expect(attempted(delivered, attempt, 1000)).toBe(delivered);
  const resent = again(delivered, new Date('2026-01-02T00:00:00Z'), 60_000);
  expect(resent).toMatchObject({ state: 'pending', giveUpTime: '2026-01-02T00:01:00.000Z', attemptCount: 2 });
  let long = fresh;
  for (let count = 0; count < 30; count += 1)
    long = attempted({ ...long, giveUpTime: '2027-01-01T00:00:00Z' }, attempt, 1);
  expect(long.attempts).toHaveLength(10);
});
