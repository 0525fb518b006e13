/**
 * A usage meter: for how long did each owner's VMs run? It lives outside the platform and on its events alone, with
 * no code of the platform: a .creds file, the NATS client, and a ledger file of its own.
 * Invariants: a VM's events count once and in order, however they come (after a kill, what was in hand comes again
 * later than what follows it); the ledger is on disk before the broker hears that an event was taken.
 *
 *   node usage-meter.ts --creds meter.creds --ledger usage.json [--server nats://127.0.0.1:7400]
 */
import { open, readFile, rename } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type Consumer, type JsMsg, jetstream } from '@nats-io/jetstream';
import { connect, credsAuthenticator } from '@nats-io/transport-node';

/** What is kept of a VM. Times in milliseconds since 1970. */
interface Usage {
  readonly owner: string;
  readonly name: string;
  readonly vcpus: number;
  /** Of runs that are over. */
  readonly ranMs: number;
  readonly runningSince?: number;
  /** The last event that is counted. */
  readonly sequence: number;
  readonly gone?: true;
}

interface Ledger {
  /** The snapshot was read to its end; from then on changes are enough. */
  synced: boolean;
  readonly vms: Record<string, Usage>;
}

interface Vm {
  readonly header?: { readonly owner?: string; readonly displayName?: string };
  readonly spec?: { readonly vcpus?: number };
  readonly status?: { readonly state?: string; readonly bootTime?: string };
}

/** A CloudEvent of the platform, as far as a meter reads it. */
interface VmEvent {
  readonly subject: string;
  readonly time: string;
  readonly sequence: string;
  readonly data: {
    readonly new?: Vm;
    readonly old?: Vm;
    /** Where one event stands for several. */
    readonly collapsedFromSequence?: string;
  };
}

/** The entry after an event. Pure. */
function metered(known: Usage | undefined, event: VmEvent): Usage | undefined {
  const sequence = Number(event.sequence);
  if (known !== undefined && sequence <= known.sequence) return known;
  const vm = event.data.new ?? event.data.old;
  const now = Date.parse(event.time);
  const runs = event.data.new?.status?.state === 'STATE_RUNNING';
  const began = Date.parse(event.data.new?.status?.bootTime ?? event.time);
  const { ranMs = 0, runningSince } = known ?? {};
  const rest = {
    owner: vm?.header?.owner ?? known?.owner ?? '',
    name: vm?.header?.displayName ?? known?.name ?? '',
    vcpus: vm?.spec?.vcpus ?? known?.vcpus ?? 0,
    sequence,
    ...(event.data.new === undefined && { gone: true as const }),
  };
  if (runs && runningSince === undefined) return { ...rest, ranMs, runningSince: began };
  if (runs && began === runningSince) return { ...rest, ranMs, runningSince };
  const upTo = runs ? began : now;
  const ran = ranMs + (runningSince === undefined ? 0 : Math.max(0, upTo - runningSince));
  return runs ? { ...rest, ranMs: ran, runningSince: began } : { ...rest, ranMs: ran };
}

async function readLedger(file: string): Promise<Ledger> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Ledger;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { synced: false, vms: {} };
    throw error;
  }
}

async function writeLedger(file: string, ledger: Ledger): Promise<void> {
  const handle = await open(`${file}.new`, 'w');
  await handle.writeFile(JSON.stringify(ledger, null, 2));
  await handle.sync();
  await handle.close();
  await rename(`${file}.new`, file);
}

/** The account that the credentials belong to is also the name of its consumers. */
function accountIn(creds: string): string {
  const [, token = ''] = /BEGIN NATS USER JWT-+\s+(\S+)/.exec(creds) ?? [];
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
    nats: { issuer_account: string };
  };
  return claims.nats.issuer_account;
}

const mostAtOnce = 200;
/** Longer than the broker waits before it delivers again what was not acknowledged, 30 s. */
const missingMs = 45_000;

/** An event in hand. */
interface Held {
  readonly message: JsMsg;
  readonly event: VmEvent;
  readonly since: number;
}

class Meter {
  readonly #file: string;
  readonly ledger: Ledger;
  /** Events that came before their predecessors. */
  #early: Held[] = [];

  constructor(file: string, ledger: Ledger) {
    this.#file = file;
    this.ledger = ledger;
  }

  /** Counts what there is, writes the ledger once, and only then says that it has it. */
  async take(consumer: Consumer, atMost: number, waitMs: number): Promise<void> {
    const held = this.#early;
    for await (const message of await consumer.fetch({ max_messages: atMost, expires: waitMs })) {
      held.push({ message, event: message.json<VmEvent>(), since: Date.now() });
    }
    held.sort((one, other) => Number(one.event.sequence) - Number(other.event.sequence));
    const counted = held.filter((each) => this.#count(each));
    this.#early = held.filter((each) => !counted.includes(each));
    if (counted.length > 0) await this.write();
    for (const { message } of counted) message.ack();
  }

  async write(): Promise<void> {
    await writeLedger(this.#file, this.ledger);
  }

  /** False: what it follows is not here yet. What stays away is lost, and the event carries the whole VM. */
  #count({ event, since }: Held): boolean {
    if (!event.subject.startsWith('vms/')) return true;
    const uid = event.subject.slice('vms/'.length);
    const known = this.ledger.vms[uid];
    const first = Number(event.data.collapsedFromSequence ?? event.sequence);
    const follows = first <= (known?.sequence ?? 0) + 1;
    if (this.ledger.synced && !follows && Date.now() - since < missingMs) return false;
    const usage = metered(known, event);
    if (usage) this.ledger.vms[uid] = usage;
    return true;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      creds: { type: 'string' },
      ledger: { type: 'string', default: 'usage.json' },
      server: { type: 'string', default: 'nats://127.0.0.1:7400' },
    },
  });
  const { creds: credsFile, ledger: file, server } = values;
  if (credsFile === undefined) throw new Error('--creds names the file of credentials');
  const creds = await readFile(credsFile, 'utf8');
  const connection = await connect({
    servers: server,
    authenticator: credsAuthenticator(new TextEncoder().encode(creds)),
    name: 'usage-meter',
    maxReconnectAttempts: -1,
    waitOnFirstConnect: true,
  });
  let stopping = false;
  process.once('SIGTERM', () => {
    stopping = true;
  });
  const { consumers } = jetstream(connection, { domain: 'nephos' });
  const account = accountIn(creds);
  const meter = new Meter(file, await readLedger(file));

  // First all that is, then what changes. Both tell of the same VM by the same sequence, so an overlap does no harm.
  while (!meter.ledger.synced && !stopping) {
    const state = await consumers.get('NEPHOS_STATE', account);
    const { num_pending: pending } = await state.info();
    if (pending > 0) await meter.take(state, Math.min(pending, mostAtOnce), 1_000);
    else meter.ledger.synced = true;
  }
  await meter.write();
  console.log(`${Object.keys(meter.ledger.vms).length} VMs known; metering`);
  while (!stopping) {
    try {
      await meter.take(await consumers.get('NEPHOS_EVENTS', account), mostAtOnce, 1_000);
    } catch (error) {
      if (connection.isClosed()) throw error;
      console.error(`the broker does not answer: ${(error as Error).message}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  await connection.drain();
}

await main();
