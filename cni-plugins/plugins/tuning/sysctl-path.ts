/** Names of sysctls. Pure. */

/** The path below /proc/sys with the interface's name in place of `IFNAME`, and the name that an allow list is matched with. */
export interface SysctlName {
  /** `net/ipv4/conf/eth0/arp_filter`. */
  readonly path: string;
  /** `net.ipv4.conf.IFNAME.arp_filter`. */
  readonly dotted: string;
}

/**
 * As sysctl(8): the first separator of a name is its separator; a `.` within a name that is separated by `/` is part of it, as in
 * `net/ipv4/conf/eth0.5/arp_filter`, and the other way round. Undefined when it is no sysctl of the network or not one path.
 */
export function sysctlNameOf(given: string, interfaceName: string): SysctlName | undefined {
  const separator = /[./]/u.exec(given)?.[0];
  if (separator === undefined) return undefined;
  const parts = given.split(separator).map((part) => (separator === '.' ? part.replaceAll('/', '.') : part));
  const filled = parts.map((part) => (part === 'IFNAME' ? interfaceName : part));
  const isSafe = (part: string): boolean => /^[\w.:@+-]+$/u.test(part) && part !== '.' && part !== '..';
  if (filled[0] !== 'net' || filled.length < 3 || !filled.every(isSafe)) return undefined;
  return { path: filled.join('/'), dotted: parts.map((part) => part.replaceAll('.', '/')).join('.') };
}
