import { isIP } from 'node:net';
import { PortcullisError } from '../../../base/errors/index.ts';
import type { PortionControl } from '../model/model.ts';
import { createApiClient, follow, readApiAccess, usualTiming } from '../../../base/kubernetes/index.ts';
import type { ApiAccess, ApiPlace, FollowTiming } from '../../../base/kubernetes/index.ts';
import { createDelivery, usualDelivery } from './deliver.ts';
import type { DeliverTiming } from './deliver.ts';
import { createFollower } from './follower.ts';
import type { FollowerDeps } from './follower.ts';
import { openHealthChecks } from './health-checks.ts';
import { labelSelector } from './objects.ts';
import { createServiceTable } from './table.ts';

/** The cluster to follow, and the node's identity in it. */
export interface KubernetesPlace {
  /** Read again for each request, with the files that it names. */
  readonly place: ApiPlace;
  /** The cluster's name for this node. `Local` traffic policies and hints refer to it. */
  readonly nodeName: string;
  /** The node's label topology.kubernetes.io/zone. Absent: zone hints are not followed. */
  readonly zone?: string;
  /** Prefixes. Only `externalIPs` in them are served; empty: none. Absent: any, as in kube-proxy. */
  readonly externalIPs?: readonly string[];
}

export interface KubernetesServicesOptions extends KubernetesPlace {
  readonly control: PortionControl;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly signal?: AbortSignal;
  readonly timing?: Partial<FollowTiming & DeliverTiming>;
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
  const { place, nodeName, zone, externalIPs, control, log } = options;
  const timing = { ...usualTiming, ...usualDelivery, ...options.timing };
  const ended = new AbortController();
  const signal =
    options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal]);
  /** Addresses of the API server, from the last kubeconfig that was read. */
  let apiServer: readonly string[] = [];
  const table = createServiceTable({
    nodeName,
    ...(zone !== undefined && { zone }),
    ...(externalIPs !== undefined && { externalRanges: externalIPs }),
    get reserved() {
      return apiServer;
    },
  });
  const access = async (): Promise<ApiAccess> => {
    const read = await readApiAccess(place);
    const hosts = [read.server, ...(read.others ?? [])].map(({ hostname }) =>
      hostname.replace(/^\[(.*)\]$/u, '$1'),
    );
    apiServer = hosts.filter((host) => isIP(host) !== 0);
    return read;
  };
  const client = createApiClient(access, {
    userAgent: 'portcullis',
    rights:
      'list and watch services and endpointslices.discovery.k8s.io (ClusterRole system:node-proxier does)',
    meanwhile: 'services stay as they are',
  });
  const healthChecks = openHealthChecks(log);
  const figures = { synced: false, events: 0, lists: 0, failures: 0 };
  const away = new Map<string, string>();

  const { promise: synced, resolve, reject } = Promise.withResolvers<undefined>();
  // A caller that does not wait is not notified.
  synced.catch(() => undefined);
  const delivery = createDelivery(
    table,
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

  const query = { labelSelector };
  const feeding: FollowerDeps = { figures, away, log, delivery };
  const following = [
    follow(
      client,
      { path: '/api/v1/services', query },
      createFollower('services', table.services, feeding),
      signal,
      timing,
    ),
    follow(
      client,
      { path: '/apis/discovery.k8s.io/v1/endpointslices', query },
      createFollower('endpointslices', table.slices, feeding),
      signal,
      timing,
    ),
  ];
  // The last state is delivered before `synced` settles, so that no caller waits forever.
  const whenEnded = Promise.all(following).then(() => {
    delivery.close();
    client.close();
    reject(
      new PortcullisError({
        code: 'KUBERNETES_API_UNREACHABLE',
        kind: 'cancelled',
        attempted: 'follow the services of Kubernetes',
        on: place.kubeconfig ?? 'the service account of the pod',
        why: 'it was closed before all services had arrived',
        fix: 'start it again',
      }),
    );
    return healthChecks.close();
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
