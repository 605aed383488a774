/**
 * Starts to create a user namespace, reports the helper's pid when the helper has its ids, and never
 * continues: for a test that kills it then.
 */
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { podNamespaces } from './pod-namespaces.ts';
import { pinUserNamespace } from './user-namespace.ts';

const [dir = ''] = process.argv.slice(2);
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
const ids = { hostId: 100_000, containerId: 0, length: 65_536 };
const hold = setInterval(() => undefined, 1_000);
await pinUserNamespace({
  dir,
  types: podNamespaces,
  plan: { uids: ids, gids: ids },
  hostname: 'killed',
  sysctls: {},
  startProgram: programStarter(reactor, kernel),
  kernel: {
    ...kernel,
    pinNamespacesOf: (pid) => {
      process.stdout.write(`${pid}\n`);
      return new Promise(() => undefined);
    },
  },
});
clearInterval(hold);
