/**
 * A process of the platform: runs the services named as arguments, configured by its environment. Services are
 * loaded by need, so that a process holds only what it runs.
 */
import { type ConfigSchema, run, type ServiceDefinition } from '@nephos/service';
import type { ServiceName } from './layout.ts';

type AnyService = ServiceDefinition<ConfigSchema>;

const loaders: Readonly<Record<ServiceName, () => Promise<AnyService>>> = {
  directory: async () => (await import('@nephos/directory-service')).directory,
  'job-control': async () => (await import('@nephos/job-control-service')).jobControlService,
  orchestrator: async () => (await import('@nephos/orchestrator-service')).orchestrator,
  template: async () => (await import('@nephos/template-service')).template,
  events: async () => (await import('@nephos/events-service')).eventsService,
  webhooks: async () => (await import('@nephos/webhooks-service')).webhooksService,
  'host-agent': async () => (await import('@nephos/host-agent-service')).hostAgent,
};

const names = process.argv.slice(2) as ServiceName[];
await run(...(await Promise.all(names.map((name) => loaders[name]()))));
