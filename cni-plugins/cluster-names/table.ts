import { LRUCache } from 'lru-cache';
import { ipBytes, parseIp } from '../../base/addresses/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { createCollection } from '../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../base/kubernetes/index.ts';
import { readNamedService, readNamedSlice } from './objects.ts';
import { createOwners, mostOwners } from './owners.ts';
import type { NamedPort, NamedService, NamedSlice } from './objects.ts';

/**
 * The names of a cluster's services, as the API last sent them. No side effects. An event costs as much as
 * its service has endpoints, and a question as much as its answer.
 */
export interface ClusterNames {
  readonly services: ListedCollection;
  readonly slices: ListedCollection;
  /** Whether both lists have arrived at least once. */
  complete(): boolean;
  /** Whether a namespace has a service. */
  hasNamespace(namespace: string): boolean;
  /** Returns a service by its names in lower case. */
  service(namespace: string, name: string): NamedService | undefined;
  /** Returns the endpoints of a service that count for its names. */
  endpoints(service: NamedService): Endpoints;
  /**
   * Returns the services that have the address (canonical text), with the endpoint of a headless one, at most
   * 16. A headless service counts only if it is not a cluster address.
   */
  owners(address: string): readonly AddressOwner[];
  size(): { readonly services: number; readonly slices: number };
}

export interface Endpoints {
  /** An endpoint is there once for each of its slices, which have other ports, or the same while it moves. */
  readonly all: readonly PlacedEndpoint[];
  /** By the number of bytes of their addresses. */
  readonly byFamily: ReadonlyMap<number, readonly PlacedEndpoint[]>;
  readonly byHostname: ReadonlyMap<string, readonly PlacedEndpoint[]>;
}

export interface PlacedEndpoint {
  readonly hostname: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Those of its slice. */
  readonly ports: readonly NamedPort[];
}

export interface AddressOwner {
  readonly namespace: string;
  readonly name: string;
  /** Absent: a cluster address. */
  readonly hostname?: string;
}

/** Services whose endpoints are kept as objects. */
const remembered = 1024;
const rememberedEndpoints = 100_000;
/** Ports of services that are kept as objects. */
const rememberedPorts = 65_536;
/** The most endpoints of a service that have names. Any author of slices can write more. */
const mostEndpoints = 5000;
/** The most endpoints of a service that are read for this, ready or not. A slice counts as four. */
const mostRead = 10_000;
/** The most ports of the endpoints of a service that have names, counted once for each slice. */
const mostSlicePorts = 20_000;

/** Returns the name of an endpoint without a hostname: `10-0-0-1`, as CoreDNS names it. */
export function hostnameOf(address: string): string {
  const text = address.replaceAll(/[.:]/gu, '-');
  return `${text.startsWith('-') ? '0' : ''}${text}${text.endsWith('-') ? '0' : ''}`;
}

const none: readonly string[] = [];

const grouped = (all: readonly PlacedEndpoint[]): Endpoints => ({
  all,
  byFamily: Map.groupBy(all, ({ address }) => address.length),
  byHostname: Map.groupBy(all, ({ hostname }) => hostname),
});

/** Endpoints of one slice share its ports. */
function sizeOf({ all }: Endpoints): number {
  let size = all.length + 1;
  for (const { length } of new Set(all.map(({ ports }) => ports))) size += length;
  return size;
}

const keyOf = (namespace: string, name: string): string => `${namespace}/${name}`;

/**
 * The objects as the API sent them, and which slices each service has.
 * @param touch called with the key of each service whose endpoints may have changed
 */
function createStoredObjects(touch: (key: string) => void) {
  // As JSON: there are thousands of objects, and few are asked for.
  const services = new Map<string, string>();
  const slices = new Map<string, string>();
  /** Keys of slices by the key of their service. */
  const slicesOf = new Map<string, string[]>();
  const namespaces = new Map<string, number>();

  const serviceAt = (key: string): NamedService | undefined => {
    const text = services.get(key);
    return text === undefined ? undefined : (parseJson(text) as NamedService);
  };
  const sliceAt = (key: string): NamedSlice | undefined => {
    const text = slices.get(key);
    return text === undefined ? undefined : (parseJson(text) as NamedSlice);
  };

  function* counting(key: string, { unready }: NamedService) {
    let left = mostEndpoints;
    let portsLeft = mostSlicePorts;
    let readsLeft = mostRead;
    for (const each of slicesOf.get(key) ?? none) {
      if (readsLeft <= 0) return;
      const slice = sliceAt(each);
      const ports = (slice?.ports ?? []).slice(0, portsLeft);
      let isCounted = false;
      readsLeft -= 4 + (slice?.endpoints.length ?? 0);
      for (const endpoint of slice?.endpoints ?? []) {
        if (!endpoint.ready && !unready) continue;
        if (left === 0) return;
        left -= 1;
        if (!isCounted) portsLeft -= ports.length;
        isCounted = true;
        yield { ...endpoint, ports };
      }
    }
  }

  function putService(key: string, service: NamedService | undefined): void {
    const before = serviceAt(key);
    if (service === undefined) services.delete(key);
    else services.set(key, JSON.stringify(service));
    for (const [one, more] of [
      [before, -1],
      [service, 1],
    ] as const) {
      if (one === undefined) continue;
      const count = (namespaces.get(one.namespace) ?? 0) + more;
      if (count === 0) namespaces.delete(one.namespace);
      else namespaces.set(one.namespace, count);
    }
    touch(key);
  }

  function putSlice(key: string, slice: NamedSlice | undefined): void {
    const former = sliceAt(key);
    const before = former && keyOf(former.namespace, former.service);
    const now = slice && keyOf(slice.namespace, slice.service);
    if (slice === undefined) slices.delete(key);
    else slices.set(key, JSON.stringify(slice));
    if (before !== undefined && before !== now) {
      const rest = (slicesOf.get(before) ?? none).filter((each) => each !== key);
      if (rest.length === 0) slicesOf.delete(before);
      else slicesOf.set(before, rest);
    }
    if (now !== undefined && before !== now) {
      const others = slicesOf.get(now);
      if (others === undefined) slicesOf.set(now, [key]);
      else others.push(key);
    }
    for (const owner of new Set([before, now])) if (owner !== undefined) touch(owner);
  }

  return {
    serviceAt,
    counting,
    services: createCollection(readNamedService, () => services.keys(), putService),
    slices: createCollection(readNamedSlice, () => slices.keys(), putSlice),
    hasNamespace: (namespace: string): boolean => namespaces.has(namespace),
    size: () => ({ services: services.size, slices: slices.size }),
  };
}

export function createClusterNames(): ClusterNames {
  /** Apart from endpoints, which any author of slices writes: nobody else names a cluster address. */
  const clusterOwners = createOwners();
  const endpointOwners = createOwners();
  /** Services whose reverse names are not up to date. */
  const dirty = new Set<string>();
  const cached = new LRUCache<string, Endpoints>({
    max: remembered,
    maxSize: rememberedEndpoints,
    sizeCalculation: sizeOf,
  });
  /** A service with thousands of ports takes milliseconds to parse. */
  const parsed = new LRUCache<string, NamedService>({
    max: remembered,
    maxSize: rememberedPorts,
    sizeCalculation: ({ ports }) => ports.length + 1,
  });

  const objects = createStoredObjects(touch);
  const { counting } = objects;
  function serviceAt(key: string): NamedService | undefined {
    const known = parsed.get(key);
    if (known !== undefined) return known;
    const service = objects.serviceAt(key);
    if (service !== undefined) parsed.set(key, service);
    return service;
  }
  const isHeadless = ({ addresses, externalName }: NamedService): boolean =>
    addresses.length === 0 && externalName === undefined;

  /** Reverse names wait until one is asked for: a list brings a service one slice at a time. */
  function touch(key: string): void {
    cached.delete(key);
    parsed.delete(key);
    dirty.add(key);
  }
  function settleAll(): void {
    for (const key of dirty) settle(key);
    dirty.clear();
  }
  function settle(key: string): void {
    const service = serviceAt(key);
    clusterOwners.put(key, service?.addresses ?? none);
    const hasEndpoints = service !== undefined && isHeadless(service);
    endpointOwners.put(key, hasEndpoints ? [...counting(key, service)].map(({ address }) => address) : none);
  }

  function endpoints(service: NamedService): Endpoints {
    const key = keyOf(service.namespace, service.name);
    const known = cached.get(key);
    if (known !== undefined) return known;
    const all: PlacedEndpoint[] = [];
    for (const { address, hostname = hostnameOf(address), ports } of counting(key, service)) {
      const ip = parseIp(address);
      if (ip !== undefined) all.push({ hostname, address: ipBytes(ip), ports });
    }
    const found = grouped(all);
    cached.set(key, found);
    return found;
  }

  return {
    services: objects.services,
    slices: objects.slices,
    complete: () => objects.services.came() && objects.slices.came(),
    hasNamespace: objects.hasNamespace,
    service: (namespace, name) => serviceAt(keyOf(namespace, name)),
    endpoints,
    owners(address) {
      settleAll();
      const services = clusterOwners.of(address);
      const keys = services.length > 0 ? services : endpointOwners.of(address);
      const ip = parseIp(address);
      const bytes = ip && Buffer.from(ipBytes(ip));
      const found = keys.flatMap((key): AddressOwner[] => {
        const service = serviceAt(key);
        if (service === undefined) return [];
        const { namespace, name } = service;
        if (!isHeadless(service)) return [{ namespace, name }];
        const own = endpoints(service).all.filter((each) => bytes?.equals(each.address) === true);
        return [...new Set(own.map(({ hostname }) => hostname))]
          .slice(0, mostOwners)
          .map((hostname) => ({ namespace, name, hostname }));
      });
      return found.slice(0, mostOwners);
    },
    size: objects.size,
  };
}
