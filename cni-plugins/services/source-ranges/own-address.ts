import { NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import { lookUpRoute, openNetlink, attributesOf } from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';

/**
 * The address that this host has as a client of others, by family: the nearest equivalent of kube-proxy's
 * node address.
 */
export interface OwnAddresses {
  /** Returns 4 or 16 bytes, or undefined if no route leads out. */
  of(family: Family): Buffer | undefined;
  close(): void;
}

const RTA_PREFSRC = 7;
/**
 * Addresses in the blocks for documentation (RFC 5737, RFC 3849), to which only the default route leads.
 * Nothing is sent there.
 */
const faraway: Readonly<Record<Family, Uint8Array>> = {
  4: Uint8Array.of(192, 0, 2, 1),
  6: Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
};

/** Acts in the network namespace of the calling thread. */
export function openOwnAddresses(): OwnAddresses {
  const route = openNetlink(NETLINK_ROUTE);
  return {
    of(family) {
      const answer = route.find(
        lookUpRoute(faraway[family]),
        'ENETUNREACH',
        'EHOSTUNREACH',
        'EACCES',
        'EINVAL',
        'ENODEV',
        'EAFNOSUPPORT',
        'EOPNOTSUPP',
      );
      const source = answer && attributesOf(answer.body, 12).get(RTA_PREFSRC);
      return source && Buffer.from(source);
    },
    close: () => route.close(),
  };
}
