import type { Logger } from '../../../base/log/index.ts';
import type { Balancer, RefusedService, ServerKey, Service, VirtualServer } from '../model/model.ts';
import { admit } from './admission.ts';
import type { Admitted } from './admission.ts';
import type { Drain, Standing } from './drains.ts';
import type { HealthChecks } from './health/checks.ts';
import { loadServices } from './services-in-force.ts';
import { placeTextOf } from './node-ports.ts';
import { loadServers } from './servers-in-force.ts';
import type { ServiceStore } from './store.ts';
import type { ServiceInForce, StoredService } from './stored-service.ts';
import { keysOf, wantedFor } from './wanted-servers.ts';

export interface CoreDeps {
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
   * @param isContinued as in {@link Balancer.change}
   */
  apply(
    source: string,
    services: readonly Service[],
    whole: boolean,
    isContinued?: boolean,
  ): readonly RefusedService[];
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
export function createServiceCore({ store, log, checks, now }: CoreDeps, first: Balancer): ServiceCore {
  let balancer = first;
  const services = loadServices(store, log);
  const { held, claims, sourceOf, othersOf } = services;
  const servers = loadServers({ store, log, now, balancer: () => balancer, services });

  const take = (admitted: readonly Admitted[], removed: readonly string[], isContinued = false): void => {
    const isRelisted = [...admitted.map(({ next }) => next), ...removed.map((name) => held.get(name))].every(
      (each) => each?.source === 'kubernetes',
    );
    const keys = new Set<ServerKey>();
    const note = (some: readonly ServerKey[]): void => some.forEach((key) => keys.add(key));
    for (const name of removed) note(keysOf(held.get(name)));
    for (const { formerKeys } of admitted) note(formerKeys);
    const forgotten: { service: string; backend: string; state: 'unhealthy'; is: false }[] = [];
    for (const { service, next } of admitted)
      for (const backend of held.get(service.name)?.unhealthy ?? [])
        if (!next.unhealthy.has(backend))
          forgotten.push({ service: service.name, backend, state: 'unhealthy', is: false });
    for (const name of removed) held.delete(name);
    for (const { next, service } of admitted) held.set(service.name, next);
    for (const { next, service } of admitted) note(keysOf(next, service));
    for (const name of removed) checks.forget(name);
    for (const { service } of admitted) checks.follow(service);
    const put = admitted.map(({ service: { name }, next: { source, document } }) => ({
      name,
      source,
      document,
    }));
    servers.resettle(keys, { put, remove: removed, states: forgotten, isRelisted }, undefined, isContinued);
  };
  const removeAll = (names: readonly string[]): void => {
    for (const name of names) claims.remove((held.get(name) as StoredService).service);
    if (names.length > 0) take([], names);
    servers.catchUp();
  };

  return {
    held,
    standings: servers.standings,
    lost: (service) =>
      claims
        .lost(service)
        .map(
          ({ key, holder, other }) =>
            `${placeTextOf(key)} belongs to ${other ?? `the service ${holder} (source: ${sourceOf(holder ?? '')})`}`,
        ),
    contested: () => claims.waiting(),
    ending: servers.ending,
    servers: servers.all,
    balancer: () => balancer,
    isBehind: () => servers.isBehind(),
    caughtUp: () => servers.caughtUp(),
    end: (ended) =>
      servers.resettle(
        ended.map(({ key }) => key),
        { isRelisted: true },
        new Map(ended.map(({ key, drains }) => [key, drains])),
      ),
    apply(source, asked, whole, isContinued) {
      const gone = whole ? othersOf(source, new Set(asked.map(({ name }) => name))) : [];
      const { admitted, lost, refused } = admit({ source, services: asked, gone }, services, balancer);
      for (const name of lost)
        log.error(
          { service: name },
          'a service lost its address to another service of the same source and was removed',
        );
      if (admitted.length + gone.length + lost.length > 0) take(admitted, [...gone, ...lost], isContinued);
      servers.catchUp(isContinued);
      return refused;
    },
    remove: (source, names) => removeAll(names.filter((name) => held.get(name)?.source === source)),
    retain: (source, names) => removeAll(held.size === 0 ? [] : othersOf(source, new Set(names))),
    drain(name, addresses, is) {
      const each = held.get(name);
      if (each === undefined) return addresses;
      const own = new Set(each.service.backends.map(({ address }) => address));
      const unknown = addresses.filter((address) => !own.has(address) && !(each.drained.has(address) && !is));
      if (unknown.length > 0) return unknown;
      for (const address of addresses) each.mark('drained', address, is);
      servers.resettle(keysOf(each), {
        states: addresses.map((backend) => ({ service: name, backend, state: 'drained', is })),
      });
      servers.catchUp();
      return [];
    },
    judged(name, backend, isWell) {
      const each = held.get(name);
      if (each === undefined || each.unhealthy.has(backend) !== isWell) return;
      each.mark('unhealthy', backend, !isWell);
      const counts = {
        service: name,
        backend,
        unhealthy: each.unhealthy.size,
        of: each.service.backends.length,
      };
      if (isWell) log.info(counts, 'a backend is healthy again');
      else log.warn(counts, 'a backend is unhealthy');
      servers.resettle(keysOf(each), {
        states: [{ service: name, backend, state: 'unhealthy', is: !isWell }],
      });
    },
    judgeFor(next) {
      balancer = next;
      servers.resettleAll(wantedFor(next, services, log));
      return servers.all;
    },
    close: () => store.close(),
  };
}
