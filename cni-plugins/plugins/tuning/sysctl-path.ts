/** Names of sysctls. Pure. */

/**
 * The path below /proc/sys with the interface's name in place of `IFNAME`, and the name that an allow list is
 * matched against.
 */
export interface SysctlName {
  /** `net/ipv4/conf/eth0/arp_filter`. */
  readonly path: string;
  /** `net.ipv4.conf.IFNAME.arp_filter`. */
  readonly dotted: string;
}

/**
 * Parses a name like sysctl(8): the first separator of a name is its separator. A `.` within a name that is
 * separated by `/` is part of it, as in `net/ipv4/conf/eth0.5/arp_filter`, and vice versa. Returns undefined
 * when it is not a network sysctl or not a single path.
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
