/** Two versions of a contract at once: neither side breaks on what only the other knows. */
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { expect, test } from '@jest/globals';
import { type MessageType, startService } from '../src/index.ts';
import { echoService, quiet } from './echo.ts';

/** Version 1: `string name = 1; State state = 2`, an open enum with 0 and 1. */
interface Old {
  name: string;
  state: number;
}

/** Version 2 adds `string zone = 3` and the state 7. */
interface New extends Old {
  zone: string;
}

function codec<T extends Old>($type: string, knowsZone: boolean): MessageType<T> {
  const fromPartial = (object: object): T =>
    ({ name: '', state: 0, ...(knowsZone ? { zone: '' } : {}), ...object }) as T;
  return {
    $type,
    fromPartial,
    encode(message) {
      const writer = new BinaryWriter();
      if (message.name !== '') writer.uint32(10).string(message.name);
      if (message.state !== 0) writer.uint32(16).int32(message.state);
      if ('zone' in message && message.zone !== '') writer.uint32(26).string(String(message.zone));
      return writer;
    },
    decode(input) {
      const reader = new BinaryReader(input);
      const found: Partial<New> = {};
      while (reader.pos < reader.len) {
        const [field, wireType] = reader.tag();
        if (field === 1) found.name = reader.string();
        else if (field === 2) found.state = reader.int32();
        else if (field === 3 && knowsZone) found.zone = reader.string();
        else reader.skip(wireType, field);
      }
      return fromPartial(found);
    },
  };
}

function contract<T extends Old>(type: MessageType<T>) {
  const requestType = type;
  const responseType = type;
  const get = {
    name: 'Get',
    requestType,
    requestStream: false,
    responseType,
    responseStream: false,
  } as const;
  return { name: 'Things', fullName: 'nephos.test.v1.Things', methods: { get } } as const;
}

const oldContract = contract(codec<Old>('nephos.test.v1.Thing', false));
const newContract = contract(codec<New>('nephos.test.v1.Thing', true));

test('an old server takes a new client’s message: the unknown state comes back as it was, the field does no harm', async () => {
  const seen: Old[] = [];
  const service = echoService({}, ({ server }) => {
    server.add(oldContract, {
      get: async (thing) => {
        seen.push(thing);
        return thing;
      },
    });
  });
  await using running = await startService(service, { env: quiet });
  const { clients } = running.context;
  const answer = await clients
    .of(newContract, `127.0.0.1:${running.address.port}`)
    .get({ name: 'a', state: 7, zone: 'z1' });
  expect(seen).toEqual([{ name: 'a', state: 7 }]);
  expect(answer).toEqual({ name: 'a', state: 7, zone: '' });
});

test('an old client takes a new server’s message', async () => {
  const service = echoService({}, ({ server }) => {
    server.add(newContract, { get: async (thing) => ({ ...thing, state: 7, zone: 'z1' }) });
  });
  await using running = await startService(service, { env: quiet });
  const { clients } = running.context;
  const answer = await clients.of(oldContract, `127.0.0.1:${running.address.port}`).get({ name: 'b' });
  expect(answer).toEqual({ name: 'b', state: 7 });
});
