import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { droppingForwardChains, openNetlink } from '../../base/netlink/index.ts';

/**
 * Returns base chains of other programs that drop forwarded packets unless they accept them themselves, as
 * `family table chain`: for example docker's `ip filter FORWARD`. If br_netfilter is loaded, these chains
 * also see traffic that crosses a bridge, and no table of ours can override them. Reads the caller's network
 * namespace. It does not see chains of iptables-legacy. Synchronous; root only.
 * @throws NETWORK_KERNEL_<ERRNO>: nf_tables cannot be queried
 */
export function forwardDroppers(): readonly string[] {
  using filter = openNetlink(NETLINK_NETFILTER);
  return droppingForwardChains(filter).filter(
    (chain) => !(chain.split(' ')[1] ?? '').startsWith('portcullis'),
  );
}
