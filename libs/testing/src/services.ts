/** The services that make up the platform, in the order in which they are started. */
import path from 'node:path';
import { directory } from '@nephos/directory-service';
import { eventsService } from '@nephos/events-service';
import { hostAgent } from '@nephos/host-agent-service';
import { jobControlService } from '@nephos/job-control-service';
import { orchestrator } from '@nephos/orchestrator-service';
import type { ConfigSchema, ServiceDefinition } from '@nephos/service';
import { template } from '@nephos/template-service';
import { webhooksService } from '@nephos/webhooks-service';

export const serviceNames = [
  'directory',
  'job-control',
  'template',
  'host-agent',
  'orchestrator',
  'events',
  'webhooks',
] as const;
export type ServiceName = (typeof serviceNames)[number];

export type Definition = ServiceDefinition<ConfigSchema>;

export const definitions: Readonly<Record<ServiceName, Definition>> = {
  directory,
  'job-control': jobControlService,
  template,
  'host-agent': hostAgent,
  orchestrator,
  events: eventsService,
  webhooks: webhooksService,
};

/** The program that runs the service alone. */
export function mainOf(name: ServiceName): string {
  return path.resolve(import.meta.dirname, '../../../services', name, 'src/main.ts');
}
