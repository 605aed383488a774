import type { Logger } from '../../../base/log/index.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerKey, VirtualServer } from '../model/model.ts';
import { packServer } from '../model/serialized-server.ts';
import { settle, withOver } from './drains.ts';
import type { Drain, Standing } from './drains.ts';
import type { HeldServices } from './services-in-force.ts';
import { placeTextOf } from './node-ports.ts';
import type { ServiceStore, StoredChange } from './store.ts';
import { PackedStanding } from './stored-service.ts';
import { wantedOf } from './wanted-servers.ts';
import type { WantedServer } from './wanted-servers.ts';

export interface ServersInForceDeps {
  readonly store: Pick<ServiceStore, 'nodePorts' | 'standings' | 'write'>;
  readonly log: Pick<Logger, 'info'>;
  /** Milliseconds since 1970. */
  now(): number;
  balancer(): Balancer;
  readonly services: Pick<HeldServices, 'claims' | 'held'>;
}

/**
 * The virtual servers in force, with their drains. Every change is durable before the kernel is touched.
 * Synchronous, for one Worker.
 */
export interface ServersInForce {
  readonly standings: ReadonlyMap<ServerKey, Standing>;
  /** Virtual servers with a drain. */
  readonly ending: ReadonlySet<ServerKey>;
  /** All virtual servers, one at a time. A second walk returns the servers of that time. */
  readonly all: Iterable<VirtualServer>;
  /**
   * Recomputes virtual servers and brings them to the kernel.
   * @param change what is stored together with them
   * @param over drains that are over, by virtual server
   * @param isContinued as in {@link Balancer.change}
   */
  resettle(
    touched: Iterable<ServerKey>,
    change?: StoredChange,
    over?: ReadonlyMap<ServerKey, readonly Drain[]>,
    isContinued?: boolean,
  ): void;
  /**
   * Recomputes all virtual servers, without the kernel. A server that no service holds any more ends within
   * its grace period. A server whose service the balancer refused ends at once.
   */
  resettleAll(wanted: Iterable<WantedServer>): void;
  /**
   * Brings everything to the kernel if it did not take a change before. A repeated request changes nothing,
   * and is answered only after this.
   * @param isContinued the kernel's part of the last change may still run
   */
  catchUp(isContinued?: boolean): void;
  /** Whether the kernel did not take a change, so that everything has to be compared. */
  isBehind(): boolean;
  caughtUp(): void;
}

/** Loads the durable drains. The kernel is not touched. */
export function loadServers({ store, log, now, balancer, services }: ServersInForceDeps): ServersInForce {
  const standings = new Map<ServerKey, PackedStanding>();
  const ending = new Set<ServerKey>();
  let behind = false;
  /** The kernel's part of the last change may still run. */
  let isAhead = false;

  const change = (
    put: readonly VirtualServer[],
    remove: readonly ServerKey[],
    isContinued: boolean,
  ): void => {
    isAhead = isContinued;
    try {
      balancer().change(put, remove, isContinued);
    } catch (thrown) {
      behind = true;
      throw thrown;
    }
  };

  const setStanding = (key: ServerKey, existing: Standing | undefined): void => {
    if (existing === undefined) standings.delete(key);
    else standings.set(key, new PackedStanding(existing));
    if (existing !== undefined && existing.drains.length > 0) ending.add(key);
    else ending.delete(key);
  };

  /** The connections of a former holder end at once: its backends get none of the new holder's clients. */
  const settled = (
    before: Standing | undefined,
    { server, graceSeconds, forgetsGone }: Partial<WantedServer> = {},
  ): Standing | undefined => {
    const isHandedOver =
      before !== undefined && server !== undefined && before.server.service !== server.service;
    if (isHandedOver)
      log.info(
        { from: before.server.service, to: server.service, at: placeTextOf(keyOf(server)) },
        'an address passed to another service',
      );
    const after = settle(before, server, now(), isHandedOver ? 0 : graceSeconds, forgetsGone);
    return after === undefined || graceSeconds === undefined ? after : { ...after, graceSeconds };
  };

  for (const [key, existing] of store.standings()) setStanding(key, existing);

  const all: Iterable<VirtualServer> = {
    *[Symbol.iterator]() {
      for (const existing of standings.values()) yield existing.server;
    },
  };

  return {
    standings,
    ending,
    all,
    resettle(touched, stored = {}, over = new Map<ServerKey, readonly Drain[]>(), isContinued = false) {
      const keys = new Set(touched);
      const wanted = wantedOf(keys, services);
      const put: VirtualServer[] = [];
      const remove: ServerKey[] = [];
      const changed: [ServerKey, Standing | undefined][] = [];
      const durable: [ServerKey, Standing | undefined][] = [];
      for (const key of keys) {
        const before = standings.get(key);
        const after = settled(unpacked(before, over.get(key)), wanted.get(key));
        changed.push([key, after]);
        if ((after?.drains.length ?? 0) > 0) durable.push([key, after]);
        else if ((before?.drains.length ?? 0) > 0) durable.push([key, undefined]);
        if (after === undefined) {
          if (before !== undefined) remove.push(key);
        } else if (before?.packed !== packServer(after.server)) put.push(after.server);
      }
      store.write({
        ...stored,
        standings: durable,
        servers: changed.map(([key, after]) => [key, after?.server.service]),
      });
      for (const [key, after] of changed) setStanding(key, after);
      if (put.length + remove.length > 0) change(put, remove, isContinued);
    },
    resettleAll(wanted) {
      const existing = new Set<ServerKey>();
      for (const each of wanted) {
        existing.add(each.key);
        setStanding(each.key, settled(standings.get(each.key), each));
      }
      for (const [key, before] of standings)
        if (!existing.has(key))
          setStanding(
            key,
            services.claims.holderOf(key) === undefined ? settle(before, undefined, now()) : undefined,
          );
      store.nodePorts.writeAll(nodePortsIn(standings));
    },
    catchUp(isContinued = false) {
      if (isAhead && !isContinued) change([], [], false);
      if (behind) balancer().reconcile(all);
      behind = false;
    },
    isBehind: () => behind,
    caughtUp: () => (behind = false),
  };
}

/** Returns a state whose server is read once, with these drains over. */
function unpacked(
  existing: PackedStanding | undefined,
  over: readonly Drain[] | undefined,
): Standing | undefined {
  if (existing === undefined) return undefined;
  const { server, drains, graceSeconds } = existing;
  const read: Standing = { server, drains, graceSeconds };
  return over === undefined ? read : withOver(read, over);
}

function* nodePortsIn(standings: ReadonlyMap<ServerKey, Standing>): Generator<[ServerKey, VirtualServer]> {
  for (const [key, existing] of standings) if (key.includes(' * ')) yield [key, existing.server];
}
