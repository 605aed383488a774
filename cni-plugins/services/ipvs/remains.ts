import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { getTable } from '../../netlink/nftables.ts';
import { transact } from '../../netlink/nft-transactions.ts';
import { openNetlink } from '../../netlink/socket.ts';
import { openServiceLink } from './link.ts';
import { removeTable, tableFamilies, tableOf } from './tables.ts';

/**
 * What the balancer has beside IPVS itself, in the namespace of the calling thread: its link and its tables. Asks for nothing of IPVS, so it also
 * serves where the module was taken out of the kernel: with it went whatever IPVS held.
 */
export interface IpvsRemains {
  /** Whether an earlier run, or this one, has left any of it here. */
  stand(): boolean;
  remove(): void;
}

export const ipvsRemains: IpvsRemains = {
  stand() {
    const [netfilter, link] = [openNetlink(NETLINK_NETFILTER), openServiceLink()];
    try {
      return link.stands() || tableFamilies.some((family) => netfilter.find(getTable(tableOf(family)), 'ENOENT') !== undefined);
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
