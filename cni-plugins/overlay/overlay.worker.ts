import { parentPort, workerData } from 'node:worker_threads';
import { asPortcullisError, errorFromJson, errorToJson } from '../../base/errors/index.ts';
import type { RefusedService, ServiceControl } from '../services/model.ts';
import { startAgent } from './agent.ts';
import type { ControlCall, FromOverlay, ToOverlay } from './protocol.ts';
import type { OverlaySettings } from './settings.ts';

/** The thread of the overlay, in the daemon's own network namespace: etcd, and the kernel by netlink. */
const port = parentPort;
if (port === null) throw new Error('overlay.worker runs as a Worker');
const settings = workerData as OverlaySettings;
const post = (message: FromOverlay): void => port.postMessage(message);
const log = {
  info: (fields: object, message: string) => post({ level: 'info', fields, message }),
  warn: (fields: object, message: string) => post({ level: 'warn', fields, message }),
};

interface Waiting {
  resolve(refused: readonly RefusedService[]): void;
  reject(error: Error): void;
}

let sequence = 0;
const waiting = new Map<number, Waiting>();
const call = (control: ControlCall): Promise<readonly RefusedService[]> =>
  new Promise((resolve, reject) => {
    sequence += 1;
    waiting.set(sequence, { resolve, reject });
    post({ control, sequence });
  });

const control: ServiceControl = {
  replace: (source, services) => call({ do: 'replace', source, services }),
  put: (source, services) => call({ do: 'put', source, services }),
  async remove(source, names) {
    await call({ do: 'remove', source, names });
  },
};

const failure = {
  code: 'OVERLAY_FAILED',
  kind: 'internal',
  attempted: 'take part in the overlay',
  on: settings.name,
  fix: 'report this with the daemon log',
} as const;

try {
  const agent = await startAgent(settings, control, log);
  port.on('message', (message: ToOverlay) => {
    if ('ask' in message) {
      agent.ask(message.ask).then(
        (answer) => post({ sequence: message.sequence, answer }),
        (thrown: unknown) => post({ sequence: message.sequence, error: errorToJson(asPortcullisError(thrown, failure)) }),
      );
    } else if ('controlled' in message) {
      const asked = waiting.get(message.controlled);
      waiting.delete(message.controlled);
      if ('refused' in message) asked?.resolve(message.refused);
      else asked?.reject(errorFromJson(message.error));
    } else {
      void agent.close().finally(() => port.close());
    }
  });
  post({ started: true });
} catch (thrown) {
  post({ failed: errorToJson(asPortcullisError(thrown, failure)) });
}
