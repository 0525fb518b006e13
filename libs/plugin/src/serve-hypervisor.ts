/**
 * HypervisorService over a driver: checks at the edge, fences before side effects, the observation stream.
 * The same for every hypervisor, in the tree or of others.
 */
import type {
  HypervisorServiceDefinition,
  ReadConsoleRequest,
  ReadConsoleResponse,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clock, type DeepPartial, type Implementation, Unavailable } from '@nephos/service';
import { checkGrace, checkHost, checkKey, checkMachine, checkUids } from './checks.ts';
import type { HypervisorDriver } from './drivers.ts';
import type { Guard } from './fence-guard.ts';
import { ObservationLog } from './observation-log.ts';
import { pageOf } from './pages.ts';
import { watchObservations } from './watch.ts';

const consolePieceBytes = 64 * 2 ** 10;
const consolePollMs = 100;

export interface HypervisorParts {
  readonly driver: HypervisorDriver;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly agentId: string;
  /** Closed with the service. */
  readonly resources: AsyncDisposableStack;
  /** Aborted once guests are being shut down with their host: from then on none is started. Never, if left out. */
  readonly stopping?: AbortSignal;
  /** Aborted once the agent will leave in order. */
  readonly draining: AbortSignal;
}

type Service = Implementation<typeof HypervisorServiceDefinition>;
type Verbs = Pick<Service, 'startMachine' | 'stopMachine' | 'rebootMachine' | 'removeMachine'>;
type Views = Omit<Service, keyof Verbs>;

export function serveHypervisor(parts: HypervisorParts): Service {
  return { ...verbs(parts), ...views(parts) };
}

/** What touches machines: checked, then fenced, then done whether the caller waits or not. */
function verbs({ driver, guard, stopping }: HypervisorParts): Verbs {
  const known = (host: string): void => checkHost(host, driver.capabilities());
  const takesMachines = (): void => {
    if (stopping?.aborted) throw new Unavailable('HYPERVISOR_FAILED', 'the host is being shut down');
  };
  return {
    startMachine: async ({ fence, host, machine }, call) => {
      known(host);
      checkMachine(machine);
      takesMachines();
      await guard.admit(fence, machine.vmUid);
      call.detach();
      return { observation: await driver.start(host, machine) };
    },
    stopMachine: async ({ fence, host, vmUid, incarnationUid, grace }, call) => {
      known(host);
      checkUids({ vm_uid: vmUid, incarnation_uid: incarnationUid });
      const graceMs = Number(grace?.seconds ?? 0n) * 1000 + (grace?.nanos ?? 0) / 1e6;
      checkGrace(graceMs);
      await guard.admit(fence, vmUid);
      call.detach();
      return { observation: await driver.stop(host, vmUid, incarnationUid, graceMs) };
    },
    rebootMachine: async ({ fence, host, vmUid, incarnationUid, rebootUid }, call) => {
      known(host);
      checkUids({ vm_uid: vmUid, incarnation_uid: incarnationUid });
      checkKey('reboot_uid', rebootUid);
      takesMachines();
      await guard.admit(fence, vmUid);
      call.detach();
      return { observation: await driver.reboot(host, vmUid, incarnationUid, rebootUid) };
    },
    removeMachine: async ({ fence, host, vmUid }, call) => {
      known(host);
      checkUids({ vm_uid: vmUid });
      await guard.admit(fence, vmUid);
      call.detach();
      await driver.remove(host, vmUid);
      await guard.entityGone(fence, vmUid);
      return {};
    },
  };
}

/** What only looks. */
function views({ driver, clock, agentId, resources, draining }: HypervisorParts): Views {
  const log = new ObservationLog();
  resources.use(driver.onObservation((observation) => log.append(observation)));
  const known = (host: string): void => checkHost(host, driver.capabilities());
  return {
    getInfo: async () => ({ info: driver.info }),
    getCapabilities: async () => ({ agentId, hosts: [...driver.capabilities()] }),
    getMachine: async ({ host, vmUid }) => {
      known(host);
      checkUids({ vm_uid: vmUid });
      return { observation: await driver.get(host, vmUid) };
    },
    listMachines: async (request) => {
      known(request.host);
      const all = await driver.list(request.host);
      const { items, nextPageToken } = pageOf(all, ({ vmUid }) => vmUid, request);
      return { observations: items, nextPageToken };
    },
    watchObservations: ({ cursor }, { signal }) =>
      watchObservations({ driver, log, clock, draining }, cursor, signal),
    readConsole: (request, { signal }) => {
      known(request.host);
      checkUids({ vm_uid: request.vmUid });
      return readConsole(driver, clock, request, AbortSignal.any([signal, draining]));
    },
    recover: async ({ host }) => {
      if (host !== '') known(host);
      const hosts = host === '' ? driver.capabilities().map((each) => each.host) : [host];
      const lists = await Promise.all(hosts.map((each) => driver.list(each)));
      return { observations: lists.flat() };
    },
  };
}

async function* readConsole(
  driver: HypervisorDriver,
  clock: Clock,
  { host, vmUid, offset, follow }: ReadConsoleRequest,
  signal: AbortSignal,
): AsyncGenerator<DeepPartial<ReadConsoleResponse>> {
  let next = Number(offset);
  while (!signal.aborted) {
    const piece = await driver.readConsole(host, vmUid, next, consolePieceBytes);
    next = piece.offset + piece.data.length;
    if (piece.data.length > 0) yield { offset: BigInt(piece.offset), data: Buffer.from(piece.data) };
    // A short piece is the end: a guest that never stops talking must not keep its reader for ever.
    if (!follow && piece.data.length < consolePieceBytes) return;
    if (piece.data.length === 0) await clock.sleep(consolePollMs, signal).catch(() => undefined);
  }
}
