/**
 * The template service, put together: imports images, keeps them by content, hands them to hosts (RFC, Template
 * Service). It runs without the orchestrator and the orchestrator without it.
 */
import path from 'node:path';
import { joinDirectory } from '@nephos/directory';
import { connectBus, openEntity, startRelay } from '@nephos/events';
import { openIdempotency, sweepRequests } from '@nephos/idempotency';
import { jobClient, startExecutor } from '@nephos/jobs';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import { config, defineService } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { ContentStore } from './adapters/content-store.ts';
import { Inspector } from './adapters/inspector.ts';
import { Peers } from './adapters/peers.ts';
import { Sources } from './adapters/sources.ts';
import { templatesApi } from './api/templates.ts';
import { copyImages } from './copier.ts';
import { importTemplate } from './jobs/import.ts';
import { templateEntity } from './records/template.ts';
import { sweepTemplates } from './sweeper.ts';

/** What this service's executor runs. */
export const templateJobs = [importTemplate];

export const template = defineService({
  name: 'template',
  version: '0.1.0',
  config: {
    templateBuiltIn: config.text({
      description: 'folder of the images that ship with the platform, {name}.qcow2',
      default: '',
    }),
    templateSources: config.text({
      description:
        'folders, colon-separated, below which local files may be imported; <data>/import by default',
      default: '',
    }),
    templateMaxFile: config.bytes({ description: 'largest image file taken', default: 256 * 2 ** 30 }),
    templateMaxDisk: config.bytes({
      description: 'largest disk an image may describe',
      default: 2 * 2 ** 40,
    }),
  },
  async start(ctx) {
    const { clock, log, server } = ctx;
    const { data, templateBuiltIn, templateSources, templateMaxFile, templateMaxDisk } = ctx.config;
    const store = await openServiceStore(ctx);
    const bus = await connectBus(ctx);
    startRelay(ctx, { store, bus });
    const directory = await joinDirectory(ctx);
    const idempotency = await openIdempotency(store, { clock, log });
    const templates = await openEntity(store, templateEntity, { source: ctx.name, clock });
    const content = await ContentStore.open(data);
    const folders = templateSources === '' ? [path.join(data, 'import')] : templateSources.split(':');
    const sources = new Sources(
      templateBuiltIn,
      folders.map((folder) => path.resolve(folder)),
    );
    const limits = { fileSizeBytes: templateMaxFile, virtualSizeBytes: templateMaxDisk };
    const inspector = new Inspector(clock, limits);
    const deps = { templates, content, sources, inspector, clock, mostFileBytes: templateMaxFile };
    const jobs = jobClient(ctx);
    const peers = new Peers(directory, ctx.clients, log);

    server.add(TemplateServiceDefinition, templatesApi({ ...deps, peers }, jobs, idempotency));
    startExecutor(ctx, { jobs: templateJobs, deps, jobControl: directory });
    ctx.background('request sweeper', (signal) => sweepRequests(idempotency, { clock }, signal));
    // Whoever holds the store alone has no peers.
    if (!store.exclusive) {
      const parts = { templates, content, peers, clock, log };
      ctx.background('image copier', (signal) => copyImages(parts, signal));
    }
    ctx.background('template sweeper', (signal) =>
      sweepTemplates({ templates, content, jobs, clock, log }, signal),
    );
  },
});
