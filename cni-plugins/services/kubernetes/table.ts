import { append } from '../../../base/lists/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { createCollection } from '../../../base/kubernetes/index.ts';
import type { Collection } from '../../../base/kubernetes/index.ts';
import { createDeliveredState } from './delivered-state.ts';
import type { Changes, CollectedChanges } from './delivered-state.ts';
import { localReady } from './endpoints.ts';
import type { Place } from './endpoints.ts';
import { readService, readSlice } from './objects.ts';
import type { EndpointSlice, KubernetesService } from './objects.ts';
import { packService, packSlice, unpackService, unpackSlice } from './objects-as-text.ts';
import type { PackedService, PackedSlice } from './objects-as-text.ts';
import { namesOf, translate } from './translate.ts';

/**
 * Services and slices as the API last sent them, and which of their changes were not delivered yet. No side
 * effects.
 */
export interface ServiceTable {
  readonly services: Collection;
  readonly slices: Collection;
  /** Whether both lists have arrived at least once. */
  complete(): boolean;
  /** Marks everything as not delivered. Returns the names of all services that exist. */
  markAllUndelivered(): readonly string[];
  /**
   * The place has changed: every service is translated again. Services without a difference are not
   * delivered.
   */
  placeChanged(): void;
  /**
   * Returns what differs from the delivered state.
   * @param most the most Kubernetes services to include; absent: all
   */
  changes(most?: number): Changes;
  /**
   * Returns how many Kubernetes services have undelivered events. An event may turn out to make no
   * difference.
   */
  pending(): number;
  /**
   * Returns the ports at which load balancers ask, and the answer for each. If none differs, it is the same
   * list.
   */
  healthChecks(): readonly HealthCheckPort[];
  size(): { readonly services: number; readonly slices: number };
}

export interface HealthCheckPort {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  readonly localEndpoints: number;
}

const isOutward = ({ externalIPs, ingressIPs, ports }: KubernetesService): boolean =>
  externalIPs.length > 0 || ingressIPs.length > 0 || ports.some(({ nodePort }) => nodePort !== undefined);

export function createServiceTable(place: Place): ServiceTable {
  const services = new Map<string, PackedService>();
  const slices = new Map<string, PackedSlice>();
  /** Keys of slices by the key of their service. */
  const slicesOf = new Map<string, readonly string[]>();
  /** Services that may have an address for clients outside the cluster. The others have one name. */
  const outward = new Set<string>();
  /** The endpoints of this node by the key of their service, since it last changed. */
  const localEndpoints = new Map<string, number>();
  const checked = new Map<string, Omit<HealthCheckPort, 'localEndpoints'>>();
  /** Undefined: an answer may have changed. */
  let healthChecks: readonly HealthCheckPort[] | undefined;
  const dirty = new Set<string>();
  const delivered = createDeliveredState();

  function putService(key: string, service: KubernetesService | undefined): void {
    if (service === undefined) services.delete(key);
    else services.set(key, packService(service));
    if (service !== undefined && isOutward(service)) outward.add(key);
    else outward.delete(key);
    if (service?.healthCheckNodePort !== undefined) {
      checked.set(key, {
        port: service.healthCheckNodePort,
        namespace: service.namespace,
        name: service.name,
      });
      healthChecks = undefined;
    } else if (checked.delete(key)) healthChecks = undefined;
    touch(key);
  }

  /** Every event is a change, so the endpoints that were counted before it are no longer valid. */
  function touch(key: string): void {
    dirty.add(key);
    if (localEndpoints.delete(key)) healthChecks = undefined;
  }

  const serviceAt = (key: string): KubernetesService | undefined => {
    const text = services.get(key);
    return text === undefined ? undefined : unpackService(text);
  };
  const slicesAt = (key: string): EndpointSlice[] =>
    (slicesOf.get(key) ?? []).map((each) => unpackSlice(slices.get(each) ?? ''));
  const localEndpointsOf = (key: string): number => {
    const count = localEndpoints.get(key) ?? localReady(slicesAt(key), place.nodeName);
    localEndpoints.set(key, count);
    return count;
  };
  const ownerOf = ({ namespace, service }: EndpointSlice): string => `${namespace}/${service}`;

  function putSlice(key: string, slice: EndpointSlice | undefined): void {
    const former = slices.get(key);
    const before = former && ownerOf(unpackSlice(former));
    const now = slice && ownerOf(slice);
    if (slice === undefined) slices.delete(key);
    else slices.set(key, packSlice(slice));
    for (const owner of [before, now]) if (owner !== undefined) touch(owner);
    if (before === now) return;
    if (before !== undefined) {
      const rest = (slicesOf.get(before) ?? []).filter((each) => each !== key);
      if (rest.length === 0) slicesOf.delete(before);
      else slicesOf.set(before, rest);
    }
    if (now !== undefined) slicesOf.set(now, [...(slicesOf.get(now) ?? []), key]);
  }

  const ofServices = createCollection(readService, () => services.keys(), putService);
  const ofSlices = createCollection(readSlice, () => slices.keys(), putSlice);

  return {
    services: ofServices,
    slices: ofSlices,
    complete: () => ofServices.came() && ofSlices.came(),
    markAllUndelivered() {
      delivered.clear();
      dirty.clear();
      const names: string[] = [];
      for (const key of givingMemoryBack(services.keys())) {
        dirty.add(key);
        const service = outward.has(key) ? serviceAt(key) : undefined;
        if (service === undefined) names.push(namesOf(key)[0]);
        else
          append(
            names,
            translate(service, [], place).services.map(({ name }) => name),
          );
      }
      return names;
    },
    placeChanged() {
      for (const key of services.keys()) dirty.add(key);
    },
    changes(most = Infinity) {
      const changes: CollectedChanges = { put: [], remove: [], notes: new Map() };
      let left = most;
      for (const key of dirty) {
        if (left === 0) break;
        left -= 1;
        dirty.delete(key);
        const service = serviceAt(key);
        delivered.advance(key, service && translate(service, slicesAt(key), place), changes);
      }
      return changes;
    },
    pending: () => dirty.size,
    healthChecks: () =>
      (healthChecks ??= [...checked].map(([key, port]) => ({
        ...port,
        localEndpoints: localEndpointsOf(key),
      }))),
    size: () => ({ services: services.size, slices: slices.size }),
  };
}
