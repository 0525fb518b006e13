/** How an operator restarts what has several instances: one after the other, each once the one before is back. */
import { Health } from '@nephos/proto/nephos/directory/v1/instance';
import { type Platform, type PlatformService, type ServiceName, until } from '@nephos/testing';

/** All that have several instances; agents are each their hosts' only one. */
export const replicated: readonly ServiceName[] = [
  'directory',
  'job-control',
  'orchestrator',
  'template',
  'events',
  'webhooks',
];

/** Takes each instance of a service down and up again, in turn; `down` says how. Gives how many there were. */
export async function rollOut<S extends PlatformService>(
  platform: Platform<S>,
  service: ServiceName,
  down: (instance: S) => Promise<void>,
): Promise<number> {
  for (const instance of platform.replicas[service]) {
    await down(instance);
    await instance.start();
    await inService(platform, service);
  }
  return platform.replicas[service].length;
}

/** Returns once every instance of the service is listed and takes calls. */
export async function inService({ api, replicas }: Platform, service: ServiceName): Promise<void> {
  const addresses = replicas[service].map(({ address }) => address);
  await until(async () => {
    const { instances } = await api.directory.listInstances({ filter: `service = "${service}"` });
    const serving = instances.filter(({ health }) => health === Health.SERVING).map(({ address }) => address);
    return addresses.every((address) => serving.includes(address));
  });
}
