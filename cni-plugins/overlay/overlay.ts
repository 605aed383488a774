import type { Logger } from '../../base/log/index.ts';
import { keepThread, startWorker } from '../../base/process/index.ts';
import type { ServiceControl } from '../services/index.ts';
import type { OverlayCalls, OverlayOwner, OverlayQuestion, OverlayStatus } from './protocol.ts';
import type { OverlaySettings } from './records/settings.ts';

/** This host's membership in the overlay, while the daemon runs. A lost thread is started again. */
export interface Overlay {
  /** Answers a question of a command. @throws the errors of the answer · OVERLAY_FAILED */
  ask(question: OverlayQuestion): Promise<object>;
  status(): Promise<OverlayStatus>;
  /** Leaves the kernel's state in place, so that pods still reach each other. */
  close(): Promise<void>;
}

const startAgainMs = 2000;
const closeMs = 5000;

/**
 * Starts the thread, in the network namespace of this process. Does not wait for etcd: the last known state
 * is in force at once, and etcd may become available later. A failure to start is logged, and the start is
 * retried.
 * @param control of this host's services: services from etcd are applied to it
 * @param folderAnswers rejects when the file system of the folder does not answer
 */
export function startOverlay(
  settings: Omit<OverlaySettings, 'confDirAnswers'>,
  control: ServiceControl,
  folderAnswers: OverlayOwner['folderAnswers'],
  logger: Logger,
): Overlay {
  const log = logger.child({ component: 'network' });
  const offer: OverlayOwner = {
    log: (level, fields, message) => log[level](fields, message),
    replace: (source, services) => control.replace(source, services),
    put: (source, services) => control.put(source, services),
    remove: (source, names) => control.remove(source, names),
    folderAnswers,
  };
  const thread = keepThread<OverlayCalls>(
    () => startWorker(import.meta.url, './overlay.worker.ts', { workerData: settings }),
    {
      offer,
      blame: {
        code: 'OVERLAY_FAILED',
        kind: 'unavailable',
        attempted: 'take part in the overlay',
        on: settings.name,
        fix: 'see the daemon log; the start is retried',
      },
      againMs: startAgainMs,
      closeMs,
      onLost: (error) =>
        log.error(
          { why: error.message },
          'this host does not take part in the overlay; existing connections continue, and it is retried',
        ),
    },
  );
  return {
    ask: (question) => thread.call('ask', question),
    status: async () => (await thread.call('ask', { do: 'status' })) as OverlayStatus,
    close: () => thread.close(),
  };
}
