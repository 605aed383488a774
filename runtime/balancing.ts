import { hostname } from 'node:os';
import { join } from 'node:path';
import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { hasServices, startServices } from '../cni-plugins/index.ts';
import type { ServiceControl, ServiceFigures, Services } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { followNetworkFolders } from './network-folders.ts';
import type { NetworkFolders } from './network-folders.ts';

/** The services of this host, as they are configured: their thread runs only where there are any. */
export interface Balancing {
  /** A question of `portcullis service`; starts the thread. @throws what it answers, and what its start throws */
  readonly ask: (question: string) => Promise<string>;
  /** For other parts of the daemon that describe services, each under a source of its own; the first call starts the thread. */
  readonly control: ServiceControl;
  /** Undefined while there are none. */
  readonly figures: () => Promise<ServiceFigures | undefined>;
  /** What the kernel holds goes on. */
  close(): Promise<void>;
}

/** Longer than a stop takes. A thread that waits for a file server does not end before that answers. */
const closeMs = 10_000;
/** How often it is looked whether there are any by now. */
const lookMs = 2000;

/** As a kubelet names its node where it is not told. */
const clusterOf = ({ nodeName = hostname().toLowerCase(), ...rest }: NonNullable<DaemonConfig['network']['services']['kubernetes']>) => ({
  nodeName,
  ...rest,
});

export function openBalancing({ root, state, network: { services, overlay } }: DaemonConfig, paths: HostPaths, log: Logger): Balancing {
  const { backend: balancer, folder, kubernetes } = services;
  const databasePath = join(root, 'network.db');
  // A cluster, or a network that spans hosts, that this host is no longer part of.
  const ended = [...(kubernetes === undefined ? ['kubernetes'] : []), ...(overlay === undefined ? ['overlay'] : [])];
  // It may lie on a file server: neither this thread nor that of services waits for one.
  let following: Promise<NetworkFolders> | undefined;
  const followed = (): Promise<NetworkFolders> => {
    following ??= followNetworkFolders({
      folders: folder === '' ? [] : [folder],
      copies: join(state, 'service-folders'),
      paths,
      log,
    }).catch((thrown: unknown) => {
      following = undefined;
      throw thrown;
    });
    return following;
  };
  let starting: Promise<Services> | undefined;
  let closed = false;
  let told = '';

  const begin = async (): Promise<Services> => {
    const { gates } = await followed();
    return startServices({ databasePath, balancer, folder, gates, ...(kubernetes && { kubernetes: clusterOf(kubernetes) }), ended }, log);
  };
  const start = (): Promise<Services> => {
    starting ??= begin().catch((thrown: unknown) => {
      starting = undefined;
      throw thrown;
    });
    return starting;
  };
  const isDone = (): boolean => starting !== undefined || closed;
  const look = async (): Promise<void> => {
    if (isDone()) return;
    const { gates } = await followed();
    if (isDone() || (kubernetes === undefined && !hasServices(databasePath, folder, gates))) return;
    await start();
  };
  const failed = (thrown: unknown): void => {
    const why = reasonOf(thrown);
    if (why !== told) log.error({ why }, 'services are not balanced; it is tried again');
    told = why;
  };
  const lookNow = (): void => void look().catch(failed);
  lookNow();
  const looking = setInterval(lookNow, lookMs);
  looking.unref();
  return {
    control: {
      put: async (...given) => (await start()).put(...given),
      replace: async (...given) => (await start()).replace(...given),
      remove: async (...given) => (await start()).remove(...given),
    },
    ask: async (question) => (await start()).ask(question),
    figures: async () => (await starting)?.figures(),
    async close() {
      closed = true;
      clearInterval(looking);
      const stop = async (): Promise<void> => {
        await (await starting?.catch(() => undefined))?.close();
        (await following?.catch(() => undefined))?.close();
      };
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, closeMs);
      await Promise.race([stop(), late.promise]);
      clearTimeout(timer);
    },
  };
}
