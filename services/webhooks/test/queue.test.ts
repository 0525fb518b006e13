import { expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import type { StoredDelivery } from '../src/adapters/delivery-log.ts';
import { Queue } from '../src/adapters/queue.ts';

function waiting(sequence: number): StoredDelivery {
  const now = new Date(0).toISOString();
  return {
    id: String(sequence),
    revision: 1,
    eventSeq: 0,
    value: {
      webhook: 'w',
      eventId: `vm/1/${sequence}`,
      eventType: 'dev.nephos.vm.v1.updated',
      entity: 'vm',
      subject: 'vms/1',
      sequence,
      event: '',
      state: 'pending',
      attemptCount: 0,
      attempts: [],
      createTime: now,
      nextAttemptTime: now,
      giveUpTime: now,
    },
  };
}

test('an attempt that could not be recorded is not passed by what follows it', async () => {
  const tried: number[] = [];
  const through = Promise.withResolvers<void>();
  await using queue = new Queue(
    systemClock,
    async (delivery) => {
      const { sequence } = delivery.value;
      tried.push(sequence);
      if (tried.length === 1) throw new Error('the store is away');
      if (sequence === 2) through.resolve();
      return await Promise.resolve({
        ...delivery,
        value: { ...delivery.value, state: 'delivered' as const },
      });
    },
    () => undefined,
  );
  queue.add(waiting(1));
  queue.add(waiting(2));
  await through.promise;
  expect(tried).toEqual([1, 1, 2]);
});
