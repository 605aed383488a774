import { append } from '../../../base/lists/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { givingMemoryBack } from '../memory.ts';
import { keyOf } from '../model.ts';
import type { Backend, Balancer, Refusal, RefusedService, ServerKey, Service, VirtualServer } from '../model.ts';
import { packServer } from '../packed-server.ts';
import { checked } from './checked.ts';
import { claimsOf, contends, createClaims } from './claims.ts';
import type { Lost } from './claims.ts';
import { settle, withOver } from './drains.ts';
import type { Drain, Standing } from './drains.ts';
import { expand } from './expand.ts';
import type { BackendStanding, Expanded } from './expand.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { HealthChecks } from './health/checks.ts';
import { StoredService, PackedStanding, unhealthyThatRemain } from './stored-service.ts';
import type { ServiceInForce } from './stored-service.ts';
import { placeTextOf, portTextOf } from './node-ports.ts';
import type { ServiceStore, StoredChange } from './store.ts';

export interface CoreParts {
  readonly store: ServiceStore;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
  readonly checks: HealthChecks;
  /** Milliseconds since 1970. */
  now(): number;
}

/**
 * The services in force, and their changes. Every change is durable before the kernel is touched.
 * Synchronous, for one Worker.
 */
export interface ServiceCore {
  /**
   * Applies what a source describes.
   * @param whole the list is complete: services of the source that are not in it are removed
   */
  apply(source: string, services: readonly Service[], whole: boolean): readonly RefusedService[];
  remove(source: string, names: readonly string[]): void;
  /** Removes every service of the source whose name is not in this list. */
  retain(source: string, names: readonly string[]): void;
  /**
   * Drains backends by address, or ends their drain, for an operator. Returns the addresses that the service
   * does not have. If there is any, nothing changes.
   */
  drain(name: string, addresses: readonly string[], is: boolean): readonly string[];
  /** Records the result of a health check. @param backend by {@link healthIdOf} */
  judged(name: string, backend: string, isWell: boolean): void;
  readonly held: ReadonlyMap<string, ServiceInForce>;
  readonly standings: ReadonlyMap<ServerKey, Standing>;
  /** Returns the addresses that a service in force does not have because others hold them. */
  lost(service: Service): readonly string[];
  /** Returns how many services in force lack an address that others hold. */
  contested(): number;
  /** Virtual servers with a drain. */
  readonly ending: ReadonlySet<ServerKey>;
  /** All virtual servers, one at a time. A second walk returns the servers of that time. */
  readonly servers: Iterable<VirtualServer>;
  /** Marks these drains as over: their destinations leave the kernel. */
  end(ended: readonly { readonly key: ServerKey; readonly drains: readonly Drain[] }[]): void;
  /**
   * Uses this balancer from now on, and logs what it refuses. Returns the virtual servers that it has to
   * program.
   */
  judgeFor(balancer: Balancer): Iterable<VirtualServer>;
  readonly balancer: () => Balancer;
  /** Whether the kernel did not take a change, so that everything has to be compared. */
  isBehind(): boolean;
  caughtUp(): void;
  close(): void;
}

/**
 * Loads the durable state. The kernel is not touched before {@link ServiceCore.judgeFor} and a `reconcile`.
 */
export function createServiceCore({ store, log, checks, now }: CoreParts, first: Balancer): ServiceCore {
  const held = new Map<string, StoredService>();
  const standings = new Map<ServerKey, PackedStanding>();
  const ending = new Set<ServerKey>();
  /** The sources of services that are being admitted and not held yet. */
  const sources = new Map<string, string>();
  const sourceOf = (name: string): string | undefined => sources.get(name) ?? held.get(name)?.source;
  const claims = createClaims(
    (key) => store.nodePorts.holderOf(key),
    (...names) => names.every((name) => sourceOf(name) === 'kubernetes'),
  );
  let balancer = first;
  let behind = false;

  const serversOf = ({ drained, unwell }: ServiceInForce, service: Service): Expanded[] =>
    expand(service, (backend: Backend): BackendStanding => ({
      drained: drained.has(backend.address),
      unwell: unwell.has(healthIdOf(backend, checkedPortOf(service))),
    }));
  const expanded = (each: ServiceInForce, service = each.service): Expanded[] =>
    each.refusal === undefined ? serversOf(each, service) : [];
  const refusalOf = (servers: readonly Expanded[]): Refusal | undefined => {
    for (const server of servers) {
      const refusal = balancer.refuse(server);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  };
  const keysOf = (each: ServiceInForce | undefined): ServerKey[] =>
    each === undefined || each.refusal !== undefined ? [] : claimsOf(each.service).map(({ key }) => key);

  const setStanding = (key: ServerKey, standing: Standing | undefined): void => {
    if (standing === undefined) standings.delete(key);
    else standings.set(key, new PackedStanding(standing));
    if (standing !== undefined && standing.drains.length > 0) ending.add(key);
    else ending.delete(key);
  };

  /** Returns the virtual servers that the current holders of these keys want. */
  const wantedOf = (keys: ReadonlySet<ServerKey>): Map<ServerKey, { server: Expanded; graceSeconds: number }> => {
    const names = new Set([...keys].map((key) => claims.holderOf(key)));
    const wanted = new Map<ServerKey, { server: Expanded; graceSeconds: number }>();
    for (const name of names) {
      const each = name === undefined ? undefined : held.get(name);
      if (each === undefined) continue;
      const { service } = each;
      for (const server of expanded(each, service)) {
        const key = keyOf(server);
        if (keys.has(key) && claims.holderOf(key) === name) wanted.set(key, { server, graceSeconds: service.drainGraceSeconds });
      }
    }
    return wanted;
  };

  /** The connections of a former holder end at once: its backends get none of the new holder's clients. */
  const settled = (before: Standing | undefined, server: Expanded | undefined, graceSeconds?: number): Standing | undefined => {
    const isHandedOver = before !== undefined && server !== undefined && before.server.service !== server.service;
    if (isHandedOver)
      log.info({ from: before.server.service, to: server.service, at: placeTextOf(keyOf(server)) }, 'an address passed to another service');
    const after = settle(before, server, now(), isHandedOver ? 0 : graceSeconds);
    return after === undefined || graceSeconds === undefined ? after : { ...after, graceSeconds };
  };

  /**
   * Recomputes virtual servers and brings them to the kernel.
   * @param over drains that are over, by virtual server
   */
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
      const after = settled(ended, server, graceSeconds);
      changed.push([key, after]);
      if ((after?.drains.length ?? 0) > 0) durable.push([key, after]);
      else if ((before?.drains.length ?? 0) > 0) durable.push([key, undefined]);
      if (after === undefined) {
        if (before !== undefined) remove.push(key);
      } else if (before?.packed !== packServer(after.server)) put.push(after.server);
    }
    store.write({ ...change, standings: durable, servers: changed.map(([key, after]) => [key, after?.server.service]) });
    for (const [key, after] of changed) setStanding(key, after);
    if (put.length + remove.length === 0) return;
    try {
      balancer.change(put, remove);
    } catch (thrown) {
      behind = true;
      throw thrown;
    }
  };

  /**
   * A repeated request changes nothing more. It is answered when the kernel has what it did not take before.
   */
  const catchUp = (): void => {
    if (behind) balancer.reconcile(servers);
    behind = false;
  };

  const refusedFor = (name: string, source: string, [first, ...others]: readonly Lost[]): RefusedService | undefined => {
    if (first === undefined) return undefined;
    const holder = first.other ?? `the service ${first.holder} of ${sourceOf(first.holder ?? '') ?? source}`;
    const more = others.length === 0 ? '' : `; so are ${others.length} more of its addresses and ports`;
    return {
      name,
      code: 'NETWORK_SERVICE_ADDRESS_TAKEN',
      field: first.field,
      why: `${placeTextOf(first.key)} belongs to ${holder}${more}`,
    };
  };

  /**
   * Decides which of these services may be in force, in their order. A refused service keeps its previous
   * state as far as that is still free. For a source that contends, only the addresses that others hold are
   * refused, and the rest is in force as described now.
   */
  const admit = (
    source: string,
    services: readonly Service[],
    gone: readonly string[],
  ): { admitted: Admitted[]; lost: string[]; refused: RefusedService[] } => {
    const refused: RefusedService[] = [];
    const fit: Admitted[] = [];
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
      const next = new StoredService(source, JSON.stringify(service));
      if (
        before !== undefined &&
        before.refusal === undefined &&
        before.document === next.document &&
        !(contends(source) && claims.canGain(service))
      ) {
        const lost = contends(source) ? refusedFor(service.name, source, claims.lost(service)) : undefined;
        if (lost !== undefined) refused.push(lost);
        continue;
      }
      if (before !== undefined) next.drained = before.drained;
      next.unwell = unhealthyThatRemain(before, service);
      const refusal = refusalOf(serversOf(next, service));
      if (refusal === undefined) fit.push({ next, service });
      else refuse('NETWORK_SERVICE_UNSUPPORTED', refusal.field, `${refusal.why} (${balancer.kind})`);
    }

    // Free for all services of this source at once, and for no other service before all of these have
    // claimed.
    const free = gone.flatMap((name) => claims.release((held.get(name) as StoredService).service));
    for (const { service } of fit) {
      const before = held.get(service.name);
      if (before !== undefined) append(free, claims.release(before.service, service));
    }
    const admitted: Admitted[] = [];
    const late: Service[] = [];
    for (const { service } of fit) sources.set(service.name, source);
    for (const each of fit) {
      if (contends(source)) {
        claims.contend(each.service);
        admitted.push(each);
        continue;
      }
      const taken = claims.taken(each.service);
      if (taken === undefined) {
        claims.add(each.service);
        admitted.push(each);
        continue;
      }
      const { name } = each.service;
      refused.push(refusedFor(name, source, [taken]) as RefusedService);
      const before = held.get(name);
      if (before !== undefined) late.push(before.service);
    }
    const lost: string[] = [];
    for (const service of late) {
      if (claims.taken(service) === undefined) claims.add(service);
      else {
        append(free, claims.release(service));
        lost.push(service.name);
      }
    }
    claims.handOver(free);
    // Only after all services have claimed, because the last one may have taken an address from the first.
    if (contends(source))
      for (const { service } of admitted) append(refused, [refusedFor(service.name, source, claims.lost(service)) ?? []].flat());
    sources.clear();
    return { admitted, lost, refused };
  };

  const take = (admitted: readonly Admitted[], removed: readonly string[]): void => {
    const keys = new Set<ServerKey>();
    const note = (each: ServiceInForce | undefined): void => keysOf(each).forEach((key) => keys.add(key));
    for (const name of removed) note(held.get(name));
    for (const { service } of admitted) note(held.get(service.name));
    const forgotten = admitted.flatMap(({ service: { name }, next: { unwell } }) =>
      [...(held.get(name)?.unwell ?? [])]
        .filter((backend) => !unwell.has(backend))
        .map((backend) => ({ service: name, backend, state: 'unwell' as const, is: false })),
    );
    for (const name of removed) held.delete(name);
    for (const { next, service } of admitted) held.set(service.name, next);
    for (const { next } of admitted) note(next);
    for (const name of removed) checks.forget(name);
    for (const { service } of admitted) checks.follow(service);
    const put = admitted.map(({ service: { name }, next: { source, document } }) => ({ name, source, document }));
    resettle(keys, { put, remove: removed, states: forgotten });
  };

  for (const { source, document } of givingMemoryBack(store.services())) {
    const each = new StoredService(source, document);
    const { service } = each;
    held.set(service.name, each);
    // A service that was admitted as a whole holds all its addresses. The others get what is left, whatever
    // their order.
    if (!contends(source)) claims.add(service);
  }
  // A service that held a node port keeps it across a restart, whatever the order.
  const nodePorts = store.nodePorts.services();
  const had = new Set(nodePorts.values());
  for (const each of givingMemoryBack(held.values())) {
    const { name } = each.service;
    if (contends(each.source) && had.has(name)) claims.contend(each.service, (key) => nodePorts.get(portTextOf(key) ?? '') === name);
  }
  for (const each of givingMemoryBack(held.values())) if (contends(each.source)) claims.contend(each.service);
  for (const { service, backend, state } of store.states()) held.get(service)?.mark(state, backend, true);
  for (const [key, standing] of store.standings()) setStanding(key, standing);

  const servers: Iterable<VirtualServer> = {
    *[Symbol.iterator]() {
      for (const standing of standings.values()) yield standing.server;
    },
  };
  const removeAll = (names: readonly string[]): void => {
    for (const name of names) claims.remove((held.get(name) as StoredService).service);
    if (names.length > 0) take([], names);
    catchUp();
  };
  const othersOf = (source: string, names: ReadonlySet<string>): string[] =>
    [...held].filter(([name, each]) => each.source === source && !names.has(name)).map(([name]) => name);

  return {
    held,
    standings,
    lost: (service) =>
      claims
        .lost(service)
        .map(({ key, holder, other }) => `${placeTextOf(key)} belongs to ${other ?? `the service ${holder} of ${sourceOf(holder ?? '')}`}`),
    contested: () => claims.waiting(),
    ending,
    servers,
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
      const gone = whole ? othersOf(source, new Set(services.map(({ name }) => name))) : [];
      const { admitted, lost, refused } = admit(source, services, gone);
      for (const name of lost) log.error({ service: name }, 'a service lost its address to another one of the same source, and is removed');
      if (admitted.length + gone.length + lost.length > 0) take(admitted, [...gone, ...lost]);
      catchUp();
      return refused;
    },
    remove: (source, names) => removeAll(names.filter((name) => held.get(name)?.source === source)),
    retain: (source, names) => removeAll(othersOf(source, new Set(names))),
    drain(name, addresses, is) {
      const each = held.get(name);
      if (each === undefined) return addresses;
      const own = new Set(each.service.backends.map(({ address }) => address));
      const unknown = addresses.filter((address) => !own.has(address) && !(each.drained.has(address) && !is));
      if (unknown.length > 0) return unknown;
      for (const address of addresses) each.mark('drained', address, is);
      resettle(keysOf(each), { states: addresses.map((backend) => ({ service: name, backend, state: 'drained', is })) });
      catchUp();
      return [];
    },
    judged(name, backend, isWell) {
      const each = held.get(name);
      if (each === undefined || each.unwell.has(backend) !== isWell) return;
      each.mark('unwell', backend, !isWell);
      const counts = { service: name, backend, unwell: each.unwell.size, of: each.service.backends.length };
      if (isWell) log.info(counts, 'a backend is healthy again');
      else log.warn(counts, 'a backend is unhealthy');
      resettle(keysOf(each), { states: [{ service: name, backend, state: 'unwell', is: !isWell }] });
    },
    judgeFor(next) {
      balancer = next;
      const standing = new Set<ServerKey>();
      // One service at a time: all of them as objects would take many times the memory of their texts.
      for (const [name, each] of givingMemoryBack(held)) {
        const { service } = each;
        const all = serversOf(each, service);
        const refusal = refusalOf(all);
        if (refusal === undefined) delete each.refusal;
        else {
          each.refusal = refusal;
          log.error(
            { service: name, balancer: next.kind, ...refusal },
            'a service is not balanced: the balancer cannot do what it asks for',
          );
          continue;
        }
        for (const server of all) {
          const key = keyOf(server);
          if (claims.holderOf(key) !== name) continue;
          standing.add(key);
          setStanding(key, settled(standings.get(key), server, service.drainGraceSeconds));
        }
      }
      for (const [key, before] of standings)
        if (!standing.has(key)) setStanding(key, claims.holderOf(key) === undefined ? settle(before, undefined, now()) : undefined);
      store.nodePorts.writeAll(nodeServers());
      return servers;
    },
    close: () => store.close(),
  };

  function* nodeServers(): Generator<[ServerKey, VirtualServer]> {
    for (const [key, standing] of standings) if (key.includes(' * ')) yield [key, standing.server];
  }
}

/** A service that may be in force, with its stored form. */
interface Admitted {
  readonly next: StoredService;
  readonly service: Service;
}
