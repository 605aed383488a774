import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { formatIp, ipBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { failure, reasonOf } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import {
  deleteAddress,
  listHostAddresses,
  openNetlink,
  putAddress,
  tolerating,
} from '../../base/netlink/index.ts';

/** The kernel gives the loopback link this number in every namespace. */
const loopback = 1;

/**
 * Adds the address of the node's name server, which pods use on every node, to the loopback link. A packet to
 * it then never leaves the host.
 * @throws PortcullisError NETWORK_DNS_ADDRESS_TAKEN when another link has the address: a service of the host
 * at this address would lose its questions to us
 */
export function putNodeAddress(address: IpAddress): void {
  const bytes = ipBytes(address);
  using route = openNetlink(NETLINK_ROUTE);
  const equal = listHostAddresses(route).filter((each) => bytes.equals(each.address));
  const other = equal.find(({ index }) => index !== loopback);
  if (other !== undefined) throw taken(address, other.index);
  if (!equal.some(({ length }) => length === bytes.length * 8))
    route.run([
      putAddress(
        loopback,
        { address: bytes, length: bytes.length * 8 },
        { prefixRoute: false, isSource: false },
      ),
    ]);
}

function taken(address: IpAddress, index: number): PortcullisError {
  return failure(
    'NETWORK_DNS_ADDRESS_TAKEN',
    'precondition',
    'add the address of the name server',
    formatIp(address),
    `the link with index ${index} on this host already has this address`,
    'set network.kubernetes.dns.address to an address that no host has, such as 169.254.20.10',
  );
}

/** Removes the address from the loopback link. */
function removeNodeAddress(address: IpAddress): void {
  const bytes = ipBytes(address);
  using route = openNetlink(NETLINK_ROUTE);
  tolerating(['EADDRNOTAVAIL', 'ENODEV'], () =>
    route.run([deleteAddress(loopback, bytes, bytes.length * 8)]),
  );
}

/**
 * Records the address, before it is added, and removes the one that was recorded before. The
 * address ends with the boot, so the file needs not be durable.
 * @param file stores the address that a former configuration had
 * @param address absent: there is none any more
 */
export function keepOneAddress(
  file: string,
  address: IpAddress | undefined,
  log: { warn(fields: object, message: string): void },
): void {
  try {
    const former = parseIp(existsSync(file) ? readFileSync(file, 'utf8').trim() : '');
    const now = address && formatIp(address);
    if (former !== undefined && formatIp(former) !== now) removeNodeAddress(former);
    if (now === undefined) rmSync(file, { force: true });
    else if (former === undefined || formatIp(former) !== now) writeFileSync(file, `${now}\n`);
  } catch (thrown) {
    log.warn({ file, why: reasonOf(thrown) }, 'the former address of the name server could not be removed');
  }
}
