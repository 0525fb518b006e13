/** Started by run.test.ts: two services in one process. */
import { config, defineService, run } from '../src/index.ts';

const first = defineService({
  name: 'first',
  version: '1.0.0',
  config: { break: config.boolean({ description: 'fails once it serves', default: false }) },
  async start(context) {
    context.lifecycle.onServing(() => {
      if (context.config.break) context.fail(new Error('the disk is gone'));
    });
  },
});

const second = defineService({
  name: 'second',
  version: '1.0.0',
  config: { width: config.integer({ description: 'how wide', min: 1, max: 9, default: 3 }) },
  start: async () => {},
});

await run(first, second);
