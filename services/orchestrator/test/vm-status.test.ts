/** What a VM is: facts become one status, VMs and volumes only go where they may, a report twice is no news. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { observed, requestedRun, type Sighting } from '../src/domain/vm/observe.ts';
import { checkAllowed, moveTo } from '../src/domain/vm/phase.ts';
import { projectVm, sameStatus } from '../src/domain/vm/project.ts';
import type { Cause, Incarnation, OperationKind, Phase } from '../src/domain/vm/vm.ts';
import { moveVolume, type Volume, type VolumeState } from '../src/domain/volume/volume.ts';
import { anySeen, anyVm, causes, now, phases, vmOf } from './support/vm-values.ts';

describe('projectVm', () => {
  test('only proof makes it stopped; a host that is away makes it unknown', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const { state } = projectVm(vm, seen);
        const run = seen.incarnation;
        const ended = run === undefined || run.state === 'gone' || run.state === 'powered-off';
        if (state === 'stopped') expect(ended).toBe(true);
        if (state === 'running') expect(['running', 'paused']).toContain(run?.state);
        if (vm.phase === 'live' && !ended && seen.link === 'disconnected') expect(state).toBe('unknown');
        if (vm.phase === 'failed' || vm.phase === 'deleted' || vm.phase === 'expunging')
          expect(state).toBe(vm.phase);
      }),
    );
  });

  test('a reason is given exactly where it is neither as intended nor on its way there', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const { state, reason, message } = projectVm(vm, seen);
        expect(reason === '').toBe(message === '');
        if (vm.phase !== 'live' || seen.holder) return;
        const intended = vm.spec.desiredPower === 'on' ? state === 'running' : state === 'stopped';
        if (!intended && state !== 'starting') expect(reason).not.toBe('');
      }),
    );
  });

  test('the operation that holds it is shown, and the same facts give the same status', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const status = projectVm(vm, seen);
        expect(status.operation).toBe(seen.holder ? 'operations/j' : '');
        expect(sameStatus(status, projectVm(Object.assign({}, vm, { status }), seen))).toBe(true);
      }),
    );
  });
});

describe('phases', () => {
  test('no sequence of moves leaves expunging, and a VM that was deleted is live only by recovery', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom<Phase>(...phases), { maxLength: 20 }), (moves) => {
        let vm = vmOf({ phase: 'creating' });
        for (const move of moves) {
          const before = vm.phase;
          try {
            vm = moveTo(vm, move);
          } catch (error) {
            expect(error).toMatchObject({ kind: 'precondition', reason: 'STATE_FORBIDS' });
            continue;
          }
          if (before === 'expunging') expect(vm.phase).toBe('expunging');
          if (before !== 'creating') expect(vm.phase).not.toBe('creating');
          if (before === 'failed') expect(vm.phase).not.toBe('live');
        }
      }),
    );
  });

  test.each<[OperationKind, Phase, boolean]>([
    ['vm.start', 'live', true],
    ['vm.start', 'failed', false],
    ['vm.delete', 'failed', true],
    ['vm.delete', 'deleted', false],
    ['vm.undelete', 'deleted', true],
    ['vm.undelete', 'live', false],
    ['vm.expunge', 'live', true],
    ['vm.expunge', 'deleted', true],
    ['vm.create', 'live', false],
  ])('%s of a VM that is %s: %s', (kind, phase, fine) => {
    const check = (): void => checkAllowed(kind, vmOf({ phase }));
    if (fine) expect(check).not.toThrow();
    else expect(check).toThrow(expect.objectContaining({ reason: 'STATE_FORBIDS' }));
  });

  test('a VM that never was whole cannot be recovered, one that does not run not be rebooted', () => {
    const failure = { reason: 'NO_HOST_FITS', message: 'none' };
    expect(() => checkAllowed('vm.undelete', vmOf({ phase: 'deleted', failure }))).toThrow('never whole');
    expect(() => checkAllowed('vm.reboot', vmOf())).toThrow('has to run');
  });
});

describe('observations', () => {
  const anySighting = fc.record({
    state: fc.constantFrom<Sighting['state']>('running', 'paused', 'powered-off', 'gone', 'unknown'),
    cause: fc.constantFrom<Cause>(...causes),
    message: fc.constantFrom('', 'words'),
  });

  test('a report twice is no news, gone takes it off its host, and its first boot stays its boot', () => {
    fc.assert(
      fc.property(fc.array(anySighting, { maxLength: 10 }), (sightings) => {
        let run = requestedRun('vm', 'h', 1, 0);
        let boot: string | undefined;
        sightings.forEach((seen, index) => {
          run = observed(run, seen, `t${index}`) ?? run;
          if (seen.state === 'running') boot ??= `t${index}`;
          expect(observed(run, seen, 'later')).toBeUndefined();
          expect(run.state).toBe(seen.state);
          expect(run.aliveOn).toBe(seen.state === 'gone' ? undefined : 'h');
          expect(run.bootTime).toBe(boot);
        });
      }),
    );
  });

  test('a guest that powered itself off did so even after its process was cleared away', () => {
    const run = requestedRun('vm', 'h', 1, 0);
    const off = observed(run, { state: 'powered-off', cause: 'guest', message: '' }, now) as Incarnation;
    const gone = observed(off, { state: 'gone', cause: 'requested', message: '' }, now);
    expect(gone).toMatchObject({ state: 'gone', cause: 'guest' });
  });
});

test('a volume ends expunged, and from there goes nowhere', () => {
  const states: VolumeState[] = [
    'allocated',
    'creating',
    'ready',
    'faulted',
    'trashed',
    'expunging',
    'expunged',
  ];
  const volume = { header: vmOf().header, state: 'allocated' } as Volume;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...states), { maxLength: 20 }), (moves) => {
      let current = volume;
      for (const move of moves) {
        const before = current.state;
        try {
          current = moveVolume(current, move);
        } catch (error) {
          expect(error).toMatchObject({ reason: 'STATE_FORBIDS' });
        }
        if (before === 'expunged') expect(current.state).toBe('expunged');
        if (before === 'expunging') expect(['expunging', 'expunged']).toContain(current.state);
      }
    }),
  );
});
