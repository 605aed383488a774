import { fileURLToPath } from 'node:url';
import { createLogger } from '../../../base/log/index.ts';
import { createNetworkEngine } from '../../../cni-plugins/engine/engine.ts';
import type { NetworkEngine } from '../../../cni-plugins/types.ts';
import type { Life } from '../engine/client.ts';
import { usualErrnos } from '../engine/faults.ts';
import type { Odds, Troubles } from '../engine/faults.ts';
import { beginLife } from '../engine/life.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Report } from '../engine/history-events.ts';
import type { Host } from './host.ts';
import { useAttachmentsMachine } from './machine.ts';
import type { StoredRows } from './stored-rows.ts';
import { forgetThreads } from './threads.ts';

/** Everything outside the daemon that concerns attachments. */
export interface AttachmentsWorld {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly troubles: Troubles;
  readonly rows: StoredRows;
  host: Host;
  bootId: string;
}

/** One life of the daemon, as far as it concerns attachments. */
export interface AttachmentsNode extends Life {
  readonly engine: NetworkEngine;
}

const logger = createLogger({ level: 'silent' });
const confDir = fileURLToPath(new URL('networks', import.meta.url));

/** Starts the network on the state that the previous life left. */
export async function bootAttachments(world: AttachmentsWorld, odds: Odds): Promise<AttachmentsNode> {
  const { report, rows, host, bootId } = world;
  const { life, ended } = beginLife(world, odds, () => undefined, {
    ...usualErrnos,
    write: ['EIO', 'ENOSPC'],
  });
  forgetThreads();
  useAttachmentsMachine({ report, life, host, rows, bootId });
  const start = async (): Promise<AttachmentsNode> => {
    const engine = await createNetworkEngine({ databasePath: '/network.db', confDir, log: logger });
    return { engine, ended, kill: life.kill, stopFaults: life.stopFaults };
  };
  try {
    return await Promise.race([start(), ended]);
  } catch (cause) {
    life.kill();
    throw cause;
  }
}
