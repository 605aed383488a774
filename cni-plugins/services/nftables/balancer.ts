import { reasonOf } from '../../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { transact } from '../../netlink/nftables.ts';
import { openNetlink } from '../../netlink/socket.ts';
import { keyOf } from '../model.ts';
import type { Balancer, Family, ServerKey, VirtualServer } from '../model.ts';
import { countsOf, cutConnections } from './connections.ts';
import { applyChange, dropUnusedModes, reweigh } from './holding.ts';
import type { Holding } from './holding.ts';
import { refusalOf } from './plan.ts';
import { dropTable, generation, shapeOf } from './readout.ts';
import { bring } from './reconcile.ts';

/** Virtual servers in nf_tables: constant rules, and elements of maps that change. */

const families: readonly Family[] = [4, 6];
type Holdings = Readonly<Record<Family, Holding>>;

/**
 * In the network namespace of the calling thread at this moment. Makes nothing before the first `reconcile` or `change`.
 * @throws NETWORK_KERNEL_EOPNOTSUPP (a kernel without nf_tables)
 */
export function openNftablesBalancer(): Balancer {
  const filter = openNetlink(NETLINK_NETFILTER);
  let holdings: Holdings | undefined;
  let seen = { generation: -1, shape: '' };
  const shape = (all: Holdings): string =>
    families
      .map((family) =>
        shapeOf(
          filter,
          family,
          all[family].modes.all().map(([, mode]) => mode),
        ),
      )
      .join('; ');
  const remember = (all: Holdings): void => {
    seen = { generation: generation(filter), shape: shape(all) };
  };

  const reconcile = (servers: readonly VirtualServer[]): number => {
    holdings = undefined;
    const [four, six] = [4, 6].map((family) =>
      bring(
        filter,
        family as Family,
        servers.filter((server) => server.family === family),
      ),
    );
    if (four === undefined || six === undefined) throw new Error('unreachable');
    holdings = { 4: four.holding, 6: six.holding };
    remember(holdings);
    return four.differences + six.differences;
  };

  const open = (): Holdings => {
    if (holdings === undefined) reconcile([]);
    if (holdings === undefined) throw new Error('unreachable');
    return holdings;
  };

  const change = (put: readonly VirtualServer[], remove: readonly ServerKey[]): void => {
    const all = open();
    try {
      const reshaped = families.map((family) =>
        applyChange(
          filter,
          all[family],
          put.filter((server) => server.family === family),
          remove.filter((key) => key.startsWith(`${family} `)),
        ),
      );
      if (reshaped.includes(true)) remember(all);
    } catch (thrown) {
      holdings = undefined;
      if (!isRefusal(thrown, 'ENOENT', 'EEXIST', 'EBUSY')) throw thrown;
      // Another program changed what is ours: everything is brought back.
      const wanted = new Map(families.flatMap((family) => [...all[family].standing].map(([key, { server }]) => [key, server] as const)));
      for (const key of remove) wanted.delete(key);
      for (const server of put) wanted.set(keyOf(server), server);
      reconcile([...wanted.values()]);
    }
  };

  return {
    kind: 'nftables',
    refuse: refusalOf,
    reconcile,
    change,
    cut(key, destination) {
      const server = Object.values(open())
        .map(({ standing }) => standing.get(key)?.server)
        .find((found) => found !== undefined);
      return server === undefined ? 0 : cutConnections(filter, server, destination);
    },
    counts: () =>
      families.flatMap((family) =>
        countsOf(
          filter,
          family,
          [...open()[family].standing.values()].map(({ server }) => server),
        ),
      ),
    tick() {
      const all = open();
      const reshaped = families.map((family) => {
        const made = reweigh(filter, all[family]);
        return dropUnusedModes(filter, all[family]) || made;
      });
      if (reshaped.includes(true)) remember(all);
    },
    changedByOthers() {
      if (holdings === undefined) return true;
      const now = generation(filter);
      if (now === seen.generation) return false;
      const found = shape(holdings);
      if (found !== seen.shape) return true;
      seen = { generation: now, shape: found };
      return false;
    },
    removeAll() {
      transact(filter, families.flatMap(dropTable));
      holdings = undefined;
    },
    close: () => filter.close(),
  };
}

/** Why this kernel can not balance by nf_tables; undefined: it can. */
export function canBalanceByNftables(): string | undefined {
  const filter = openNetlink(NETLINK_NETFILTER);
  try {
    generation(filter);
    return undefined;
  } catch (thrown) {
    if (!isRefusal(thrown, 'EOPNOTSUPP', 'EINVAL', 'EPERM')) throw thrown;
    return `the kernel has no nf_tables, or does not let us use it: ${reasonOf(thrown)}`;
  } finally {
    filter.close();
  }
}
