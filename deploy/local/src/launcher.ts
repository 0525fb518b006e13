/**
 * The launcher, from arguments to exit code: takes the data folder, starts the platform, does the main job, stays
 * until Ctrl-C (or takes everything back with --once), stops in order. A crash leaves guests running and nothing
 * else: the next start finds them.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import {
  connectPlatform,
  defaultDataFolder,
  durationText,
  removeEndpoints,
  sizeText,
  writeEndpoints,
} from '@nephos/client';
import { Invalid, NephosError, systemClock } from '@nephos/service';
import { shownStoreUrl, worldStoreUrl } from '@nephos/store';
import { lockData } from './data-lock.ts';
import { showEvents } from './event-drawing.ts';
import { awaitHello, ensureHello } from './hello-vm.ts';
import { Interrupts } from './interrupts.ts';
import { awaitListed, ensureInventory, type Maker, placeGuestImage } from './inventory.ts';
import {
  type Layout,
  layoutOf,
  type Mode,
  operatorCreds,
  portCount,
  repository,
  serviceNames,
} from './layout.ts';
import { type LocalPlatform, StartFailed, startLocalPlatform } from './local-platform.ts';
import { type LaunchOptions, parseOptions, usage } from './options.ts';
import { guestProcesses, proportionalMemory } from './processes.ts';
import { RequestIds } from './request-ids.ts';
import { Screen } from './screen.ts';
import { checkNothingLeft, takeBack } from './take-back.ts';

const exitCodes = { well: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let options: LaunchOptions;
  try {
    // npm runs scripts in the repository; folders are meant from where the person stands.
    options = parseOptions(args, process.env['INIT_CWD'] ?? process.cwd(), process.env['NEPHOS_STORE']);
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    process.stderr.write(`${error.message}\n\n${usage}`);
    return exitCodes.usage;
  }
  if (options.help) {
    process.stdout.write(usage);
    return exitCodes.well;
  }
  const launcher = new Launcher(options, new Screen(process.stdout, systemClock, process.env));
  return launcher.run();
}

class Launcher {
  readonly #options: LaunchOptions;
  readonly #screen: Screen;
  readonly #interrupts: Interrupts;
  #platform: LocalPlatform | undefined;
  #layout: Layout | undefined;
  #doing = 'the start';
  #servicesUpMs = 0;

  constructor(options: LaunchOptions, screen: Screen) {
    this.#options = options;
    this.#screen = screen;
    this.#interrupts = new Interrupts(systemClock, () => this.#force());
  }

  async run(): Promise<number> {
    using _interrupts = this.#interrupts;
    try {
      using _lock = lockData(this.#options.data);
      return await this.#live(await this.#up());
    } catch (error) {
      return this.#failure(error);
    }
  }

  /** Starts the services; without a usable QEMU once more with simulated hosts. */
  async #up(): Promise<Layout> {
    const { simulate } = this.#options;
    const image = process.env['NEPHOS_GUEST_IMAGE'];
    let why = simulate ? '--simulate was asked for' : 'there is no guest image: npm run setup makes one';
    if (!simulate && image !== undefined) {
      try {
        return await this.#start('qemu', image);
      } catch (error) {
        if (!(error instanceof StartFailed && error.part === 'host-agent')) throw error;
        why = `QEMU cannot be used here: ${error.message}`;
      }
    }
    this.#screen.warn(`SIMULATED: ${why.replace(/\.$/, '')}. No guest boots; all the rest is real.`);
    return this.#start('simulated', image);
  }

  async #start(mode: Mode, image: string | undefined): Promise<Layout> {
    const { data, portBase, store, isolate, verbose } = this.#options;
    const layout = layoutOf({ data, portBase, store, isolate, mode, logLevel: verbose ? 'debug' : 'info' });
    this.#screen.line(
      `Nephos on this machine: data in ${data}, ports ${portBase} to ${portBase + portCount - 1}`,
    );
    if (store !== undefined) {
      this.#screen.line(`Records in MongoDB: ${shownStoreUrl(worldStoreUrl(store, mode))}_…`);
    }
    this.#screen.heading('Services');
    mkdirSync(layout.state, { recursive: true });
    await placeGuestImage(layout.builtIn, image, mode);
    const { signal } = this.#interrupts;
    this.#platform = await startLocalPlatform(layout, {
      screen: this.#screen,
      clock: systemClock,
      signal,
      verbose,
    });
    this.#layout = layout;
    this.#servicesUpMs = this.#screen.elapsedMs;
    const services = Object.fromEntries(serviceNames.map((name) => [name, layout.address(name)]));
    await writeEndpoints(data, {
      directory: layout.address('directory'),
      nats: layout.nats.url,
      natsCreds: layout.nats.keys.credsOf(operatorCreds),
      services,
    });
    return layout;
  }

  async #live(layout: Layout): Promise<number> {
    const { once } = this.#options;
    let code: number = exitCodes.well;
    try {
      await this.#mainJob(layout);
      if (!once) await this.#stay();
    } catch (error) {
      code = this.#failure(error);
    }
    const stopped = await this.#stop(layout);
    if (code === exitCodes.well && !stopped) code = exitCodes.failed;
    if (once)
      this.#screen.line(
        code === exitCodes.well ? 'Every step was seen to work.' : `Failed at: ${this.#doing}.`,
      );
    return code;
  }

  async #mainJob(layout: Layout): Promise<void> {
    const screen = this.#screen;
    const { signal } = this.#interrupts;
    await using stack = new AsyncDisposableStack();
    const platform = stack.use(
      connectPlatform({
        directory: layout.address('directory'),
        nats: layout.nats.url,
        natsCreds: layout.nats.keys.credsOf(operatorCreds),
        principal: 'users/local',
      }),
    );
    const closing = new AbortController();
    stack.defer(() => closing.abort());
    const maker: Maker = { platform, screen, requestIds: new RequestIds(layout.state), signal };

    this.#begin('the inventory', 'Zone, hosts and template');
    await awaitListed(maker);
    const inventory = await ensureInventory(maker);
    this.#begin('the VM', 'A first VM: its job, and entity changes as events tell of them');
    const listening = await showEvents(platform, screen, AbortSignal.any([signal, closing.signal]));
    if (!listening)
      throw new StartFailed('nats-server', 'the broker has not answered the subscriber within 10 s');
    const vm = await ensureHello(maker, inventory);
    if (vm === undefined) {
      screen.line('  It was stopped by somebody and stays so: npm run -s nephos -- vms start hello');
    } else {
      this.#begin("the guest's hello", 'What the guest says on its serial console');
      const hello = await awaitHello(maker, vm, layout);
      screen.done('proof', layout.options.mode === 'qemu' ? hello : 'simulated: no real guest booted');
    }
    this.#summary(layout);
    if (!this.#options.once) return;
    if (vm === undefined) throw new StartFailed('hello', 'the VM is stopped: there is nothing to see of it');
    this.#begin('taking the VM back', 'Taking it back');
    await takeBack(maker, vm);
    await checkNothingLeft(maker, vm, inventory, layout.dataOf('host-agent'));
  }

  #begin(what: string, heading: string): void {
    this.#doing = what;
    this.#screen.heading(heading);
  }

  #summary(layout: Layout): void {
    const pids = [process.pid, ...(this.#platform?.pids ?? [])];
    const memory = sizeText(proportionalMemory(pids));
    const guests = guestProcesses(layout.state).length;
    this.#screen.line();
    const times = `Services up after ${durationText(this.#servicesUpMs)}, all of it after ${durationText(this.#screen.elapsedMs)}.`;
    const held = `${pids.length} processes hold ${memory} together (PSS, without guests)`;
    this.#screen.line(`${times} ${held}, and ${guests} guest processes run.`);
  }

  #showWays(layout: Layout): void {
    const { data, portBase } = this.#options;
    const screen = this.#screen;
    const broker = `nats://127.0.0.1:${portBase}`;
    screen.heading('Endpoints');
    for (const name of serviceNames) screen.line(`  ${name.padEnd(14)} ${layout.address(name)} (gRPC)`);
    screen.line(`  ${'broker'.padEnd(14)} ${broker}, subjects nephos.v1.> (NATS, by credentials)`);
    screen.line(`  ${'schemas'.padEnd(14)} ${layout.schemas}/asyncapi.json and /schemas/… (HTTP)`);
    // In another folder the command does not find endpoints.json by itself.
    const found = data === path.join(repository, defaultDataFolder);
    const directory = found ? '' : ` --server ${layout.address('directory')}`;
    const credentials = found
      ? ''
      : ` --nats ${broker} --nats-creds ${layout.nats.keys.credsOf(operatorCreds)}`;
    screen.heading('Try next, in a second terminal here');
    screen.line(`  npm run -s nephos --${directory} services`);
    screen.line(`  npm run -s nephos --${directory} vms console hello --follow`);
    screen.line(`  npm run -s nephos --${directory}${credentials} events tail`);
  }

  async #stay(): Promise<void> {
    if (this.#layout !== undefined) this.#showWays(this.#layout);
    this.#screen.line();
    this.#screen.line(
      'Ctrl-C shuts the guests down and stops everything; the next npm start goes on where this one ended.',
    );
    const { signal } = this.#interrupts;
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** True when every process ended as it was asked to and no guest is left. */
  async #stop(layout: Layout): Promise<boolean> {
    const screen = this.#screen;
    screen.live('');
    screen.heading('Stopping');
    const guests = guestProcesses(layout.state).length;
    await removeEndpoints(this.#options.data);
    const clean = (await this.#platform?.stop()) ?? true;
    const left = guestProcesses(layout.state);
    if (left.length > 0) screen.failed('guests', `still running: processes ${left.join(', ')}`);
    else if (guests > 0)
      screen.done('guests', `${guests} shut down; they start again with the next npm start`);
    return clean && left.length === 0;
  }

  #failure(error: unknown): number {
    this.#screen.live('');
    if (this.#interrupts.signal.aborted) {
      this.#screen.warn(`interrupted during ${this.#doing}`);
      return exitCodes.interrupted;
    }
    this.#screen.failed(this.#doing, describe(error));
    return exitCodes.failed;
  }

  /** The second Ctrl-C: no goodbye to anybody. */
  #force(): void {
    void this.#platform?.kill();
    const guests = this.#layout === undefined ? [] : guestProcesses(this.#layout.state);
    for (const pid of guests) process.kill(pid, 'SIGKILL');
    this.#screen.live('');
    this.#screen.warn(`forced: services and ${guests.length} guests were cut off`);
    process.exit(exitCodes.interrupted);
  }
}

function describe(error: unknown): string {
  if (error instanceof NephosError) return `${error.message} (${error.reason})`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
