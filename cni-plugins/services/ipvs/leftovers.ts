import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { getTable, transact, openNetlink } from '../../../base/netlink/index.ts';
import { openServiceLink } from './link.ts';
import { removeTable, tableFamilies, tableOf } from './tables.ts';

/**
 * Finds and removes the objects of the balancer besides IPVS itself, in the namespace of the calling thread:
 * its link and its tables. It makes no request to IPVS, so it also works after the module was removed from
 * the kernel, which removed everything that IPVS held.
 */
export interface IpvsLeftovers {
  /** Whether this run or an earlier one has left any of it here. */
  stand(): boolean;
  remove(): void;
}

export const ipvsLeftovers: IpvsLeftovers = {
  stand() {
    const [netfilter, link] = [openNetlink(NETLINK_NETFILTER), openServiceLink()];
    try {
      return (
        link.stands() ||
        tableFamilies.some((family) => netfilter.find(getTable(tableOf(family)), 'ENOENT') !== undefined)
      );
    } finally {
      netfilter.close();
      link.close();
    }
  },
  remove() {
    const [netfilter, link] = [openNetlink(NETLINK_NETFILTER), openServiceLink()];
    try {
      transact(netfilter, tableFamilies.flatMap(removeTable));
      link.delete();
    } finally {
      netfilter.close();
      link.close();
    }
  },
};
