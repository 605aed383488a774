import type { Logger } from '../../base/log/index.ts';
import { keepThread, startWorker } from '../../base/process/index.ts';
import type { ServiceControl } from '../services/model.ts';
import type { OverlayCalls, OverlayOwner, OverlayQuestion, OverlayStatus } from './protocol.ts';
import type { OverlaySettings } from './settings.ts';

/** This host's part of a network over hosts, for as long as it runs; a thread that is lost is started again. */
export interface Overlay {
  /** A question of a command. @throws what it answers · OVERLAY_FAILED */
  ask(question: OverlayQuestion): Promise<object>;
  status(): Promise<OverlayStatus>;
  /** What the kernel holds stays: pods go on to reach each other. */
  close(): Promise<void>;
}

const startAgainMs = 2000;
const closeMs = 5000;

/**
 * Starts the thread, in the network namespace of this process. Does not wait for etcd: what this host knew last stands at once, and etcd may come later.
 * @param control of this host's services: those that stand in etcd are put there
 * What is in the way of its start is logged, and it is tried again.
 */
export function startOverlay(settings: OverlaySettings, control: ServiceControl, logger: Logger): Overlay {
  const log = logger.child({ room: 'network' });
  const offer: OverlayOwner = {
    log: (level, fields, message) => log[level](fields, message),
    replace: (source, services) => control.replace(source, services),
    put: (source, services) => control.put(source, services),
    remove: (source, names) => control.remove(source, names),
  };
  const thread = keepThread<OverlayCalls>(() => startWorker(import.meta.url, './overlay.worker.ts', { workerData: settings }), {
    offer,
    blame: {
      code: 'OVERLAY_FAILED',
      kind: 'unavailable',
      attempted: 'take part in the overlay',
      on: settings.name,
      fix: 'see the daemon log; it is tried again',
    },
    againMs: startAgainMs,
    closeMs,
    onLost: (error) =>
      log.error({ why: error.message }, 'this host takes no part in the overlay; what stands goes on, and it is tried again'),
  });
  return {
    ask: (question) => thread.call('ask', question),
    status: async () => (await thread.call('ask', { do: 'status' })) as OverlayStatus,
    close: () => thread.close(),
  };
}
