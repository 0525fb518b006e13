/** An operation's response is the message that the result names, packed as any gRPC client expects it. */
import { expect, test } from '@jest/globals';
import { Struct } from '@nephos/proto/google/protobuf/struct';
import { VmStatus_State as State, Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { responseOf } from '../src/response.ts';

test('a result that names a message becomes that message', () => {
  const vm = Vm.fromPartial({
    header: { name: 'vms/1', labels: { tier: 'web' }, createTime: new Date('2026-01-02T03:04:05.678Z') },
    spec: { memoryBytes: 2n ** 40n },
    status: { state: State.RUNNING, bootTime: new Date(0) },
  });
  const json: unknown = JSON.parse(JSON.stringify(Vm.toJSON(vm)));
  const response = responseOf({ '@type': `type.googleapis.com/${Vm.$type}`, ...(json as object) });
  expect(response.typeUrl).toBe('type.googleapis.com/nephos.orchestration.v1.Vm');
  expect(Vm.decode(response.value)).toEqual(vm);
});

test('a message that these descriptors do not know stays readable as a Struct', () => {
  const response = responseOf({ '@type': 'type.googleapis.com/acme.v9.Gadget', size: 3 });
  expect(response.typeUrl).toBe('type.googleapis.com/google.protobuf.Struct');
  expect(Struct.unwrap(Struct.decode(response.value))).toMatchObject({ size: 3 });
});

test('nothing, a value and an object each have their well-known type', () => {
  expect(responseOf(undefined).typeUrl).toMatch(/Empty$/);
  expect(responseOf(42).typeUrl).toMatch(/Value$/);
  expect(responseOf({ sum: 42 }).typeUrl).toMatch(/Struct$/);
});
