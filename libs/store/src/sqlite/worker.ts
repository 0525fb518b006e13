// The writer thread of one SQLite store: takes arrays of operations, drains those that wait into one transaction.
// Owner: the SQLite adapter. Invariant: nothing is answered before it is synced. An error that is not one
// operation's own is thrown and ends the thread: its store is then failed, and the file is as last synced.

import type { MessagePort } from 'node:worker_threads';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Engine, isBusy } from './engine.ts';
import { type PackedWrite, unpacked } from './packing.ts';
import type { FromWorker, Operation, ToWorker, WorkerSettings } from './protocol.ts';

const port = parentPort as MessagePort;
const { file } = workerData as WorkerSettings;

function send(message: FromWorker): void {
  port.postMessage(message);
}

/** Enough to share one disk sync; more wait for the next, so that their sender works on the first replies. */
const worthwhile = 500;

function serve(engine: Engine): void {
  port.on('message', (first: ToWorker) => {
    let operations: readonly (Operation | PackedWrite)[] = [];
    let closing = false;
    for (let message: ToWorker | undefined = first; message !== undefined; ) {
      if ('close' in message) closing = true;
      else operations = operations.length === 0 ? message.operations : [...operations, ...message.operations];
      message = operations.length < worthwhile ? nextWaiting() : undefined;
    }
    if (operations.length > 0) send({ replies: engine.run(operations.map(unpacked)) });
    if (!closing) return;
    engine.close();
    send({ closed: true });
    port.close();
  });
}

function nextWaiting(): ToWorker | undefined {
  return receiveMessageOnPort(port)?.message as ToWorker | undefined;
}

function open(): Engine | undefined {
  try {
    return new Engine(file);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    send({ notOpened: { busy: isBusy(error), message } });
    port.close();
    return undefined;
  }
}

const engine = open();
if (engine !== undefined) {
  serve(engine);
  send({ opened: true });
}
