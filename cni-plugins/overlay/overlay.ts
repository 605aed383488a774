import { PortcullisError, asPortcullisError, errorFromJson, errorToJson, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { RefusedService, ServiceControl } from '../services/model.ts';
import type { ControlCall, FromOverlay, OverlayQuestion, OverlayStatus, ToOverlay } from './protocol.ts';
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

interface Waiting {
  resolve(answer: object): void;
  reject(error: Error): void;
}

const failed = (why: string): PortcullisError =>
  new PortcullisError({
    code: 'OVERLAY_FAILED',
    kind: 'unavailable',
    attempted: 'take part in the overlay',
    on: '',
    why,
    fix: 'see the daemon log; it is tried again',
  });

/**
 * Starts the thread, in the network namespace of this process. Does not wait for etcd: what this host knew last stands at once, and etcd may come later.
 * @param control of this host's services: those that stand in etcd are put there
 * @throws OVERLAY_SETTINGS_INVALID; whatever else is in the way is logged, and tried again
 */
export function startOverlay(settings: OverlaySettings, control: ServiceControl, logger: Logger): Overlay {
  const log = logger.child({ room: 'network' });
  const waiting = new Map<number, Waiting>();
  let sequence = 0;
  let closed = false;
  let isUp = false;
  let again: NodeJS.Timeout | undefined;
  let told = '';
  let worker: ReturnType<typeof startWorker>;

  const start = (): void => {
    const started = startWorker(import.meta.url, './overlay.worker.ts', { workerData: settings });
    worker = started;
    started.unref();
    let why = 'it ended';
    started.on('message', (message: FromOverlay) => {
      if ('level' in message) log[message.level](message.fields, message.message);
      else if ('control' in message) void controlled(message.control, message.sequence, started);
      else if ('started' in message) isUp = true;
      else if ('failed' in message) {
        why = errorFromJson(message.failed).message;
        void started.terminate();
      } else {
        const asked = waiting.get(message.sequence);
        waiting.delete(message.sequence);
        if ('answer' in message) asked?.resolve(message.answer);
        else asked?.reject(errorFromJson(message.error));
      }
    });
    started.on('error', (error) => (why = reasonOf(error)));
    started.on('exit', () => {
      isUp = false;
      for (const each of waiting.values()) each.reject(failed(why));
      waiting.clear();
      if (closed) return;
      if (told !== why) log.error({ why }, 'this host takes no part in the overlay; what stands goes on, and it is tried again');
      told = why;
      again = setTimeout(start, startAgainMs);
      again.unref();
    });
  };

  const controlled = async (call: ControlCall, asked: number, to: typeof worker): Promise<void> => {
    const answer = (message: ToOverlay): void => to.postMessage(message);
    try {
      let refused: readonly RefusedService[] = [];
      if (call.do === 'remove') await control.remove(call.source, call.names);
      else refused = await control[call.do](call.source, call.services);
      answer({ controlled: asked, refused });
    } catch (thrown) {
      answer({ controlled: asked, error: errorToJson(asPortcullisError(thrown, failed(reasonOf(thrown)).failure)) });
    }
  };

  const ask = (question: OverlayQuestion): Promise<object> =>
    new Promise((resolve, reject) => {
      if (closed || !isUp) return reject(failed(closed ? 'it is closed' : told === '' ? 'it is starting' : told));
      sequence += 1;
      waiting.set(sequence, { resolve, reject });
      worker.postMessage({ ask: question, sequence } satisfies ToOverlay);
    });

  start();
  return {
    ask,
    status: async () => (await ask({ do: 'status' })) as OverlayStatus,
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(again);
      if (!isUp) return void (await worker.terminate());
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      worker.postMessage({ close: true } satisfies ToOverlay);
      const late = setTimeout(() => void worker.terminate(), closeMs);
      await ended;
      clearTimeout(late);
    },
  };
}
