import { expect, test } from '@jest/globals';
import { layoutOf } from '../src/layout.ts';
import { parseOptions } from '../src/options.ts';

test('without arguments: everything below the working folder, for good', () => {
  expect(parseOptions([], '/home/ada')).toEqual({
    once: false,
    simulate: false,
    data: '/home/ada/.nephos',
    portBase: 7400,
    store: undefined,
    isolate: false,
    verbose: false,
    help: false,
  });
});

test.each([
  [['--port-base', 'http'], /--port-base is a number from 1024 to 65527/],
  [['--port-base', '65528'], /--port-base is a number/],
  [['--store', 'sqlite:///a'], /MongoDB URL looks like/],
  [['--store', 'mongodb://h/a.b'], /MongoDB URL looks like/],
  [['--fast'], /--fast/],
  [['start'], /start/],
])('%j is refused', (args, reason) => {
  expect(() => parseOptions(args, '/')).toThrow(reason);
});

const options = { data: '/d', portBase: 7400, mode: 'qemu', isolate: false, logLevel: 'info' } as const;

test('ports in a row, nobody twice', () => {
  const layout = layoutOf(options);
  expect(layout.nats.url).toBe('nats://127.0.0.1:7400');
  expect(layout.address('directory')).toBe('127.0.0.1:7401');
  expect(layout.address('host-agent')).toBe('127.0.0.1:7405');
  expect(layout.address('webhooks')).toBe('127.0.0.1:7407');
  expect(layout.schemas).toBe('http://127.0.0.1:7408');
});

test('one process for the control plane and one for the agent, or one each', () => {
  expect(layoutOf(options).groups.map(({ services }) => services.length)).toEqual([6, 1]);
  const isolated = layoutOf({ ...options, isolate: true }).groups;
  expect(isolated.map(({ name }) => name)).toEqual([
    'directory',
    'job-control',
    'orchestrator',
    'template',
    'host-agent',
    'events',
    'webhooks',
  ]);
  expect(isolated[1]?.env).toMatchObject({
    NEPHOS_JOB_CONTROL_BIND: '127.0.0.1:7402',
    NEPHOS_JOB_CONTROL_DATA: '/d/qemu/job-control',
  });
});

test('records go to MongoDB where that is asked for, but for the agent’s', () => {
  expect(parseOptions([], '/', 'mongodb://h').store).toBe('mongodb://h');
  expect(parseOptions(['--store', 'mongodb://i'], '/', 'mongodb://h').store).toBe('mongodb://i');
  const [control, agent] = layoutOf({ ...options, store: 'mongodb://h/ours' }).groups;
  expect(control?.env).toMatchObject({ NEPHOS_JOB_CONTROL_STORE: 'mongodb://h/ours_qemu' });
  expect(agent?.env).toMatchObject({ NEPHOS_HOST_AGENT_STORE: 'sqlite:///d/qemu/host-agent/host-agent.db' });
});

test('simulated and real hosts never share data', () => {
  expect(layoutOf(options).state).not.toBe(layoutOf({ ...options, mode: 'simulated' }).state);
});
