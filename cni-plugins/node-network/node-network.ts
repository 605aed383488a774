import type { Logger } from '../../base/log/index.ts';
import { keepThread, startWorker } from '../../base/process/index.ts';
import { reasonWord } from '../cni/index.ts';
import type { NodeNetworkCalls, NodeNetworkOwner, NodeNetworkStatus } from './protocol.ts';
import type { NodeNetworkSettings } from './settings.ts';
import { startingStatus } from './status-report.ts';

/** The network of this node's pods, for as long as it runs. A thread that is lost is started again. */
export interface NodeNetwork {
  /** Passes on what the kubelet sent by UpdateRuntimeConfig. @throws NODE_NETWORK_FAILED */
  runtimeConfig(podCidrs: readonly string[]): Promise<void>;
  /** Waits shortly for the first status after the start. */
  status(): Promise<NodeNetworkStatus>;
  /** Leaves the kernel and the configuration as they are, so that pods still reach each other. */
  close(): Promise<void>;
}

const startAgainMs = 2000;
const closeMs = 5000;
const firstStatusMs = 2000;

/**
 * Starts the thread, in the network namespace of this process. Does not wait for the API server. A failure to
 * start is logged, and the start is retried.
 * @param folderAnswers rejects when the file system of the folder does not answer
 */
export function openNodeNetwork(
  settings: Omit<NodeNetworkSettings, 'confDirAnswers' | 'sent'>,
  folderAnswers: NodeNetworkOwner['folderAnswers'],
  logger: Logger,
): NodeNetwork {
  const log = logger.child({ component: 'network' });
  let sent: readonly string[] | undefined;
  const first = Promise.withResolvers<undefined>();
  let status = startingStatus;
  const offer: NodeNetworkOwner = {
    log: (level, fields, message) => log[level](fields, message),
    changed(next) {
      status = next;
      first.resolve(undefined);
    },
    folderAnswers,
  };
  const thread = keepThread<NodeNetworkCalls>(
    () =>
      startWorker(import.meta.url, './node-network.worker.ts', {
        workerData: { ...settings, ...(sent !== undefined && { sent }) },
      }),
    {
      offer,
      blame: {
        code: 'NODE_NETWORK_FAILED',
        kind: 'unavailable',
        attempted: 'set up the pod network of the node',
        on: settings.nodeName,
        fix: 'check the daemon log; the start is retried',
      },
      againMs: startAgainMs,
      closeMs,
      onLost(error) {
        log.error(
          { why: error.message },
          'the pod network of the node is not maintained; existing connections continue; retrying',
        );
        status = { ...status, ready: false, reason: reasonWord(error), message: error.message };
        first.resolve(undefined);
      },
    },
  );
  return {
    async runtimeConfig(podCidrs) {
      sent = podCidrs;
      await thread.call('runtimeConfig', sent);
    },
    async status() {
      const late = Promise.withResolvers<undefined>();
      const timer = setTimeout(late.resolve, firstStatusMs, undefined);
      await Promise.race([first.promise, late.promise]);
      clearTimeout(timer);
      return status;
    },
    close: () => thread.close(),
  };
}
