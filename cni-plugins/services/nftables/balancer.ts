import { reasonOf } from '../../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { isRefusal, generationOf, openNetlink, transact } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerCounts, ServerKey, VirtualServer } from '../model/model.ts';
import { openOwnAddresses } from '../source-ranges/own-address.ts';
import { countsOf, cutConnections } from './connections.ts';
import { createCurrentTables } from './current-tables.ts';
import { withDenied } from './denied.ts';
import { planChange, relocate, reweigh } from './table-content.ts';
import { refusalOf } from './plan.ts';
import { dropTable } from './readout.ts';
import { families } from './seen-state.ts';
import type { Holdings } from './seen-state.ts';
import { dropUnusedModes } from './unused-modes.ts';

/** Implements virtual servers in nf_tables: constant rules, and map elements that change. */

/**
 * Acts in the network namespace of the calling thread at this moment. Creates nothing before the first
 * `reconcile` or `change`.
 * @throws NETWORK_KERNEL_EOPNOTSUPP (a kernel without nf_tables)
 */
export function openNftablesBalancer(): Balancer {
  const filter = openNetlink(NETLINK_NETFILTER);
  const own = openOwnAddresses();
  const tables = createCurrentTables(filter, own);

  return {
    kind: 'nftables',
    refuse: refusalOf,
    reconcile(servers) {
      tables.settle();
      return tables.reconcile(servers);
    },
    change(put, remove, isContinued = false) {
      tables.settle();
      tables.change(
        () => changed(tables.all(), put, remove),
        (now) => {
          const planned = families.map((family) =>
            planChange(
              filter,
              now[family],
              put.filter((server) => server.family === family),
              remove.filter((key) => key.startsWith(`${family} `)),
            ),
          );
          return {
            requests: planned.flatMap(({ requests }) => requests),
            taken: () => planned.map(({ taken }) => taken()).includes(true),
          };
        },
        isContinued,
      );
    },
    cut(key, destination) {
      tables.settle();
      const server = tables.find(key);
      if (server === undefined) return 0;
      return cutConnections(filter, server, destination, (other) => tables.find(other) !== undefined);
    },
    counts(of) {
      tables.settle();
      const holdings = tables.holdings();
      const known =
        holdings === undefined ? new Map(tables.all().map((server) => [keyOf(server), server])) : undefined;
      return countsIn(
        filter,
        holdings,
        (key) => (known === undefined ? tables.find(key) : known.get(key)),
        of,
      );
    },
    tick() {
      tables.settle();
      // The state is unknown, and `changedByOthers` reports it.
      if (tables.holdings() === undefined) return;
      tables.change(tables.all, (now) => {
        const reshaped = families.map((family) => {
          const holding = now[family];
          if (holding.restricted.size > 0) relocate(filter, holding, own.of(family));
          const made = reweigh(filter, holding);
          return dropUnusedModes(filter, holding) || made;
        });
        return { requests: [], taken: () => reshaped.includes(true) };
      });
    },
    restore() {
      tables.settle();
      return tables.restore();
    },
    takeRepairs: () => tables.takeRepairs(),
    changedByOthers() {
      tables.settle();
      return tables.differ();
    },
    removeAll() {
      tables.settle();
      tables.forget();
      transact(filter, families.flatMap(dropTable));
    },
    close() {
      // The kernel takes the last change or not: the next process compares everything.
      filter.close();
      own.close();
    },
  };
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
