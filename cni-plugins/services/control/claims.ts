import { keyOf } from '../model.ts';
import type { ServerKey, Service } from '../model.ts';
import { expand } from './expand.ts';

/** Which service has which address, protocol and port of the host: none has another's. */
export interface Claims {
  /** The first that another has: a service by name, or `other` in words; undefined: all are free for it. */
  taken(service: Service): Lost | undefined;
  /** By name. */
  holderOf(key: ServerKey): string | undefined;
  /** Takes all of it; only for what {@link Claims.taken} found free. */
  add(service: Service): void;
  /**
   * Takes what is free of it, and what it has a better claim to than a contender ({@link contends}). For the rest it waits, and gets it when the holder
   * goes. What it has already it keeps, unless its own claim got worse than that of a contender. Gives what it did not get.
   * @param ofThese only these of its keys; absent: all
   */
  contend(service: Service, ofThese?: (key: ServerKey) => boolean): readonly Lost[];
  /** What a service that contends waits for. */
  lost(service: Service): readonly Lost[];
  /** Whether anything that it waits for is free by now. */
  canGain(service: Service): boolean;
  /** How many services wait for something. */
  waiting(): number;
  /** Gives up everything that it has and waits for, and hands it over. */
  remove(service: Service): void;
  /**
   * Gives up what the service has and waits for, but for what it has and claims in its next description as well: an update hands nothing over that it
   * still claims. Nobody gets the rest before {@link Claims.handOver}.
   * @param next absent: it is removed
   */
  release(service: Service, next?: Service): readonly ServerKey[];
  /** What is free of these goes to the best claim of those that wait. */
  handOver(keys: Iterable<ServerKey>): void;
}

/** An address, protocol and port that a service does not have. */
export interface Lost {
  /** The service that has it. */
  readonly holder?: string;
  /** Who has it that is no service, in words. */
  readonly other?: string;
  readonly key: ServerKey;
  readonly field: string;
}

/**
 * Sources whose services are served as far as their addresses are free. Whoever describes a service by hand is refused it whole instead, and reads why.
 */
export const contends = (source: string): boolean => source === 'kubernetes' || source === 'networks';

const alive = { drained: false, unwell: false };

/**
 * The virtual servers of a service, each with the field that speaks of it. They do not depend on its backends: a node port of a service without
 * addresses is claimed in both families, so that nobody takes it while the last backend of a family is replaced.
 */
export function claimsOf(service: Service): { readonly key: ServerKey; readonly field: string }[] {
  return expand({ ...service, backends: [] }, () => alive).map((server) => ({
    key: keyOf(server),
    field: server.address === undefined ? 'ports' : addressField(service, server.address),
  }));
}

function addressField(service: Service, address: string): string {
  const fields = ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const;
  const field = fields.find((each) => service[each]?.includes(address) === true) ?? 'addresses';
  return `${field}.${service[field]?.indexOf(address) ?? 0}`;
}

/**
 * Of several services of Kubernetes that claim one address, protocol and port: a cluster address beats a load balancer's, and that an external
 * address, because the API server allots the first, a controller with rights of its own the second, and any author of a Service writes the third.
 */
const rankOf = (field: string): number => (field.startsWith('externalAddresses') ? 2 : field.startsWith('loadBalancerAddresses') ? 1 : 0);

interface Claimant {
  readonly name: string;
  readonly rank: number;
  /** Milliseconds since 1970; absent: it is not known, and it comes after all others of its rank. */
  readonly createdAt?: number;
}

/** Negative: `a` has the better claim. The same on every host and in every order of arrival. */
function compared(a: Claimant, b: Claimant): number {
  const age = (a.createdAt ?? Infinity) - (b.createdAt ?? Infinity);
  return a.rank - b.rank || (Number.isNaN(age) ? 0 : age) || (a.name < b.name ? -1 : Number(a.name > b.name));
}

/**
 * @param otherHolder who has it that is no service, in words
 * @param mayContest whether two services, by name, are compared; else the first one keeps what it has
 */
export function createClaims(
  otherHolder: (key: ServerKey) => string | undefined,
  mayContest: (holder: string, other: string) => boolean = () => false,
): Claims {
  const holders = new Map<ServerKey, string>();
  /** Of holders that contend and are not of the first rank with an unknown age. */
  const claims = new Map<ServerKey, Claimant>();
  /** By name: thousands may claim one address, and most are never compared. */
  const waiting = new Map<ServerKey, Map<string, Claimant>>();

  const hold = (key: ServerKey, claimant: Claimant): void => {
    holders.set(key, claimant.name);
    if (claimant.rank === 0 && claimant.createdAt === undefined) claims.delete(key);
    else claims.set(key, claimant);
  };
  const holderAt = (key: ServerKey): Claimant | undefined => {
    const name = holders.get(key);
    return name === undefined ? undefined : (claims.get(key) ?? { name, rank: 0 });
  };
  const wait = (key: ServerKey, claimant: Claimant): void => {
    const others = waiting.get(key) ?? new Map<string, Claimant>();
    waiting.set(key, others.set(claimant.name, claimant));
  };
  const waitNoMore = (key: ServerKey, name: string): void => {
    const others = waiting.get(key);
    if (others?.delete(name) === true && others.size === 0) waiting.delete(key);
  };
  const nextAt = (key: ServerKey, mayHave: (name: string) => boolean = () => true): Claimant | undefined => {
    let best: Claimant | undefined;
    for (const each of waiting.get(key)?.values() ?? [])
      if ((best === undefined || compared(each, best) < 0) && mayHave(each.name)) best = each;
    return best;
  };
  const handOver = (keys: Iterable<ServerKey>): void => {
    for (const key of keys) {
      const next = holders.has(key) || otherHolder(key) !== undefined ? undefined : nextAt(key);
      if (next === undefined) continue;
      waitNoMore(key, next.name);
      hold(key, next);
    }
  };
  /** Its claim may have got worse: an address that was its cluster address may be an external one now. */
  const keep = (key: ServerKey, own: Claimant, before: Claimant): void => {
    hold(key, own);
    if (compared(own, before) <= 0) return;
    const next = nextAt(key, (name) => mayContest(own.name, name));
    if (next === undefined || compared(next, own) >= 0) return;
    waitNoMore(key, next.name);
    hold(key, next);
    wait(key, own);
  };
  const release = (service: Service, next?: Service): ServerKey[] => {
    const { name } = service;
    const kept = new Set(next === undefined ? [] : claimsOf(next).map(({ key }) => key));
    const released: ServerKey[] = [];
    for (const { key } of claimsOf(service)) {
      waitNoMore(key, name);
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
  const lost = (service: Service): Lost[] => claimsOf(service).flatMap(({ key, field }) => lostAt(service.name, key, field) ?? []);

  return {
    taken: (service) => lost(service)[0],
    holderOf: (key) => holders.get(key),
    lost,
    canGain: (service) => claimsOf(service).some(({ key }) => holders.get(key) === undefined && otherHolder(key) === undefined),
    waiting: () => new Set([...waiting.values()].flatMap((all) => [...all.keys()])).size,
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
          waitNoMore(key, name);
          wait(key, holder);
          hold(key, own);
        } else {
          wait(key, own);
          // What is free may have others that wait for it.
          if (holder === undefined) handOver([key]);
        }
      }
      return lost(service);
    },
    remove: (service) => handOver(release(service)),
    release,
    handOver,
  };
}
