/** Passes three failpoints under the control named on the command line. */
import { defineService, failpoint, startService } from '@nephos/service';

const walker = defineService({
  name: 'walker',
  version: '0.1.0',
  config: {},
  start: () => Promise.resolve(),
});
const env = {
  NEPHOS_FAILPOINTS: process.argv[2] ?? '',
  NEPHOS_LOG_LEVEL: 'silent',
  NEPHOS_DRAIN_DELAY: '0s',
};
await using _service = await startService(walker, { env });
const said: string[] = [];
for (const step of [1, 2, 3]) {
  said.push(
    await failpoint('walk', { step }).then(
      () => `${step} passed`,
      () => `${step} failed`,
    ),
  );
}
process.stdout.write(`${said.join()}\n`);
