import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { dropsByDefault } from '../netlink/nft-chains.ts';
import { openNetlink } from '../netlink/socket.ts';

/**
 * Base chains of others that drop what is forwarded unless they accept it themselves, as `family table chain`: docker's `ip filter FORWARD`. Where
 * br_netfilter is loaded they see what crosses a bridge as well, and no table of ours can lift it. Of the caller's network namespace; chains of
 * iptables-legacy are not seen. Synchronous; root only. @throws NETWORK_KERNEL_<ERRNO>: nf_tables can not be asked
 */
export function forwardDroppers(): readonly string[] {
  const filter = openNetlink(NETLINK_NETFILTER);
  try {
    return dropsByDefault(filter, 'forward').filter((chain) => !(chain.split(' ')[1] ?? '').startsWith('portcullis'));
  } finally {
    filter.close();
  }
}
