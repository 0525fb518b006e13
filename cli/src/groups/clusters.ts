/** `nephos clusters`. */
import { Cluster, ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import type { Command } from 'commander';
import { createdColumn, nameColumn, referenceWord, uidColumn } from '../columns.ts';
import { addDelete, addReading, findName, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { podKind } from './pods.ts';

export const clusterKind: ResourceKind<Cluster> = {
  word: 'cluster',
  collection: 'clusters',
  columns: [
    nameColumn,
    { title: 'POD', path: 'pod', format: referenceWord },
    { title: 'CPU-RATIO', path: 'cpuOvercommitRatio' },
    { title: 'MEMORY-RATIO', path: 'memoryOvercommitRatio' },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const clusters = await platform.client(ClusterServiceDefinition, 'orchestrator');
    const page = await clusters.listClusters({ filter, pageSize, pageToken });
    return { items: page.clusters, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(ClusterServiceDefinition, 'orchestrator')).getCluster({ name }),
  toJson: (cluster) => Cluster.toJSON(cluster),
};

interface CreateOptions {
  readonly pod: string;
  readonly cpuRatio?: string;
  readonly memoryRatio?: string;
}

export function addClusters(program: Command, session: Session): void {
  const group = program
    .command('clusters')
    .description('clusters: hosts that are alike')
    .addHelpText('after', '\nExamples:\n  nephos clusters create rack-7 --pod row-1 --cpu-ratio 4');
  addReading(group, session, clusterKind);
  group
    .command('create')
    .description('create a cluster')
    .argument('<name>', 'its display name')
    .requiredOption('--pod <pod>', 'its pod')
    .option('--cpu-ratio <number>', 'virtual CPUs per CPU thread')
    .option('--memory-ratio <number>', 'guest memory per byte of memory')
    .action(async (displayName: string, options: CreateOptions) => {
      const pod = await podKind.get(session.platform, await findName(session, podKind, options.pod));
      const clusters = await session.platform.client(ClusterServiceDefinition, 'orchestrator');
      const cluster = {
        header: { displayName, zone: pod.header?.zone ?? '' },
        pod: pod.header?.name ?? '',
        cpuOvercommitRatio: Number(options.cpuRatio ?? 0),
        memoryOvercommitRatio: Number(options.memoryRatio ?? 0),
      };
      printOne(session, clusterKind, await clusters.createCluster({ cluster }));
    });
  addDelete(group, session, clusterKind, async (platform, name) =>
    (await platform.client(ClusterServiceDefinition, 'orchestrator')).deleteCluster({ name }),
  );
}
