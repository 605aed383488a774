import { append } from '../../../base/lists/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { createCollection } from '../../../base/kubernetes/index.ts';
import type { Collection } from '../../../base/kubernetes/index.ts';
import { createDeliveredState } from './delivered-state.ts';
import type { Changes, CollectedChanges } from './delivered-state.ts';
import { localReady } from './endpoints.ts';
import { createHealthCheckPorts } from './health-check-ports.ts';
import type { HealthCheckPort } from './health-check-ports.ts';
import type { Place } from './endpoints.ts';
import { readService, readSlice } from './objects.ts';
import type { EndpointSlice, KubernetesService } from './objects.ts';
import { packService, packSlice, unpackService, unpackSlice } from './objects-as-text.ts';
import type { PackedService, PackedSlice } from './objects-as-text.ts';
import { createLimitedTranslation, portionOf, weightOf } from './service-size.ts';
import type { PairLimits } from './service-size.ts';
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
   * Returns what differs from the delivered state, and how many Kubernetes services it is about.
   * @param most the most Kubernetes services to include; absent: all. With it, the others come before large
   *   ones, and each large one comes alone
   */
  changes(most?: number): Changes & { readonly taken: number; readonly hasLarge: boolean };
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

const isOutward = ({ externalIPs, ingressIPs, ports }: KubernetesService): boolean =>
  externalIPs.length > 0 || ingressIPs.length > 0 || ports.some(({ nodePort }) => nodePort !== undefined);

export function createServiceTable(place: Place, limits?: PairLimits): ServiceTable {
  const services = new Map<string, PackedService>();
  const slices = new Map<string, PackedSlice>();
  /** Keys of slices by the key of their service. */
  const slicesOf = new Map<string, readonly string[]>();
  /** Services that may have an address for clients outside the cluster. The others have one name. */
  const outward = new Set<string>();
  const dirty = new Set<string>();
  const delivered = createDeliveredState();
  const limited = createLimitedTranslation(limits);
  const healthChecks = createHealthCheckPorts((key) => {
    // A service that is not served has no endpoints.
    const service = limited.isBeyond(key) ? undefined : serviceAt(key);
    return localReady(service ?? { clusterIPs: [] }, slicesAt(key), place.nodeName);
  });

  function putService(key: string, service: KubernetesService | undefined): void {
    if (service === undefined) services.delete(key);
    else services.set(key, packService(service));
    if (service !== undefined && isOutward(service)) outward.add(key);
    else outward.delete(key);
    healthChecks.put(key, service);
    touch(key);
    if (service === undefined) limited.forget(key);
  }

  function touch(key: string): void {
    dirty.add(key);
    limited.changed(key);
    healthChecks.changed(key);
  }

  const serviceAt = (key: string): KubernetesService | undefined => {
    const text = services.get(key);
    return text === undefined ? undefined : unpackService(text);
  };
  const slicesAt = (key: string): EndpointSlice[] =>
    (slicesOf.get(key) ?? []).map((each) => unpackSlice(slices.get(each) ?? ''));
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

  const weightAt = (key: string): number =>
    weightOf(
      services.get(key) ?? '',
      (slicesOf.get(key) ?? []).map((each) => slices.get(each) ?? ''),
    );
  function take(key: string, changes: CollectedChanges): void {
    dirty.delete(key);
    const service = serviceAt(key);
    const now =
      service &&
      limited.translate(
        key,
        () => translate(service, slicesAt(key), place),
        (other) => void dirty.add(other),
      );
    delivered.advance(key, now, changes);
    if (!limited.isBeyond(key)) return;
    healthChecks.changed(key);
    // It may be in force from before a restart, which `delivered` does not know.
    append(
      changes.remove,
      namesOf(key).filter((name) => !changes.remove.includes(name)),
    );
  }

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
      const { keys, hasLarge } = portionOf(dirty, most, weightAt);
      for (const key of keys) take(key, changes);
      return { ...changes, taken: keys.length, hasLarge };
    },
    pending: () => dirty.size,
    healthChecks: healthChecks.list,
    size: () => ({ services: services.size, slices: slices.size }),
  };
}
