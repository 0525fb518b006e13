/** The services directory, put together: the bus that keeps it, the registry, its API, its own membership. */
import { joinDirectory } from '@nephos/directory';
import { connectBus } from '@nephos/events';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { config, defineService, hostAndPort, Invalid } from '@nephos/service';
import { measure } from './adapters/figures.ts';
import { Trust } from './adapters/trust.ts';
import { Admission } from './api/admission.ts';
import { directoryApi } from './api/directory-api.ts';
import { localEndpoint } from './api/local-endpoint.ts';
import { Registry } from './registry.ts';
import { Watching } from './watching.ts';

export const directory = defineService({
  name: 'directory',
  version: '0.1.0',
  config: {
    trust: config.text({
      description:
        'file or URL of the JWKS that signs the tokens of services; may be left out on loopback only',
      default: '',
    }),
    namespace: config.text({
      description: 'the Kubernetes namespace whose service accounts are services',
      default: 'nephos',
    }),
  },
  async start(ctx) {
    const { clock, log, resources, server, lifecycle, telemetry } = ctx;
    const { trust, namespace, bind, natsReplicas } = ctx.config;
    if (trust === '') checkAlone(bind, log);
    const bus = await connectBus(ctx);
    const registry = resources.use(new Registry({ bus, clock, log, replicas: natsReplicas }));
    const watching = new Watching(registry, clock);
    const { renewals, refusals } = measure(telemetry.meter, registry, watching, resources);
    const keys = trust === '' ? undefined : new Trust({ source: trust, namespace, clock, log });
    const admission = new Admission({ identify: keys && ((token) => keys.identify(token)), refusals, log });
    const itself = new Admission({ identify: undefined, refusals, log });
    const parts = { registry, watching, renewals, now: () => clock.now() };
    server.add(DirectoryServiceDefinition, directoryApi({ ...parts, admission }));
    ctx.background('registry', (signal) => registry.run(signal));
    await joinDirectory(ctx, { endpoint: localEndpoint(directoryApi({ ...parts, admission: itself })) });
    lifecycle.onDraining(() => watching.drain());
  },
});

/** Whoever reaches a directory without keys can take any service's calls: only this machine may. */
function checkAlone(bind: string, log: { warn(message: string): void }): void {
  const { host } = hostAndPort(bind);
  if (!/^(127\.|::1$|localhost$)/.test(host)) {
    throw new Invalid(
      'FIELD_REQUIRED',
      `NEPHOS_DIRECTORY_TRUST is needed where others reach the directory (NEPHOS_BIND is ${bind}): the file or URL of the keys that sign services' tokens`,
    );
  }
  log.warn('DEVELOPMENT: without NEPHOS_DIRECTORY_TRUST anybody on this machine may register as any service');
}
