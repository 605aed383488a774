import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * The target class of an address, for the rule about redirects. `elsewhere` is every other address, including
 * private networks. `name` must be resolved first. `unreadable` is not an address.
 */
export type AddressClass =
  | 'loopback'
  | 'unspecified'
  | 'link-local'
  | 'metadata'
  | 'multicast'
  | 'elsewhere'
  | 'name'
  | 'unreadable';

/** Cloud services that a machine can reach and that give out its credentials. */
const metadataServices: ReadonlySet<string> = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
]);

/** By ipaddr.js' names of ranges. `broadcast` reaches the local link. */
const classes: Readonly<Record<string, AddressClass>> = {
  loopback: 'loopback',
  unspecified: 'unspecified',
  linkLocal: 'link-local',
  broadcast: 'link-local',
  multicast: 'multicast',
};

/**
 * Returns the class of a numeric address in the form that a resolver or a socket reports: IPv4 or IPv6, with
 * or without a zone. An IPv6 address that carries an IPv4 address (mapped, compatible, translated, NAT64,
 * 6to4, Teredo, ISATAP) has the class of the IPv4 address unless that class is `elsewhere`.
 */
export function classOfAddress(text: string): AddressClass {
  const bare = text.replace(/%.*$/su, '');
  const version = isIP(bare);
  if (version === 0) return 'unreadable';
  return version === 4 ? classOfIPv4(ipaddr.IPv4.parse(bare)) : classOfIPv6(ipaddr.IPv6.parse(bare));
}

/**
 * Returns the class of a host as written in a URL or a reference, in any spelling that the URL standard
 * accepts: `0x7f.1`, `2130706433`, `[::ffff:7f00:1]`, `LOCALHOST.`. Names under `localhost` are loopback (RFC
 * 6761, section 6.3).
 */
export function classOfHost(host: string): AddressClass {
  const plain = isIP(host.replace(/%.*$/su, '')) === 0 ? URL.parse(`http://${host}`)?.hostname : host;
  if (plain === undefined || plain === '') return 'unreadable';
  const name = plain.replace(/^\[|\]$/gu, '').replace(/\.+$/u, '');
  if (name === '') return 'unreadable';
  const known = classOfAddress(name);
  if (known !== 'unreadable') return known;
  return /^(?:.+\.)?(?:localhost|ip6-localhost|ip6-loopback)$/iu.test(name) ? 'loopback' : 'name';
}

/**
 * Returns whether the text of a host names this machine's loopback interface. A name that must be resolved
 * does not.
 */
export function isLoopback(host: string): boolean {
  return classOfHost(host) === 'loopback';
}

function classOfIPv4(address: ipaddr.IPv4): AddressClass {
  return metadataServices.has(address.toString()) ? 'metadata' : (classes[address.range()] ?? 'elsewhere');
}

function classOfIPv6(address: ipaddr.IPv6): AddressClass {
  if (metadataServices.has(address.toRFC5952String())) return 'metadata';
  const own = classes[address.range()];
  if (own !== undefined) return own;
  for (const carried of carriedBy(address.toByteArray())) {
    const found = classOfIPv4(carried);
    if (found !== 'elsewhere') return found;
  }
  return 'elsewhere';
}

const startsWith = (bytes: readonly number[], ...prefix: readonly number[]): boolean =>
  prefix.every((byte, at) => bytes[at] === byte);

/** Returns the IPv4 addresses to which an IPv6 address may be translated on its way. */
function carriedBy(bytes: readonly number[]): ipaddr.IPv4[] {
  const at = (...places: readonly number[]): ipaddr.IPv4 =>
    new ipaddr.IPv4(places.map((place) => bytes[place] ?? 0));
  const last = at(12, 13, 14, 15);
  const zeros = (count: number): number[] => new Array<number>(count).fill(0);
  // Compatible and mapped (RFC 4291, section 2.5.5), translated (RFC 2765, section 2.1).
  if (
    startsWith(bytes, ...zeros(12)) ||
    startsWith(bytes, ...zeros(10), 0xff, 0xff) ||
    startsWith(bytes, ...zeros(8), 0xff, 0xff, 0, 0)
  )
    return [last];
  // NAT64 (RFC 6052, section 2.1), and its prefix for local use (RFC 8215), in which the address may be at
  // four positions.
  if (startsWith(bytes, 0, 0x64, 0xff, 0x9b, ...zeros(8))) return [last];
  if (startsWith(bytes, 0, 0x64, 0xff, 0x9b, 0, 1)) {
    const places = [at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12), last].filter(
      (address) => address.range() !== 'unspecified',
    );
    return places.length === 0 ? [last] : places;
  }
  // 6to4 (RFC 3056, section 2), Teredo (RFC 4380, section 4), ISATAP (RFC 5214, section 6.1).
  if (startsWith(bytes, 0x20, 0x02)) return [at(2, 3, 4, 5)];
  if (startsWith(bytes, 0x20, 0x01, 0, 0))
    return [new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 0xff))];
  if (((bytes[8] ?? 0) & 0xfd) === 0 && startsWith(bytes.slice(9), 0, 0x5e, 0xfe)) return [last];
  return [];
}
