import { reasonOf } from '../../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { isRefusal, generationOf, transact, openNetlink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerCounts, ServerKey, VirtualServer } from '../model/model.ts';
import { unpackServer } from '../model/serialized-server.ts';
import { openOwnAddresses } from '../source-ranges/own-address.ts';
import { countsOf, cutConnections } from './connections.ts';
import { withDenied } from './denied.ts';
import { applyChange, dropUnusedModes, relocate, reweigh } from './table-content.ts';
import type { TableContent } from './table-content.ts';
import { refusalOf } from './plan.ts';
import { dropTable } from './readout.ts';
import { bring } from './reconcile.ts';
import { isMissing, restore, serversIn } from './restore.ts';
import { createSeenState, families } from './seen-state.ts';
import type { Holdings } from './seen-state.ts';

/** Implements virtual servers in nf_tables: constant rules, and map elements that change. */

/**
 * Acts in the network namespace of the calling thread at this moment. Creates nothing before the first
 * `reconcile` or `change`.
 * @throws NETWORK_KERNEL_EOPNOTSUPP (a kernel without nf_tables)
 */
export function openNftablesBalancer(): Balancer {
  const filter = openNetlink(NETLINK_NETFILTER);
  const own = openOwnAddresses();
  const seen = createSeenState(filter);
  let holdings: Holdings | undefined;
  /** The wanted servers while `holdings` are unknown: before the first call, and after a failed one. */
  let owed: Iterable<VirtualServer> = [];

  const reconcile = (servers: Iterable<VirtualServer>): number => {
    const former = holdings;
    const afterLoss = former === undefined;
    holdings = undefined;
    owed = servers;
    const [four, six] = [
      bring(filter, 4, servers, afterLoss, own.of(4), former?.[4]),
      bring(filter, 6, servers, afterLoss, own.of(6), former?.[6]),
    ];
    holdings = { 4: four.holding, 6: six.holding };
    seen.remember(holdings);
    return four.differences + six.differences;
  };

  const all = (): VirtualServer[] => [...(holdings === undefined ? owed : serversIn(holdings))];
  const find = (key: ServerKey): VirtualServer | undefined => {
    if (holdings === undefined) return all().find((server) => keyOf(server) === key);
    const kept = holdings[4].standing.get(key) ?? holdings[6].standing.get(key);
    return kept && unpackServer(kept.packed);
  };

  /**
   * Recreates everything if another program removed both tables. A comparison would take many times as long,
   * and until it is over no connection reaches a service.
   * @returns how many servers it recreated; undefined: something is left
   */
  const restoreIfMissing = (now: Holdings): number | undefined => {
    if (!families.every((family) => isMissing(filter, now[family]))) return undefined;
    owed = serversIn(now);
    holdings = undefined;
    const differed = families.reduce((sum, family) => sum + restore(filter, now[family]), 0);
    holdings = now;
    seen.remember(now);
    return differed;
  };

  /**
   * Changes the current state. If another program changed our objects, restores everything, with `wanted`.
   * After any other failure, the next call does so.
   * @param act returns whether modes came or went
   */
  const changing = (
    wanted: () => readonly VirtualServer[],
    act: (holding: TableContent) => boolean,
  ): void => {
    const now = holdings;
    if (now === undefined) {
      reconcile(wanted());
      return;
    }
    try {
      if (seen.before(now)) restoreIfMissing(now);
      const reshaped = families.map((family) => act(now[family]));
      if (reshaped.includes(true)) seen.reshaped(now);
    } catch (thrown) {
      owed = wanted();
      holdings = undefined;
      if (!isRefusal(thrown, 'ENOENT', 'EEXIST', 'EBUSY')) throw thrown;
      reconcile(owed);
    }
  };

  const change = (put: readonly VirtualServer[], remove: readonly ServerKey[]): void => {
    changing(
      () => changed(all(), put, remove),
      (holding) =>
        applyChange(
          filter,
          holding,
          put.filter(({ family }) => family === holding.family),
          remove.filter((key) => key.startsWith(`${holding.family} `)),
        ),
    );
  };

  return {
    kind: 'nftables',
    refuse: refusalOf,
    reconcile,
    change,
    cut(key, destination) {
      const server = find(key);
      return server === undefined ? 0 : cutConnections(filter, server, destination);
    },
    counts(of) {
      const known =
        holdings === undefined ? new Map(all().map((server) => [keyOf(server), server])) : undefined;
      return countsIn(filter, holdings, (key) => (known === undefined ? find(key) : known.get(key)), of);
    },
    tick() {
      // The state is unknown, and `changedByOthers` reports it.
      if (holdings === undefined) return;
      changing(all, (holding) => {
        if (holding.restricted.size > 0) relocate(filter, holding, own.of(holding.family));
        const made = reweigh(filter, holding);
        return dropUnusedModes(filter, holding) || made;
      });
    },
    restore: () => (holdings === undefined ? undefined : restoreIfMissing(holdings)),
    changedByOthers: () => holdings === undefined || seen.differs(holdings),
    removeAll() {
      holdings = undefined;
      owed = [];
      transact(filter, families.flatMap(dropTable));
    },
    close() {
      filter.close();
      own.close();
    },
  };
}

/** Counts the connections of the servers `of`; undefined: of all. */
function countsIn(
  filter: NetlinkSocket,
  holdings: Holdings | undefined,
  find: (key: ServerKey) => VirtualServer | undefined,
  of: ReadonlySet<ServerKey> | undefined,
): readonly ServerCounts[] {
  return families.flatMap((family) => {
    const asked = of && new Set([...of].filter((key) => key.startsWith(`${family} `)));
    if (asked?.size === 0) return [];
    const counts = countsOf(filter, family, find, asked);
    return holdings === undefined ? counts : withDenied(filter, holdings[family], counts, asked);
  });
}

/** Returns the servers after a change. Pure. */
function changed(
  before: readonly VirtualServer[],
  put: readonly VirtualServer[],
  remove: readonly ServerKey[],
): VirtualServer[] {
  const servers = new Map(before.map((server) => [keyOf(server), server]));
  for (const key of remove) servers.delete(key);
  for (const server of put) servers.set(keyOf(server), server);
  return [...servers.values()];
}

/** Returns why this kernel cannot balance by nf_tables, or undefined if it can. */
export function canBalanceByNftables(): string | undefined {
  const filter = openNetlink(NETLINK_NETFILTER);
  try {
    generationOf(filter);
    return undefined;
  } catch (thrown) {
    if (!isRefusal(thrown, 'EOPNOTSUPP', 'EINVAL', 'EPERM')) throw thrown;
    return `the kernel has no nf_tables, or does not let us use it: ${reasonOf(thrown)}`;
  } finally {
    filter.close();
  }
}
