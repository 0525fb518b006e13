/** The commands, put together, and what becomes of a run: exit code 0 well, 1 failed, 2 wrong usage. */
import { newUid, runAs } from '@nephos/service';
import { Command, CommanderError, Help, type Option } from 'commander';
import { failureText } from './failure.ts';
import { addClusters } from './groups/clusters.ts';
import { addCredentials } from './groups/credentials.ts';
import { addDeadLetters } from './groups/dead-letters.ts';
import { addEvents } from './groups/events.ts';
import { addHosts } from './groups/hosts.ts';
import { addJobs } from './groups/jobs.ts';
import { addOfferings } from './groups/offerings.ts';
import { addOperations } from './groups/operations.ts';
import { addPods } from './groups/pods.ts';
import { addServices } from './groups/services.ts';
import { addStore } from './groups/store.ts';
import { addSubscriptions } from './groups/subscriptions.ts';
import { addTemplates } from './groups/templates.ts';
import { addVms } from './groups/vms.ts';
import { addVolumes } from './groups/volumes.ts';
import { addWebhooks } from './groups/webhooks.ts';
import { addZones } from './groups/zones.ts';
import { type CliWorld, type GlobalOptions, Session } from './session.ts';

const exitCodes = { well: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** In the order in which help shows them. */
const groups = [
  addVms,
  addVolumes,
  addTemplates,
  addOfferings,
  addHosts,
  addZones,
  addPods,
  addClusters,
  addJobs,
  addOperations,
  addEvents,
  addSubscriptions,
  addDeadLetters,
  addCredentials,
  addWebhooks,
  addServices,
  addStore,
];

const examples = `
Examples:
  nephos vms list
  nephos vms create web --zone local --template tiny --offering small
  nephos vms console web --follow
  nephos jobs list --filter 'state = "RUNNING"'
  nephos events tail --entity vm

A resource is named by its name (vms/0192…), its uid, the beginning or end of that
(at least 6 characters), or its display name.
The platform is found by .nephos/endpoints.json here or above, by --server, or by NEPHOS_SERVER.
Exit codes: 0 done, 1 failed, 2 wrong usage.`;

export function buildProgram(session: Session): Command {
  const { stdout, stderr } = session.world;
  const program = new Command('nephos')
    .description('Sees and steers a Nephos platform.')
    .option('--server <host:port>', 'its directory')
    .option('--nats <url>', 'its broker, for events')
    .option('--nats-creds <file>', 'credentials for its broker')
    .option('--json', 'JSON instead of tables: one document, or a line each where it streams')
    .addHelpText('after', examples)
    .exitOverride()
    .configureHelp({ optionDescription })
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) });
  program.hook('preAction', (_, command) => session.configure(command.optsWithGlobals<GlobalOptions>()));
  for (const add of groups) add(program, session);
  return program;
}

/** Defaults that are nothing need no telling. */
function optionDescription(option: Option): string {
  const { defaultValue, description } = option;
  const isNothing = defaultValue === '' || (Array.isArray(defaultValue) && defaultValue.length === 0);
  return isNothing ? description : new Help().optionDescription(option);
}

/** Runs one command line; returns the exit code. */
export async function runCli(args: readonly string[], world: CliWorld): Promise<number> {
  await using session = new Session(world);
  const requestId = newUid();
  try {
    await runAs({ requestId }, () => buildProgram(session).parseAsync([...args], { from: 'user' }));
    return exitCodes.well;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.well : exitCodes.usage;
    if (session.signal.aborted) return exitCodes.interrupted;
    world.stderr.write(`${failureText(error, requestId)}\n`);
    return exitCodes.failed;
  }
}
