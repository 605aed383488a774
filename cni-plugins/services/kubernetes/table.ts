import { createHash } from 'node:crypto';
import type { Service } from '../model.ts';
import { nameOf, readService, readSlice } from './objects.ts';
import type { EndpointSlice, KubernetesService } from './objects.ts';
import { localReady, namesOf, translate } from './translate.ts';
import type { Place } from './translate.ts';

/** Services and slices as the API last said them, and what of it was not yet told on. No effects. */
export interface ServiceTable {
  readonly services: Collection;
  readonly slices: Collection;
  /** Both lists came, at least once. */
  complete(): boolean;
  /** All there is; from now on changes are told relative to it. */
  all(): Changes;
  /** What differs from what was told before. */
  changes(): Changes;
  /** Something came since then; it may turn out to be no difference. */
  stale(): boolean;
  /** Ports at which load balancers ask, and what each is to be told. */
  healthChecks(): readonly HealthCheckPort[];
  size(): { readonly services: number; readonly slices: number };
}

/** The side of one collection of the API; objects as it sends them. */
export interface Collection {
  begin(): void;
  listed(object: unknown): void;
  complete(): void;
  changed(object: unknown): void;
  removed(object: unknown): void;
}

export interface Changes {
  readonly put: readonly Service[];
  /** Names of services. */
  readonly remove: readonly string[];
  /** By Kubernetes' name: what is asked for and not done, where that is new. */
  readonly notes: ReadonlyMap<string, readonly string[]>;
}

export interface HealthCheckPort {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  readonly localEndpoints: number;
}

/** 48 bits of SHA-1: another state of the same service has another one. */
const digestOf = (service: Service): number => createHash('sha1').update(JSON.stringify(service)).digest().readUIntBE(0, 6);

export function createServiceTable(place: Place): ServiceTable {
  const services = new Map<string, KubernetesService>();
  const slicesOf = new Map<string, Map<string, EndpointSlice>>();
  const ownerOf = new Map<string, string>();
  const dirty = new Set<string>();
  /** Digests of what was told, by our names, and notes by Kubernetes'. */
  const told = new Map<string, number>();
  const noted = new Map<string, string>();

  function putService(key: string, service: KubernetesService | undefined): void {
    if (service === undefined) services.delete(key);
    else services.set(key, service);
    dirty.add(key);
  }

  function putSlice(key: string, slice: EndpointSlice | undefined): void {
    const before = ownerOf.get(key);
    const now = slice && `${slice.namespace}/${slice.service}`;
    if (before !== undefined && before !== now) {
      const rest = slicesOf.get(before);
      rest?.delete(key);
      if (rest?.size === 0) slicesOf.delete(before);
      ownerOf.delete(key);
    }
    if (before !== undefined) dirty.add(before);
    if (slice === undefined || now === undefined) return;
    ownerOf.set(key, now);
    const slices = slicesOf.get(now) ?? new Map<string, EndpointSlice>();
    slicesOf.set(now, slices.set(key, slice));
    dirty.add(now);
  }

  function collection<T>(
    read: (object: unknown) => T | undefined,
    known: () => Iterable<string>,
    put: (key: string, one: T | undefined) => void,
  ) {
    // Listed objects count at once; what the finished list did not have goes then. A broken-off list changes nothing for the worse.
    let missing = new Set<string>();
    let came = false;
    const changed = (object: unknown): void => {
      const key = nameOf(object);
      if (key === undefined) return;
      missing.delete(key);
      put(key, read(object));
    };
    return {
      begin: () => void (missing = new Set(known())),
      listed: changed,
      complete() {
        for (const key of missing) put(key, undefined);
        missing = new Set();
        came = true;
      },
      changed,
      removed(object: unknown) {
        const key = nameOf(object);
        if (key !== undefined) put(key, undefined);
      },
      came: () => came,
    };
  }
  const ofServices = collection(readService, () => services.keys(), putService);
  const ofSlices = collection(readSlice, () => ownerOf.keys(), putSlice);

  /** Of one service of Kubernetes. */
  function say(key: string, put: Service[], remove: string[], notes: Map<string, readonly string[]>): void {
    const service = services.get(key);
    const now = service && translate(service, slicesOf.get(key)?.values() ?? [], place);
    for (const one of now?.services ?? []) {
      const digest = digestOf(one);
      if (told.get(one.name) !== digest) put.push(one);
      told.set(one.name, digest);
    }
    for (const name of namesOf(key)) if (now?.services.some((one) => one.name === name) !== true && told.delete(name)) remove.push(name);
    const said = now?.notes.join('; ') ?? '';
    if (now !== undefined && said !== (noted.get(key) ?? '')) notes.set(key, now.notes);
    if (said === '') noted.delete(key);
    else noted.set(key, said);
  }

  function take(keys: Iterable<string>): Changes {
    const put: Service[] = [];
    const remove: string[] = [];
    const notes = new Map<string, readonly string[]>();
    for (const key of keys) say(key, put, remove, notes);
    dirty.clear();
    return { put, remove, notes };
  }

  return {
    services: ofServices,
    slices: ofSlices,
    complete: () => ofServices.came() && ofSlices.came(),
    all() {
      told.clear();
      noted.clear();
      return take(services.keys());
    },
    changes: () => take([...dirty]),
    stale: () => dirty.size > 0,
    healthChecks: () =>
      [...services].flatMap(([key, { namespace, name, healthCheckNodePort }]) =>
        healthCheckNodePort === undefined
          ? []
          : [{ port: healthCheckNodePort, namespace, name, localEndpoints: localReady(slicesOf.get(key)?.values() ?? [], place.nodeName) }],
      ),
    size: () => ({ services: services.size, slices: ownerOf.size }),
  };
}
