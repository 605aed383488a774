import '../../../cni-plugins/services/control/services.worker.ts';
import { startServices } from '../../../cni-plugins/services/control/services.ts';
import type { Services } from '../../../cni-plugins/services/control/services.ts';
import { createLogger } from '../../../base/log/index.ts';
import type { Life } from '../engine/client.ts';
import { usualErrnos } from '../engine/faults.ts';
import type { Odds, Troubles } from '../engine/faults.ts';
import { beginLife } from '../engine/life.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Report } from '../engine/history-events.ts';
import { useServicesMachine } from './machine.ts';
import type { StoredNetwork } from './network-database.ts';
import type { NfTables } from './nf-tables.ts';
import { forgetThreads } from './threads.ts';

/** Everything outside the daemon that concerns services. */
export interface ServicesWorld {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly troubles: Troubles;
  readonly database: StoredNetwork;
  kernel: NfTables;
  bootId: string;
}

/** One life of the daemon, as far as it concerns services. */
export interface ServicesNode extends Life {
  readonly services: Services;
}

const logger = createLogger({ level: 'silent' });

/** Starts the thread of services on the state that the previous life left. */
export async function bootServices(world: ServicesWorld, odds: Odds): Promise<ServicesNode> {
  const { scheduler, report, database, kernel, bootId } = world;
  const { life, ended } = beginLife(world, odds, () => undefined, {
    ...usualErrnos,
    write: ['EIO', 'ENOSPC'],
  });
  forgetThreads();
  useServicesMachine({ scheduler, report, life, kernel, database, bootId });
  const start = async (): Promise<ServicesNode> => {
    const services = await startServices({ databasePath: '/network.db', balancer: 'nftables' }, logger);
    return { services, ended, kill: life.kill, stopFaults: life.stopFaults };
  };
  try {
    return await Promise.race([start(), ended]);
  } catch (cause) {
    life.kill();
    throw cause;
  }
}
