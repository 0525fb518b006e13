/**
 * An example of a component outside the platform that does all its work from events (RFC, Events Framework): it
 * meters for how long each owner's VMs ran. It calls nobody: each event carries the VM before and after. Its ledger
 * is a plain object that its author keeps wherever they like; a sequence in each entry makes repeats harmless.
 */
import { connectBus, type EntityEvent, subscribe } from '@nephos/events';
import { VmStatus_State as State, Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { systemClock } from '@nephos/service';

/** What is known of one VM's use. */
export interface Usage {
  readonly owner: string;
  readonly vcpus: number;
  /** Milliseconds of runs that are over. */
  readonly ranMs: number;
  /** When the run began that goes on. */
  readonly runningSince?: number;
  /** The last event that is counted in. */
  readonly sequence: number;
}

export type UsageLedger = Record<string, Usage>;

/** The ledger's entry after an event. Pure. */
export function metered(known: Usage | undefined, event: EntityEvent<Vm>): Usage | undefined {
  if (known !== undefined && event.sequence <= known.sequence) return known;
  const vm = event.new ?? event.old;
  const runs = event.new?.status?.state === State.RUNNING;
  const now = event.time.getTime();
  const { ranMs = 0, runningSince } = known ?? {};
  const rest = { owner: event.owner, vcpus: vm?.spec?.vcpus ?? known?.vcpus ?? 0, sequence: event.sequence };
  if (runs) return { ...rest, ranMs, runningSince: runningSince ?? now };
  return { ...rest, ranMs: runningSince === undefined ? ranMs : ranMs + (now - runningSince) };
}

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** Meters until disposed; the same name goes on where it stopped. All it is given is the broker's address. */
export async function startUsageMeter(
  nats: string,
  name: string,
  ledger: UsageLedger,
): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const bus = stack.use(await connectBus({ nats, name, clock: systemClock, log }));
  const options = { name, filter: { entity: 'vm' }, message: Vm, from: 'all' as const };
  stack.use(
    subscribe(bus, options, async (event) => {
      const usage = metered(ledger[event.uid], event);
      if (usage) ledger[event.uid] = usage;
    }),
  );
  return stack;
}
