import { workerData } from 'node:worker_threads';
import { serveThread } from '../../base/process/index.ts';
import { startNodeNetwork } from './agent.ts';
import type { NodeNetworkCalls, NodeNetworkOwner } from './protocol.ts';
import type { NodeNetworkSettings } from './settings.ts';

/** The thread of the node's network, in the daemon's own network namespace. */
const settings = workerData as NodeNetworkSettings;

await serveThread<NodeNetworkOwner>(
  () => ({
    code: 'NODE_NETWORK_FAILED',
    kind: 'internal',
    attempted: 'set up the pod network of the node',
    on: settings.nodeName,
    fix: 'report this with the daemon log',
  }),
  async (owner) => {
    const log = {
      info: (fields: object, message: string) => owner.notify('log', 'info', fields, message),
      warn: (fields: object, message: string) => owner.notify('log', 'warn', fields, message),
    };
    const confDirAnswers = (): Promise<void> => owner.call('folderAnswers', settings.confDir);
    const agent = await startNodeNetwork(
      { ...settings, confDirAnswers },
      (status) => owner.notify('changed', status),
      log,
    );
    const offer: NodeNetworkCalls = { runtimeConfig: agent.runtimeConfig, status: agent.status };
    return { offer, close: () => agent.close() };
  },
);
