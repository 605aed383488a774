import { workerData } from 'node:worker_threads';
import { serveThread } from '../../base/process/index.ts';
import type { ServiceControl } from '../services/index.ts';
import { startAgent } from './agent.ts';
import type { OverlayCalls, OverlayOwner } from './protocol.ts';
import type { OverlaySettings } from './records/settings.ts';

/**
 * The thread of the overlay, in the daemon's own network namespace. It talks to etcd, and to the kernel by
 * netlink.
 */
const settings = workerData as OverlaySettings;

await serveThread<OverlayOwner>(
  () => ({
    code: 'OVERLAY_FAILED',
    kind: 'internal',
    attempted: 'take part in the overlay',
    on: settings.name,
    fix: 'report this with the daemon log',
  }),
  async (owner) => {
    const control: ServiceControl = {
      replace: (source, services) => owner.call('replace', source, services),
      put: (source, services) => owner.call('put', source, services),
      remove: (source, names) => owner.call('remove', source, names),
    };
    const log = {
      info: (fields: object, message: string) => owner.notify('log', 'info', fields, message),
      warn: (fields: object, message: string) => owner.notify('log', 'warn', fields, message),
    };
    const confDirAnswers = (): Promise<void> => owner.call('folderAnswers', settings.confDir);
    const agent = await startAgent({ ...settings, confDirAnswers }, control, log);
    const offer: OverlayCalls = { ask: agent.ask };
    return { offer, close: () => agent.close() };
  },
);
