import { isIP } from 'node:net';
import { PortcullisError, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { giveMemoryBack } from '../memory.ts';
import type { PortionControl } from '../model.ts';
import { createApiClient } from './api-client.ts';
import { createDelivery, usualDelivery } from './deliver.ts';
import type { DeliverTiming } from './deliver.ts';
import { follow, usualTiming } from './follow.ts';
import type { FollowTiming, Follower } from './follow.ts';
import { openHealthChecks } from './health-checks.ts';
import { readKubeconfig } from './kubeconfig.ts';
import type { ApiAccess } from './kubeconfig.ts';
import { labelSelector } from './objects.ts';
import { createServiceTable } from './table.ts';
import type { Collection } from './table.ts';

/** Which cluster, and who we are in it. */
export interface KubernetesPlace {
  /** Read again for each request, with the files that it names. */
  readonly kubeconfig: string;
  /** As the cluster knows this node: `Local` traffic policies and hints are about it. */
  readonly nodeName: string;
  /** Label topology.kubernetes.io/zone of the node; absent: hints for zones are not followed. */
  readonly zone?: string;
  /** Prefixes: of `externalIPs` only these are served; empty: none. Absent: any, as with kube-proxy. */
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
  /** Everything that the cluster had at the start stands. Rejects when it was closed before. */
  readonly synced: Promise<void>;
  figures(): KubernetesFigures;
  close(): Promise<void>;
}

/** Since the start, and now. */
export interface KubernetesFigures {
  /** Everything that the cluster had at the start stands. */
  readonly synced: boolean;
  readonly services: number;
  readonly slices: number;
  readonly refused: number;
  readonly events: number;
  readonly lists: number;
  /** Attempts that failed. */
  readonly failures: number;
  /** Undefined: both collections are watched. Else why one is not. */
  readonly away?: string;
}

/**
 * Follows Services and EndpointSlices of a cluster and brings what they mean on this node to `control`, as kube-proxy would. Never ends by
 * itself: what fails is logged when it begins and when it is over, and services stand as they were meanwhile.
 */
export function watchKubernetesServices(options: KubernetesServicesOptions): KubernetesServices {
  const { kubeconfig, nodeName, zone, externalIPs, control, log } = options;
  const timing = { ...usualTiming, ...usualDelivery, ...options.timing };
  const ended = new AbortController();
  const signal = options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal]);
  /** Of the API server, as the kubeconfig had it last. */
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
    const read = await readKubeconfig(kubeconfig);
    const host = read.server.hostname.replace(/^\[(.*)\]$/u, '$1');
    apiServer = isIP(host) === 0 ? [] : [host];
    return read;
  };
  const client = createApiClient(access, 'portcullis');
  const healthChecks = openHealthChecks(log);
  const figures = { synced: false, events: 0, lists: 0, failures: 0 };
  const away = new Map<string, string>();

  const { promise: synced, resolve, reject } = Promise.withResolvers<undefined>();
  // Whoever does not wait is not told.
  synced.catch(() => undefined);
  const delivery = createDelivery(
    table,
    control,
    log,
    () => {
      if (!figures.synced) log.info(table.size(), 'the services of the cluster stand');
      figures.synced = true;
      resolve(undefined);
      healthChecks.serve(table.healthChecks());
    },
    timing,
  );

  function follower(name: string, collection: Collection): Follower {
    const reached = (): void => {
      if (away.delete(name)) log.info({ watched: name }, 'the API server is watched again');
    };
    return {
      begin: collection.begin,
      listed: collection.listed,
      paged: giveMemoryBack,
      complete() {
        figures.lists++;
        collection.complete();
        delivery.poke();
      },
      reached,
      changed(object) {
        figures.events++;
        collection.changed(object);
        delivery.poke();
      },
      removed(object) {
        figures.events++;
        collection.removed(object);
        delivery.poke();
      },
      failed(thrown, listing) {
        figures.failures++;
        const why = reasonOf(thrown);
        const told = isPortcullisError(thrown) ? { code: thrown.code, on: thrown.failure.on, fix: thrown.failure.fix } : {};
        // Each reason once, however often it is tried.
        if (away.get(name) !== why) log.warn({ watched: name, why, ...told, listing }, 'the API server is not watched; it is asked again');
        away.set(name, why);
      },
    };
  }

  const query = { labelSelector };
  const following = [
    follow(client, { path: '/api/v1/services', query }, follower('services', table.services), signal, timing),
    follow(client, { path: '/apis/discovery.k8s.io/v1/endpointslices', query }, follower('endpointslices', table.slices), signal, timing),
  ];
  // Handed over before the last word: nobody waits for ever.
  const whenEnded = Promise.all(following).then(() => {
    delivery.close();
    client.close();
    reject(
      new PortcullisError({
        code: 'NETWORK_API_UNREACHABLE',
        kind: 'cancelled',
        attempted: 'follow the services of Kubernetes',
        on: kubeconfig,
        why: 'it was ended before everything had come',
        fix: 'start it again',
      }),
    );
    return healthChecks.close();
  });

  return {
    synced,
    figures: () => {
      const [why] = away.values();
      return { ...figures, ...table.size(), refused: delivery.refused().length, ...(why !== undefined && { away: why }) };
    },
    async close() {
      ended.abort();
      await whenEnded;
    },
  };
}
