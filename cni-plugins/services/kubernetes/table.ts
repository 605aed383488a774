import { hash } from 'node:crypto';
import { parseJson } from '../../../base/json/index.ts';
import { append } from '../../../base/lists/index.ts';
import { givingMemoryBack } from '../memory.ts';
import type { Service } from '../model.ts';
import { localReady } from './endpoints.ts';
import type { Place } from './endpoints.ts';
import { nameOf, readService, readSlice } from './objects.ts';
import type { EndpointSlice, KubernetesService } from './objects.ts';
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
  tellAnew(): readonly string[];
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
  /** Returns the ports at which load balancers ask, and the answer for each. */
  healthChecks(): readonly HealthCheckPort[];
  size(): { readonly services: number; readonly slices: number };
}

/** The input for one collection of the API, with objects as the API sends them. */
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
  /** By Kubernetes name: new notes about what a Service asks for and does not get. */
  readonly notes: ReadonlyMap<string, readonly string[]>;
}

export interface HealthCheckPort {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  readonly localEndpoints: number;
}

/** 48 bits of SHA-1: a digest that changes with the service's content. */
const digestOf = (service: Service): number => hash('sha1', JSON.stringify(service), 'buffer').readUIntBE(0, 6);

export function createServiceTable(place: Place): ServiceTable {
  // As JSON: there are thousands of objects, and few change. As objects they would take five times as much.
  const services = new Map<string, string>();
  const slices = new Map<string, string>();
  /** Keys of slices by the key of their service. */
  const slicesOf = new Map<string, readonly string[]>();
  const checked = new Map<string, Omit<HealthCheckPort, 'localEndpoints'>>();
  const dirty = new Set<string>();
  /** Digests of what was delivered, by our names, and notes by Kubernetes names. */
  const told = new Map<string, number>();
  const noted = new Map<string, string>();

  function putService(key: string, service: KubernetesService | undefined): void {
    if (service === undefined) services.delete(key);
    else services.set(key, JSON.stringify(service));
    if (service?.healthCheckNodePort === undefined) checked.delete(key);
    else checked.set(key, { port: service.healthCheckNodePort, namespace: service.namespace, name: service.name });
    dirty.add(key);
  }

  const serviceAt = (key: string): KubernetesService | undefined => {
    const text = services.get(key);
    return text === undefined ? undefined : (parseJson(text) as KubernetesService);
  };
  const slicesAt = (key: string): EndpointSlice[] =>
    (slicesOf.get(key) ?? []).map((each) => parseJson(slices.get(each) ?? '') as EndpointSlice);
  const ownerOf = ({ namespace, service }: EndpointSlice): string => `${namespace}/${service}`;

  function putSlice(key: string, slice: EndpointSlice | undefined): void {
    const former = slices.get(key);
    const before = former && ownerOf(parseJson(former) as EndpointSlice);
    const now = slice && ownerOf(slice);
    if (slice === undefined) slices.delete(key);
    else slices.set(key, JSON.stringify(slice));
    for (const owner of [before, now]) if (owner !== undefined) dirty.add(owner);
    if (before === now) return;
    if (before !== undefined) {
      const rest = (slicesOf.get(before) ?? []).filter((each) => each !== key);
      if (rest.length === 0) slicesOf.delete(before);
      else slicesOf.set(before, rest);
    }
    if (now !== undefined) slicesOf.set(now, [...(slicesOf.get(now) ?? []), key]);
  }

  function collection<T>(
    read: (object: unknown) => T | undefined,
    known: () => Iterable<string>,
    put: (key: string, one: T | undefined) => void,
  ) {
    // Listed objects count at once. Objects that are missing from the list go when the list is complete, so
    // an interrupted list does no harm.
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
  const ofSlices = collection(readSlice, () => slices.keys(), putSlice);

  /** Adds the changes of one Kubernetes service. */
  function say(key: string, put: Service[], remove: string[], notes: Map<string, readonly string[]>): void {
    const service = serviceAt(key);
    const now = service && translate(service, slicesAt(key), place);
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

  return {
    services: ofServices,
    slices: ofSlices,
    complete: () => ofServices.came() && ofSlices.came(),
    tellAnew() {
      told.clear();
      noted.clear();
      dirty.clear();
      const names: string[] = [];
      for (const key of givingMemoryBack(services.keys())) {
        dirty.add(key);
        const service = serviceAt(key);
        if (service !== undefined)
          append(
            names,
            translate(service, [], place).services.map(({ name }) => name),
          );
      }
      return names;
    },
    changes(most = Infinity) {
      const put: Service[] = [];
      const remove: string[] = [];
      const notes = new Map<string, readonly string[]>();
      let left = most;
      for (const key of dirty) {
        if (left === 0) break;
        left -= 1;
        dirty.delete(key);
        say(key, put, remove, notes);
      }
      return { put, remove, notes };
    },
    pending: () => dirty.size,
    healthChecks: () => [...checked].map(([key, port]) => ({ ...port, localEndpoints: localReady(slicesAt(key), place.nodeName) })),
    size: () => ({ services: services.size, slices: slices.size }),
  };
}
