/** What VMs need before the first: a zone, a pod, a cluster, the agents' hosts in it, a template. */
import { type Host, HostStatus_Link as Link } from '@nephos/proto/nephos/orchestration/v1/host';
import { Template_State as TemplateState } from '@nephos/proto/nephos/template/v1/template';
import { succeeded, until } from './api.ts';
import { builtInImage, type Platform } from './platform.ts';

export interface Ground {
  /** Resource names. */
  readonly zone: string;
  readonly cluster: string;
  readonly template: string;
  readonly hosts: readonly Host[];
}

/** Lays it, and returns once every host is up and the template ready. */
export async function layGround({ api }: Pick<Platform, 'api'>, displayName = 'ground'): Promise<Ground> {
  const zone = nameOf(await api.zones.createZone({ zone: { header: { displayName } } }));
  const pod = nameOf(await api.pods.createPod({ pod: { header: { displayName, zone } } }));
  const cluster = nameOf(await api.clusters.createCluster({ cluster: { header: { displayName }, pod } }));
  let count = 0;
  for (const [at, { hypervisor }] of api.agents.entries()) {
    const { agentId, hosts } = await hypervisor.getCapabilities({});
    for (const { host: agentHost } of hosts) {
      const header = { displayName: at === 0 ? agentHost : `${agentHost}-${at + 1}` };
      await api.hosts.createHost({ host: { header, cluster, agentId, agentHost } });
      count += 1;
    }
  }
  const template = await importTemplate(api, zone, displayName);
  return { zone, cluster, template, hosts: await hostsUp(api, count) };
}

async function importTemplate(api: Platform['api'], zone: string, displayName: string): Promise<string> {
  const source = { source: { $case: 'builtIn' as const, value: builtInImage } };
  await succeeded(
    api,
    await api.templates.createTemplate({ template: { header: { displayName, zone } }, source }),
  );
  const { templates } = await api.templates.listTemplates({});
  const ready = templates.find(({ header, state }) => header?.zone === zone && state === TemplateState.READY);
  if (!ready) throw new Error('the template is not ready after its import');
  return nameOf(ready);
}

/** The hosts once that many are up. */
export function hostsUp(api: Platform['api'], count: number): Promise<Host[]> {
  return until(async () => {
    const { hosts } = await api.hosts.listHosts({ pageSize: 500 });
    const up = hosts.filter(({ status }) => status?.link === Link.UP);
    return up.length >= count && up;
  });
}

export function nameOf(
  resource: { readonly header?: { readonly name: string } | undefined } | undefined,
): string {
  const name = resource?.header?.name;
  if (name === undefined || name === '') throw new Error('a resource without a name');
  return name;
}
