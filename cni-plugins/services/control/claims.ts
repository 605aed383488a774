import { keyOf } from '../model/model.ts';
import type { ServerKey, Service, VirtualServer } from '../model/model.ts';
import { placesOf } from './expand.ts';
import { placeTextOf } from './node-ports.ts';
import { compared, createWaitingClaims } from './waiting-claims.ts';
import type { Claimant } from './waiting-claims.ts';

/** Which service holds which address, protocol and port of the host. Each is held by one service. */
export interface Claims {
  /**
   * Returns the first address that another service holds (by name) or that something else holds (`other`, in
   * words). Undefined: all addresses are free for the service.
   */
  taken(service: Service): Lost | undefined;
  /** Returns the name of the service that holds the key. */
  holderOf(key: ServerKey): string | undefined;
  /** Takes all addresses of the service. Only for a service that {@link Claims.taken} found free. */
  add(service: Service): void;
  /**
   * Takes the free addresses of the service, and each address to which it has a better claim than a holder
   * that contends ({@link contends}). It waits for the rest and gets an address when its holder releases it.
   * It keeps what it holds already, unless its own claim became worse than that of a contender.
   * @param ofThese only these of its keys; absent: all
   */
  contend(service: Service, ofThese?: (key: ServerKey) => boolean): void;
  /** Returns the addresses that a contending service waits for. */
  lost(service: Service): readonly Lost[];
  /** Whether any address that the service waits for is free now. */
  canGain(service: Service): boolean;
  /** Returns how many services wait for an address. */
  waiting(): number;
  /** Releases everything that the service holds and waits for, and hands it over. */
  remove(service: Service): void;
  /**
   * Releases what the service holds and waits for, except what it holds and also claims in its next
   * description. An update therefore hands over nothing that the service still claims. No other service gets
   * the rest before {@link Claims.handOver}.
   * @param next absent: the service is removed
   */
  release(service: Service, next?: Service): readonly ServerKey[];
  /** Gives each of these keys that is free to the waiting service with the best claim. */
  handOver(keys: Iterable<ServerKey>): void;
}

/** An address, protocol and port that a service does not hold. */
export interface Lost {
  /** The service that holds it. */
  readonly holder?: string;
  /** The holder, in words, if it is not a service. */
  readonly other?: string;
  readonly key: ServerKey;
  readonly field: string;
}

/**
 * Whether services of this source are served as far as their addresses are free. A service that a user
 * describes by hand is refused as a whole instead, and the user reads why.
 */
export const contends = (source: string): boolean => source === 'kubernetes' || source === 'networks';

/**
 * Returns the keys of the service's virtual servers, each with the field that describes it. They do not
 * depend on its backends: a node port is claimed in both families where the backends decide the family, so
 * that no other service takes it while the last backend of a family is replaced.
 */
export function claimsOf(service: Service): readonly ServiceClaim[] {
  const known = knownClaims.get(service);
  if (known !== undefined) return known;
  // Only the places of node ports depend on the backends.
  const hasNodePorts = service.ports.some(({ nodePort }) => nodePort !== undefined);
  const claimed = hasNodePorts ? { ...service, backends: [] } : service;
  const claims: ServiceClaim[] = [];
  for (const port of service.ports)
    for (const place of placesOf(claimed, port))
      claims.push({
        key: keyOf(place),
        field:
          place.address === undefined || isNodePort(service, place)
            ? 'ports'
            : addressField(service, place.address),
      });
  knownClaims.set(service, claims);
  return claims;
}

/** A service that is admitted is asked for its claims several times. */
const knownClaims = new WeakMap<Service, readonly ServiceClaim[]>();

/** A service that claims an address, protocol and port of another one. */
interface Contradiction {
  /** The index of the service. */
  readonly index: number;
  /** Such as `addresses.0`. */
  readonly field: string;
  readonly why: string;
}

/** Returns the services that cannot be in force together with an earlier one. */
export function contradictionsOf(services: readonly Service[]): readonly Contradiction[] {
  const claims = createClaims(() => undefined);
  return services.flatMap((service, index) => {
    const lost = claims.taken(service);
    if (lost !== undefined) {
      const why = `${placeTextOf(lost.key)} belongs to the service ${lost.holder ?? ''}`;
      return [{ index, field: lost.field, why }];
    }
    claims.add(service);
    return [];
  });
}

interface ServiceClaim {
  readonly key: ServerKey;
  readonly field: string;
}

const isNodePort = (
  { nodeAddresses = [], ports }: Service,
  { address = '', port, protocol }: Pick<VirtualServer, 'address' | 'port' | 'protocol'>,
): boolean =>
  nodeAddresses.includes(address) &&
  ports.some((each) => each.nodePort === port && each.protocol === protocol);

function addressField(service: Service, address: string): string {
  const fields = ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const;
  const field = fields.find((each) => service[each]?.includes(address) === true) ?? 'addresses';
  return `${field}.${service[field]?.indexOf(address) ?? 0}`;
}

/**
 * The rank of a claim. When several Kubernetes services claim one address, protocol and port, a cluster
 * address beats a load balancer address, and a load balancer address beats an external one. The API server
 * allots cluster addresses, a controller with rights of its own sets load balancer addresses, and any author
 * of a Service writes external addresses.
 */
const rankOf = (field: string): number =>
  field.startsWith('externalAddresses') ? 2 : field.startsWith('loadBalancerAddresses') ? 1 : 0;

/**
 * Creates the claims of a host, which nothing holds yet.
 * @param otherHolder returns the holder in words if it is not a service
 * @param mayContest whether two services, by name, are compared; if not, the current holder keeps the address
 */
export function createClaims(
  otherHolder: (key: ServerKey) => string | undefined,
  mayContest: (holder: string, other: string) => boolean = () => false,
): Claims {
  const holders = new Map<ServerKey, string>();
  /** Only for holders that contend, unless they have the first rank and an unknown age. */
  const claims = new Map<ServerKey, Claimant>();
  const waiting = createWaitingClaims();

  const hold = (key: ServerKey, claimant: Claimant): void => {
    holders.set(key, claimant.name);
    if (claimant.rank === 0 && claimant.createdAt === undefined) claims.delete(key);
    else claims.set(key, claimant);
  };
  const holderAt = (key: ServerKey): Claimant | undefined => {
    const name = holders.get(key);
    return name === undefined ? undefined : (claims.get(key) ?? { name, rank: 0 });
  };
  const handOver = (keys: Iterable<ServerKey>): void => {
    for (const key of keys) {
      const next = holders.has(key) || otherHolder(key) !== undefined ? undefined : waiting.best(key);
      if (next === undefined) continue;
      waiting.delete(key, next.name);
      hold(key, next);
    }
  };
  /** A claim may have become worse: a former cluster address may now be an external one. */
  const keep = (key: ServerKey, own: Claimant, before: Claimant): void => {
    hold(key, own);
    if (compared(own, before) <= 0) return;
    const next = waiting.best(key, (name) => mayContest(own.name, name));
    if (next === undefined || compared(next, own) >= 0) return;
    waiting.delete(key, next.name);
    hold(key, next);
    waiting.add(key, own);
  };
  const release = (service: Service, next?: Service): ServerKey[] => {
    const { name } = service;
    const kept = new Set(next === undefined ? [] : claimsOf(next).map(({ key }) => key));
    const released: ServerKey[] = [];
    for (const { key } of claimsOf(service)) {
      waiting.delete(key, name);
      if (holders.get(key) !== name || kept.has(key)) continue;
      holders.delete(key);
      claims.delete(key);
      released.push(key);
    }
    return released;
  };
  const lostAt = (name: string, key: ServerKey, field: string): Lost | undefined => {
    const holder = holders.get(key);
    if (holder === name) return undefined;
    if (holder !== undefined) return { holder, key, field };
    const other = otherHolder(key);
    return other === undefined ? undefined : { other, key, field };
  };
  const lost = (service: Service): Lost[] =>
    claimsOf(service).flatMap(({ key, field }) => lostAt(service.name, key, field) ?? []);

  return {
    taken: (service) => lost(service)[0],
    holderOf: (key) => holders.get(key),
    lost,
    canGain: (service) =>
      claimsOf(service).some(({ key }) => holders.get(key) === undefined && otherHolder(key) === undefined),
    waiting: () => waiting.services(),
    add(service) {
      for (const { key } of claimsOf(service)) hold(key, { name: service.name, rank: 0 });
    },
    contend(service, ofThese = () => true) {
      const { name, createdAt } = service;
      for (const { key, field } of claimsOf(service)) {
        if (!ofThese(key)) continue;
        const own: Claimant = { name, rank: rankOf(field), ...(createdAt !== undefined && { createdAt }) };
        const holder = holderAt(key);
        if (holder?.name === name) keep(key, own, holder);
        else if (holder !== undefined && mayContest(holder.name, name) && compared(own, holder) < 0) {
          waiting.delete(key, name);
          waiting.add(key, holder);
          hold(key, own);
        } else if (holder === undefined && waiting.best(key) === undefined && otherHolder(key) === undefined)
          hold(key, own);
        else {
          waiting.add(key, own);
          // Other services may wait for a free key.
          if (holder === undefined) handOver([key]);
        }
      }
    },
    remove: (service) => handOver(release(service)),
    release,
    handOver,
  };
}
