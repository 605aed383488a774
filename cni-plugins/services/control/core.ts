import type { Logger } from '../../../base/log/index.ts';
import { keyOf } from '../model.ts';
import type { Backend, Balancer, Refusal, RefusedService, ServerKey, Service, VirtualServer } from '../model.ts';
import { checked } from './checked.ts';
import { createClaims } from './claims.ts';
import { settle, withOver } from './drains.ts';
import type { Drain, Standing } from './drains.ts';
import { expand } from './expand.ts';
import type { BackendStanding, Expanded } from './expand.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { HealthChecks } from './health/checks.ts';
import type { ServiceStore, StoredChange } from './store.ts';

/** A service that stands, with what is known of it. */
export interface Held {
  readonly source: string;
  readonly service: Service;
  /** Addresses. */
  readonly drained: Set<string>;
  /** By {@link healthIdOf}. */
  readonly unwell: Set<string>;
  /** Why the balancer of now does not have it. */
  refusal?: Refusal;
}

export interface CoreParts {
  readonly store: ServiceStore;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
  readonly checks: HealthChecks;
  /** Milliseconds since 1970. */
  now(): number;
}

/** What stands, and how it is changed. Everything is durable before the kernel is touched. Synchronous, for one Worker. */
export interface ServiceCore {
  /** What a source says. @param whole it is all that the source has: what is not here is removed */
  apply(source: string, services: readonly Service[], whole: boolean): readonly RefusedService[];
  remove(source: string, names: readonly string[]): void;
  /** An operator's word about backends, by address. Gives those that the service does not have; then nothing changed. */
  drain(name: string, addresses: readonly string[], is: boolean): readonly string[];
  /** What a check found. @param backend by {@link healthIdOf} */
  judged(name: string, backend: string, isWell: boolean): void;
  readonly held: ReadonlyMap<string, Held>;
  readonly standings: ReadonlyMap<ServerKey, Standing>;
  /** Virtual servers where something ends. */
  readonly ending: ReadonlySet<ServerKey>;
  /** These destinations are over: they leave the kernel. */
  end(ended: readonly { readonly key: ServerKey; readonly drains: readonly Drain[] }[]): void;
  /** Everything is brought to this balancer from now on, what it refuses is told. Gives the virtual servers that it is to have. */
  judgeFor(balancer: Balancer): readonly VirtualServer[];
  readonly balancer: () => Balancer;
  /** The kernel did not take a change: everything is to be compared. */
  isBehind(): boolean;
  caughtUp(): void;
  close(): void;
}

/** Loads what is durable; the kernel is not touched before {@link ServiceCore.judgeFor} and a `reconcile`. */
export function createServiceCore({ store, log, checks, now }: CoreParts, first: Balancer): ServiceCore {
  const held = new Map<string, Held>();
  const standings = new Map<ServerKey, Standing>();
  const ending = new Set<ServerKey>();
  const claims = createClaims();
  let balancer = first;
  let behind = false;

  const standingOf =
    ({ service, drained, unwell }: Held) =>
    (backend: Backend): BackendStanding => ({
      drained: drained.has(backend.address),
      unwell: unwell.has(healthIdOf(backend, checkedPortOf(service))),
    });
  const expanded = (each: Held): Expanded[] => (each.refusal === undefined ? expand(each.service, standingOf(each)) : []);
  const refusalOf = (each: Held): Refusal | undefined => {
    for (const server of expand(each.service, standingOf(each))) {
      const refusal = balancer.refuse(server);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  };
  const keysOf = (each: Held | undefined): ServerKey[] => (each === undefined ? [] : expanded(each).map(keyOf));

  const setStanding = (key: ServerKey, standing: Standing | undefined): void => {
    if (standing === undefined) standings.delete(key);
    else standings.set(key, standing);
    if (standing !== undefined && standing.drains.length > 0) ending.add(key);
    else ending.delete(key);
  };

  /** Of the services that hold these keys now. */
  const wantedOf = (keys: ReadonlySet<ServerKey>): Map<ServerKey, { server: Expanded; graceSeconds: number }> => {
    const names = new Set([...keys].map((key) => claims.holderOf(key)));
    const wanted = new Map<ServerKey, { server: Expanded; graceSeconds: number }>();
    for (const name of names) {
      const each = name === undefined ? undefined : held.get(name);
      if (each === undefined) continue;
      for (const server of expanded(each)) {
        const key = keyOf(server);
        if (keys.has(key)) wanted.set(key, { server, graceSeconds: each.service.drainGraceSeconds });
      }
    }
    return wanted;
  };

  /** Computes virtual servers anew, and brings them to the kernel. @param over what is over, by virtual server */
  const resettle = (touched: Iterable<ServerKey>, change: StoredChange = {}, over = new Map<ServerKey, readonly Drain[]>()): void => {
    const keys = new Set(touched);
    const wanted = wantedOf(keys);
    const put: VirtualServer[] = [];
    const remove: ServerKey[] = [];
    const changed: [ServerKey, Standing | undefined][] = [];
    const durable: [ServerKey, Standing | undefined][] = [];
    for (const key of keys) {
      const before = standings.get(key);
      const { server, graceSeconds } = wanted.get(key) ?? {};
      const ended = before === undefined ? undefined : withOver(before, over.get(key) ?? []);
      const after = settle(ended, server, now(), graceSeconds);
      changed.push([key, after]);
      if ((after?.drains.length ?? 0) > 0) durable.push([key, after]);
      else if ((before?.drains.length ?? 0) > 0) durable.push([key, undefined]);
      if (after === undefined) {
        if (before !== undefined) remove.push(key);
      } else if (JSON.stringify(before?.server) !== JSON.stringify(after.server)) put.push(after.server);
    }
    store.write({ ...change, standings: durable });
    for (const [key, after] of changed) setStanding(key, after);
    if (put.length + remove.length === 0) return;
    try {
      balancer.change(put, remove);
    } catch (thrown) {
      behind = true;
      throw thrown;
    }
  };

  /** Which of these may stand, in their order; what is refused keeps what stood before, where that is still free. */
  const admit = (
    source: string,
    services: readonly Service[],
    gone: readonly string[],
  ): { admitted: Held[]; lost: string[]; refused: RefusedService[] } => {
    const refused: RefusedService[] = [];
    const fit: Held[] = [];
    const names = new Set<string>();
    for (const given of services) {
      const service = checked(source, given);
      if ('code' in service) {
        refused.push(service);
        continue;
      }
      const before = held.get(service.name);
      const refuse = (code: string, field: string, why: string): number => refused.push({ name: service.name, code, field, why });
      if (names.has(service.name)) {
        refuse('NETWORK_SERVICE_EXISTS', 'name', `${service.name} is there twice`);
        continue;
      }
      names.add(service.name);
      if (before !== undefined && before.source !== source) {
        refuse('NETWORK_SERVICE_EXISTS', 'name', `a service of that name is there already, by ${before.source}`);
        continue;
      }
      if (before !== undefined && before.refusal === undefined && JSON.stringify(before.service) === JSON.stringify(service)) continue;
      const next: Held = { source, service, drained: before?.drained ?? new Set(), unwell: unwellThatStay(before, service) };
      const refusal = refusalOf(next);
      if (refusal === undefined) fit.push(next);
      else refuse('NETWORK_SERVICE_UNSUPPORTED', refusal.field, `${refusal.why} (${balancer.kind})`);
    }

    for (const name of gone) claims.remove((held.get(name) as Held).service);
    for (const { service } of fit) {
      const before = held.get(service.name);
      if (before !== undefined) claims.remove(before.service);
    }
    const admitted: Held[] = [];
    const late: Service[] = [];
    for (const next of fit) {
      const taken = claims.taken(next.service);
      if (taken === undefined) {
        claims.add(next.service);
        admitted.push(next);
        continue;
      }
      const { name } = next.service;
      const why = `${told(taken.key)} belongs to the service ${taken.holder} of ${(held.get(taken.holder) ?? admitted.find((each) => each.service.name === taken.holder))?.source ?? source}`;
      refused.push({ name, code: 'NETWORK_SERVICE_ADDRESS_TAKEN', field: taken.field, why });
      const before = held.get(name);
      if (before !== undefined) late.push(before.service);
    }
    const lost: string[] = [];
    for (const service of late) {
      if (claims.taken(service) === undefined) claims.add(service);
      else lost.push(service.name);
    }
    return { admitted, lost, refused };
  };

  const take = (admitted: readonly Held[], removed: readonly string[]): void => {
    const keys = new Set<ServerKey>();
    const note = (each: Held | undefined): void => keysOf(each).forEach((key) => keys.add(key));
    for (const name of removed) note(held.get(name));
    for (const next of admitted) note(held.get(next.service.name));
    const forgotten = admitted.flatMap(({ service: { name }, unwell }) =>
      [...(held.get(name)?.unwell ?? [])]
        .filter((backend) => !unwell.has(backend))
        .map((backend) => ({ service: name, backend, state: 'unwell' as const, is: false })),
    );
    for (const name of removed) held.delete(name);
    for (const next of admitted) held.set(next.service.name, next);
    for (const next of admitted) note(next);
    for (const name of removed) checks.forget(name);
    for (const { service } of admitted) checks.follow(service);
    resettle(keys, { put: admitted, remove: removed, states: forgotten });
  };

  const stored = store.load();
  for (const { source, service } of stored.services) {
    held.set(service.name, { source, service, drained: new Set(), unwell: new Set() });
    claims.add(service);
  }
  for (const { service, backend } of stored.drained) held.get(service)?.drained.add(backend);
  for (const { service, backend } of stored.unwell) held.get(service)?.unwell.add(backend);
  for (const [key, standing] of stored.standings) setStanding(key, standing);

  return {
    held,
    standings,
    ending,
    balancer: () => balancer,
    isBehind: () => behind,
    caughtUp: () => (behind = false),
    end: (ended) =>
      resettle(
        ended.map(({ key }) => key),
        {},
        new Map(ended.map(({ key, drains }) => [key, drains])),
      ),
    apply(source, services, whole) {
      const given = new Set(services.map(({ name }) => name));
      const gone = whole ? [...held].filter(([name, each]) => each.source === source && !given.has(name)).map(([name]) => name) : [];
      const { admitted, lost, refused } = admit(source, services, gone);
      for (const name of lost) log.error({ service: name }, 'a service lost its address to another one of the same source, and is removed');
      if (admitted.length + gone.length + lost.length > 0) take(admitted, [...gone, ...lost]);
      return refused;
    },
    remove(source, names) {
      const own = names.filter((name) => held.get(name)?.source === source);
      for (const name of own) claims.remove((held.get(name) as Held).service);
      if (own.length > 0) take([], own);
    },
    drain(name, addresses, is) {
      const each = held.get(name);
      if (each === undefined) return addresses;
      const own = new Set(each.service.backends.map(({ address }) => address));
      const unknown = addresses.filter((address) => !own.has(address) && !(each.drained.has(address) && !is));
      if (unknown.length > 0) return unknown;
      for (const address of addresses) {
        if (is) each.drained.add(address);
        else each.drained.delete(address);
      }
      resettle(keysOf(each), { states: addresses.map((backend) => ({ service: name, backend, state: 'drained', is })) });
      return [];
    },
    judged(name, backend, isWell) {
      const each = held.get(name);
      if (each === undefined || each.unwell.has(backend) !== isWell) return;
      if (isWell) each.unwell.delete(backend);
      else each.unwell.add(backend);
      const counts = { service: name, backend, unwell: each.unwell.size, of: each.service.backends.length };
      if (isWell) log.info(counts, 'a backend is well again');
      else log.warn(counts, 'a backend is unwell');
      resettle(keysOf(each), { states: [{ service: name, backend, state: 'unwell', is: !isWell }] });
    },
    judgeFor(next) {
      balancer = next;
      for (const each of held.values()) {
        const refusal = refusalOf(each);
        if (refusal === undefined) delete each.refusal;
        else {
          each.refusal = refusal;
          log.error(
            { service: each.service.name, balancer: next.kind, ...refusal },
            'a service is not balanced: the balancer can not do what it asks for',
          );
        }
      }
      const wanted = wantedOf(new Set([...held.values()].flatMap((each) => expand(each.service, standingOf(each)).map(keyOf))));
      for (const key of new Set([...wanted.keys(), ...standings.keys()])) {
        const { server, graceSeconds } = wanted.get(key) ?? {};
        const isRefused = server === undefined && claims.holderOf(key) !== undefined;
        setStanding(key, isRefused ? undefined : settle(standings.get(key), server, now(), graceSeconds));
      }
      return [...standings.values()].map(({ server }) => server);
    },
    close: () => store.close(),
  };

  function unwellThatStay(before: Held | undefined, service: Service): Set<string> {
    if (before === undefined || service.healthCheck === undefined) return new Set();
    const ids = new Set(service.backends.map((backend) => healthIdOf(backend, checkedPortOf(service))));
    return new Set([...before.unwell].filter((id) => ids.has(id)));
  }
}

/** `10.96.0.1 port 80/tcp`, of a key. */
function told(key: ServerKey): string {
  const [, protocol = '', address = '', port = ''] = key.split(' ');
  return address === '*' ? `the node port ${port}/${protocol}` : `${address} port ${port}/${protocol}`;
}
