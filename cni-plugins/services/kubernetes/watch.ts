import { PortcullisError } from '../../../base/errors/index.ts';
import type { PortionControl } from '../model/model.ts';
import {
  createApiClient,
  follow,
  followOptional,
  isServiceAddress,
  readApiAccess,
  usualTiming,
} from '../../../base/kubernetes/index.ts';
import type {
  ApiAccess,
  ApiClient,
  ApiPlace,
  Collection,
  FollowTiming,
} from '../../../base/kubernetes/index.ts';
import { createApiAddresses } from './api-addresses.ts';
import type { LookUp } from './api-addresses.ts';
import { createDelivery, usualDelivery } from './deliver.ts';
import type { DeliverTiming } from './deliver.ts';
import { createFollower } from './follower.ts';
import type { FollowerDeps } from './follower.ts';
import { openHealthChecks } from './health-checks.ts';
import { serviceFields, sliceFields } from './message-fields.ts';
import { labelSelector } from './objects.ts';
import { createNodePlace } from './node-location.ts';
import { ownAddresses } from './node-port-addresses.ts';
import type { NodePlace } from './node-location.ts';
import { openProxyHealth } from './proxy-health.ts';
import { createServiceRanges } from './service-ranges.ts';
import { createServiceTable } from './table.ts';
import type { ServiceTable } from './table.ts';

/** Services whose changes wait for longer than this are not served as they should be (kube-proxy's time). */
const staleMs = 60_000;

/** The cluster to follow, and the node's identity in it. */
export interface KubernetesPlace {
  /** Read again for each request, with the files that it names. */
  readonly place: ApiPlace;
  /** The cluster's name for this node. `Local` traffic policies and hints refer to it. */
  readonly nodeName: string;
  /** The node's zone. Absent: the label topology.kubernetes.io/zone of the Node object. */
  readonly zone?: string;
  /** Prefixes. Only `externalIPs` in them are served; empty: none. Absent: any, as in kube-proxy. */
  readonly externalIPs?: readonly string[];
  /** `primary` alone, or prefixes: the addresses of this host at which node ports are served. Absent: all. */
  readonly nodePortAddresses?: readonly string[];
  /** The prefixes of the pods of this node. Absent: `spec.podCIDRs` of the Node object. */
  readonly podRanges?: readonly string[];
  /**
   * The address at which this node answers names. No Service is served at it, because its author could then
   * answer names.
   */
  readonly nameServer?: string;
  /** The address of the health endpoint of services: `0.0.0.0:10256`. Absent: it is not served. */
  readonly health?: { readonly address: string; readonly port: number };
}

export interface KubernetesServicesOptions extends KubernetesPlace {
  readonly control: PortionControl;
  /**
   * Called with the prefixes from which the cluster allots addresses to Services, when they are known and
   * when they differ. A cluster before Kubernetes 1.33 has no list of them: empty.
   */
  readonly onRanges?: (prefixes: readonly string[]) => void;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly signal?: AbortSignal;
  readonly timing?: Partial<FollowTiming & DeliverTiming>;
  /** Looks up names of API servers; other than the host's resolver in tests only. */
  readonly lookUp?: LookUp;
}

export interface KubernetesServices {
  /**
   * Resolves when everything that the cluster had at the start is in force. Rejects if it was closed before.
   */
  readonly synced: Promise<void>;
  figures(): KubernetesFigures;
  close(): Promise<void>;
}

/** Counters since the start, and current values. */
export interface KubernetesFigures {
  /** Everything that the cluster had at the start is in force. */
  readonly synced: boolean;
  readonly services: number;
  readonly slices: number;
  readonly refused: number;
  readonly events: number;
  readonly lists: number;
  /** Failed attempts. */
  readonly failures: number;
  /** Undefined: both collections are watched. Otherwise the reason why one is not. */
  readonly away?: string;
}

/**
 * Follows Services and EndpointSlices of a cluster, and brings their meaning for this node to `control`, as
 * kube-proxy would. Never ends by itself. A failure is logged when it begins and when it is over, and
 * meanwhile the services stay as they are.
 */
export function watchKubernetesServices(options: KubernetesServicesOptions): KubernetesServices {
  const { place, nodeName, externalIPs, control, log } = options;
  const timing = { ...usualTiming, ...usualDelivery, ...options.timing };
  const ended = new AbortController();
  const signal =
    options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal]);
  /** The addresses of the API servers that the last kubeconfig names. */
  const apiServer = createApiAddresses(() => {
    table.placeChanged();
    ranges.look();
    delivery.poke();
  }, options.lookUp);
  /** The address of the API server is that of the Service `kubernetes`. */
  let isAskedByService = false;
  const node = createNodePlace({
    nodeName,
    asked: options.nodePortAddresses,
    changed(differs) {
      if (differs) table.placeChanged();
      ranges.look();
      delivery.poke();
    },
  });
  const table = createServiceTable({
    nodeName,
    get zone() {
      return options.zone ?? node.zone();
    },
    get nodePortAddresses() {
      return node.nodePortAddresses();
    },
    get nodeAddresses() {
      return node.addresses();
    },
    get podRanges() {
      return options.podRanges ?? node.podRanges();
    },
    ...(externalIPs !== undefined && { externalRanges: externalIPs }),
    get reserved() {
      return [...apiServer.all(), ...(options.nameServer === undefined ? [] : [options.nameServer])];
    },
  });
  const access = async (): Promise<ApiAccess> => {
    const read = await readApiAccess(place);
    await apiServer.note([read.server, ...(read.others ?? [])]);
    isAskedByService = isServiceAddress(read);
    return read;
  };
  const client = createApiClient(access, {
    userAgent: 'portcullis',
    rights:
      'list and watch services, nodes, endpointslices.discovery.k8s.io and servicecidrs.networking.k8s.io (ClusterRole system:node-proxier does)',
    meanwhile: 'services stay as they are',
  });
  const figures = { synced: false, events: 0, lists: 0, failures: 0 };
  const isHealthy = (): boolean =>
    figures.synced && performance.now() - (delivery.waitingSince() ?? Infinity) < staleMs;
  const healthChecks = openHealthChecks(log, isHealthy);
  const health =
    options.health &&
    openProxyHealth({
      ...options.health,
      isHealthy,
      isEligible: node.isEligible,
      log,
    });
  const away = new Map<string, string>();

  const { promise: synced, resolve, reject } = Promise.withResolvers<undefined>();
  // A caller that does not wait is not notified.
  synced.catch(() => undefined);
  const delivery = createDelivery(
    { ...table, complete: () => table.complete() && node.isSettled() },
    control,
    log,
    () => {
      if (!figures.synced) log.info(table.size(), 'the services of the cluster are in force');
      figures.synced = true;
      resolve(undefined);
      healthChecks.serve(table.healthChecks());
    },
    timing,
  );

  const feeding: FollowerDeps = { figures, away, log, delivery };
  const ranges = followRanges(options, () =>
    node.isSettled()
      ? [...(isAskedByService ? [] : apiServer.all()), ...node.addresses(), ...ownAddresses()]
      : undefined,
  );
  const following = followCollections({ client, nodeName, node, table, ranges, feeding, signal, timing });
  // The last state is delivered before `synced` settles, so that no caller waits forever.
  const whenEnded = Promise.all(following).then(() => {
    node.close();
    ranges.close();
    delivery.close();
    client.close();
    reject(closedBeforeSync(place.kubeconfig));
    return Promise.all([healthChecks.close(), health?.close()]).then(() => undefined);
  });

  return {
    synced,
    figures: () => {
      const [why] = away.values();
      return {
        ...figures,
        ...table.size(),
        refused: delivery.refused().length,
        ...(why !== undefined && { away: why }),
      };
    },
    async close() {
      ended.abort();
      await whenEnded;
    },
  };
}

/** How often the addresses of the host and of the API server are compared with the ranges. */
const rangesMs = 5000;

/** Prefixes that are left out, in one line of the log. */
const mostLogged = 16;

interface FollowedRanges {
  readonly collection: Collection;
  /** Compares the ranges with the reserved addresses now. */
  look(): void;
  close(): void;
}

/**
 * Calls `onRanges` when the ranges of cluster addresses are known and when they differ. A prefix counts only
 * while none of the reserved addresses is in it.
 * @param reserved returns undefined while these are not known
 */
function followRanges(
  { onRanges, log }: Pick<KubernetesServicesOptions, 'log' | 'onRanges'>,
  reserved: () => readonly string[] | undefined,
): FollowedRanges {
  let [logged, reported]: [string, string | undefined] = ['', undefined];
  const look = (): void => {
    const addresses = ranges.collection.came() ? reserved() : undefined;
    if (addresses === undefined) return;
    const { prefixes, left } = ranges.prefixes(addresses);
    const why = left.slice(0, mostLogged).join('; ');
    if (why !== logged && why !== '')
      log.warn(
        { why },
        'some prefixes of ServiceCIDR objects are ignored: their cluster addresses that no Service has are not blocked',
      );
    logged = why;
    if (prefixes.join() === reported) return;
    reported = prefixes.join();
    onRanges?.(prefixes);
  };
  const ranges = createServiceRanges(look);
  const looking = setInterval(look, rangesMs);
  looking.unref();
  return { collection: ranges.collection, look, close: () => clearInterval(looking) };
}

/**
 * Services are served without the ranges, so these count in no figure. A server that cannot be reached is
 * logged for the other collections. A role that lacks the right to list them is logged here.
 */
const rangesFeeding = ({ log }: FollowerDeps): FollowerDeps => ({
  figures: { events: 0, lists: 0, failures: 0 },
  away: new Map(),
  log: {
    info: () => undefined,
    warn(fields, message) {
      if ('code' in fields && fields.code === 'KUBERNETES_API_REFUSED') log.warn(fields, message);
    },
  },
  delivery: { poke: () => undefined },
});

/** Begins to follow the Node object of this node, and the Services and EndpointSlices of the cluster. */
function followCollections({
  client,
  nodeName,
  node,
  table,
  ranges,
  feeding,
  signal,
  timing,
}: {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly node: NodePlace;
  readonly table: ServiceTable;
  readonly ranges: FollowedRanges;
  readonly feeding: FollowerDeps;
  readonly signal: AbortSignal;
  readonly timing: FollowTiming;
}): Promise<void>[] {
  const query = { labelSelector };
  return [
    follow(
      client,
      { path: '/api/v1/nodes', query: { fieldSelector: `metadata.name=${nodeName}` } },
      createFollower('nodes', node.collection, { ...feeding, missed: node.settle }),
      signal,
      timing,
    ),
    follow(
      client,
      { path: '/api/v1/services', query, fields: serviceFields },
      createFollower('services', table.services, feeding),
      signal,
      timing,
    ),
    follow(
      client,
      { path: '/apis/discovery.k8s.io/v1/endpointslices', query, fields: sliceFields },
      createFollower('endpointslices', table.slices, feeding),
      signal,
      timing,
    ),
    followOptional(
      client,
      { versions: ['/apis/networking.k8s.io/v1'], resource: 'servicecidrs' },
      createFollower('servicecidrs', ranges.collection, rangesFeeding(feeding)),
      signal,
    ),
  ];
}

function closedBeforeSync(kubeconfig: string | undefined): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_API_UNREACHABLE',
    kind: 'cancelled',
    attempted: 'follow the Kubernetes services',
    on: kubeconfig ?? 'the service account of the pod',
    why: 'the watch was closed before all services had arrived',
    fix: 'start it again',
  });
}
