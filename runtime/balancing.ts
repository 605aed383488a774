import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { startServices } from '../cni-plugins/index.ts';
import type {
  NetworkEngine,
  ServiceControl,
  ServiceFigures,
  ServiceQuestion,
  Services,
} from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { nodeNameOf, placeOf } from './kubernetes-connection.ts';
import { followNetworkFolders } from './network-folders.ts';
import type { NetworkFolders } from './network-folders.ts';

/** The services of this host, as configured. Their thread runs only if there are services. */
export interface Balancing {
  /**
   * Asks a question of `portcullis service`; starts the thread.
   * @throws the error of the answer, or the error of the start
   */
  readonly ask: (question: ServiceQuestion) => Promise<string>;
  /**
   * For other parts of the daemon that describe services, each under its own source. The first call starts
   * the thread.
   */
  readonly control: ServiceControl;
  /** Undefined while there are no services. */
  readonly figures: () => Promise<ServiceFigures | undefined>;
  /** Stops the thread. The rules that the kernel holds stay in force. */
  close(): Promise<void>;
}

/**
 * Longer than a normal stop takes. A thread that waits for a file server ends only when that server answers.
 */
const closeMs = 10_000;
/** How often to check whether there are services now. */
const lookMs = 2000;

type NetworkConfig = DaemonConfig['network'];

/**
 * Without a kubeconfig of its own, uses the cluster of the node. Without a configured name, uses the name
 * that a kubelet gives its node by default.
 */
const clusterOf = (
  { kubeconfig, nodeName, healthAddress, ...rest }: NonNullable<NetworkConfig['services']['kubernetes']>,
  { kubernetes }: NetworkConfig,
) => ({
  ...rest,
  place: kubeconfig === undefined ? placeOf(kubernetes) : { kubeconfig },
  nodeName: nodeName ?? nodeNameOf(kubernetes),
  ...(kubernetes?.dns !== undefined && { nameServer: kubernetes.dns.address }),
  ...(healthAddress !== '' && { health: endOf(healthAddress) }),
});

/** Parses `HOST:PORT`, with an IPv6 address in brackets. */
function endOf(text: string): { readonly address: string; readonly port: number } {
  const colon = text.lastIndexOf(':');
  return { address: text.slice(0, colon).replace(/^\[(.*)\]$/u, '$1'), port: Number(text.slice(colon + 1)) };
}

const stopping = (): PortcullisError =>
  new PortcullisError({
    code: 'NETWORK_SERVICES_STOPPING',
    kind: 'unavailable',
    attempted: 'start the services',
    on: 'the daemon',
    why: 'the daemon is stopping',
    fix: 'repeat the request after its next start',
  });

/** @param engine says whether there are services: the main thread must not read a disk, which may hang */
export function openBalancing(
  { root, state, network }: DaemonConfig,
  engine: Pick<NetworkEngine, 'hasServices'>,
  paths: HostPaths,
  log: Logger,
): Balancing {
  const { services, overlay } = network;
  const { backend: balancer, folder, kubernetes } = services;
  const databasePath = join(root, 'network.db');
  // Sources that no longer apply: a cluster, or a network that spans hosts, that this host has left.
  const ended = [
    ...(kubernetes === undefined ? ['kubernetes'] : []),
    ...(overlay === undefined ? ['overlay'] : []),
  ];
  // The folder may be on a file server. Neither this thread nor the thread of services may wait for one.
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
  let reported = '';

  const begin = async (): Promise<Services> => {
    const { checkedFolders } = await followed();
    const cluster = kubernetes && { kubernetes: clusterOf(kubernetes, network) };
    const services = await startServices(
      { databasePath, balancer, folder, checkedFolders, ...cluster, ended },
      log,
    );
    reported = '';
    return services;
  };
  const start = async (): Promise<Services> => {
    // Nothing would stop a thread that starts now.
    if (closed && starting === undefined) throw stopping();
    starting ??= begin().catch((thrown: unknown) => {
      starting = undefined;
      throw thrown;
    });
    return starting;
  };
  const isDone = (): boolean => starting !== undefined || closed;
  const look = async (): Promise<void> => {
    if (isDone()) return;
    const { checkedFolders } = await followed();
    if (kubernetes === undefined && !(await engine.hasServices(folder, checkedFolders))) return;
    if (!isDone()) await start();
  };
  const failed = (thrown: unknown): void => {
    if (closed) return;
    const why = reasonOf(thrown);
    if (why !== reported) log.error({ why }, 'services could not be started; the daemon tries again');
    reported = why;
  };
  let isLooking = false;
  const lookNow = (): void => {
    // The answer to the last look is late if the disk hangs.
    if (isLooking) return;
    isLooking = true;
    void look()
      .catch(failed)
      .finally(() => (isLooking = false));
  };
  lookNow();
  const looking = setInterval(lookNow, lookMs);
  looking.unref();
  return {
    control: {
      put: async (...given) => (await start()).put(...given),
      replace: async (...given) => (await start()).replace(...given),
      remove: async (...given) => (await start()).remove(...given),
    },
    ask: async (question) => (await start()).ask(JSON.stringify(question)),
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
