import { formatIp, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import { supportedVersions } from './cni-version.ts';
import type { Fields } from './fields.ts';
import type { CniDns, CniInterface, CniIp, CniResult, CniRoute } from './result.ts';

/**
 * Converts results between the version of a call and ours, 1.1 (CNI specifications 0.1.0 to 1.1.0, "Result").
 * Fields that a version cannot express are dropped, as libcni's converters do (pkg/types/{020,040,100}).
 * Pure.
 */

/**
 * Reads a result such as a `prevResult`. Problems are recorded in the fields.
 * @param version the version of the configuration; it applies to a result that names no version
 */
export function readResult(given: Fields, version: string): CniResult {
  const declared = given.text('cniVersion') ?? '';
  const own = declared === '' ? version : declared;
  if (!supportedVersions.includes(own))
    given.problem('cniVersion', `results of CNI version ${JSON.stringify(own)} are not supported`);
  const dns = readDns(given.object('dns'));
  if (isOldest(own)) {
    const parts = [given.object('ip4'), given.object('ip6')].map((part, index) =>
      part === undefined ? undefined : readOld(part, index === 0 ? 4 : 6),
    );
    return {
      interfaces: [],
      ips: parts.flatMap((part) => part?.ips ?? []),
      routes: parts.flatMap((part) => part?.routes ?? []),
      dns,
    };
  }
  const interfaces = given.objects('interfaces').map(readInterface);
  return {
    interfaces,
    ips: given.objects('ips').flatMap((entry) => readIp(entry, interfaces.length) ?? []),
    routes: given.objects('routes').flatMap((entry) => readRoute(entry) ?? []),
    dns,
  };
}

/**
 * Returns the result in the given version, or undefined if the version cannot express it. Before 0.3.0 this
 * is a result without an address. Before 0.3.0 the result contains only the first address of each family.
 */
export function resultAs(result: CniResult, version: string): Readonly<Record<string, unknown>> | undefined {
  if (isOldest(version)) return oldest(result, version);
  const modern = version.startsWith('1.');
  const dns = dnsOf(result.dns);
  return {
    cniVersion: version,
    ...list(
      'interfaces',
      result.interfaces.map(
        modern ? (each) => each : ({ name, mac, sandbox }) => defined({ name, mac, sandbox }),
      ),
    ),
    ...list(
      'ips',
      result.ips.map((ip) => (modern ? ip : { version: isIpv4(ip.address) ? '4' : '6', ...ip })),
    ),
    ...list('routes', result.routes),
    ...(modern && Object.keys(dns).length === 0 ? {} : { dns }),
  };
}

const isOldest = (version: string): boolean => version === '0.1.0' || version === '0.2.0';
const isIpv4 = (address: string): boolean => !address.includes(':');
const list = (name: string, values: readonly unknown[]): Record<string, unknown> =>
  values.length === 0 ? {} : { [name]: values };

function oldest(result: CniResult, version: string): Record<string, unknown> | undefined {
  const part = (family: 4 | 6): Record<string, unknown> | undefined => {
    const of = (text: string): boolean => isIpv4(text) === (family === 4);
    const ip = result.ips.find(({ address }) => of(address));
    if (ip === undefined) return undefined;
    const routes = result.routes.filter(({ dst }) => of(dst)).map(({ dst, gw }) => defined({ dst, gw }));
    return { ip: ip.address, ...defined({ gateway: ip.gateway }), ...list('routes', routes) };
  };
  const [ip4, ip6] = [part(4), part(6)];
  if (ip4 === undefined && ip6 === undefined) return undefined;
  return { cniVersion: version, ...defined({ ip4, ip6 }), dns: dnsOf(result.dns) };
}

function readOld(part: Fields, family: 4 | 6): { ips: CniIp[]; routes: CniRoute[] } {
  const address = readCidr(part, 'ip');
  if (address !== undefined && isIpv4(address) !== (family === 4))
    part.problem('ip', `${address} is not an IPv${family} address`);
  const gateway = readAddress(part, 'gateway');
  return {
    ips: address === undefined ? [] : [defined({ address, gateway })],
    routes: part.objects('routes').flatMap((entry) => readRoute(entry) ?? []),
  };
}

function readInterface(entry: Fields): CniInterface {
  const name = entry.text('name') ?? '';
  const mtu = readCount(entry, 'mtu', 65_535);
  const texts = {
    mac: entry.text('mac'),
    sandbox: entry.text('sandbox'),
    socketPath: entry.text('socketPath'),
    pciID: entry.text('pciID'),
  };
  const filled = Object.fromEntries(
    Object.entries(texts).filter(([, text]) => text !== undefined && text !== ''),
  );
  return { name, ...filled, ...(mtu === undefined || mtu === 0 ? {} : { mtu }) };
}

function readIp(entry: Fields, interfaces: number): CniIp | undefined {
  const address = readCidr(entry, 'address');
  const gateway = readAddress(entry, 'gateway');
  const at = readCount(entry, 'interface', Number.MAX_SAFE_INTEGER);
  if (at !== undefined && at >= interfaces)
    entry.problem('interface', `${at} is not an index into the ${interfaces} interfaces`);
  // The field 'version' of 0.3.0 to 0.4.0 repeats what the address says already.
  return address === undefined ? undefined : defined({ address, gateway, interface: at });
}

function readRoute(entry: Fields): CniRoute | undefined {
  const dst = readCidr(entry, 'dst');
  const gw = readAddress(entry, 'gw');
  const numbers = {
    mtu: nonZero(readCount(entry, 'mtu', maxU32)),
    advmss: nonZero(readCount(entry, 'advmss', maxU32)),
    priority: nonZero(readCount(entry, 'priority', maxU32)),
    table: readCount(entry, 'table', maxU32),
    scope: readCount(entry, 'scope', 255),
  };
  return dst === undefined ? undefined : defined({ dst, gw, ...numbers });
}

function readDns(given: Fields | undefined): CniDns {
  if (given === undefined) return {};
  const texts = (name: string): readonly string[] | undefined => {
    const found = given.texts(name);
    return found.length === 0 ? undefined : found;
  };
  const domain = given.text('domain');
  return defined({
    nameservers: texts('nameservers'),
    domain: domain === '' ? undefined : domain,
    search: texts('search'),
    options: texts('options'),
  });
}

function dnsOf({ nameservers, domain, search, options }: CniDns): Record<string, unknown> {
  return {
    ...list('nameservers', nameservers ?? []),
    ...(domain === undefined || domain === '' ? {} : { domain }),
    ...list('search', search ?? []),
    ...list('options', options ?? []),
  };
}

const maxU32 = 0xffff_ffff;
const nonZero = (value: number | undefined): number | undefined => (value === 0 ? undefined : value);

function readCount(entry: Fields, name: string, most: number): number | undefined {
  const value = entry.whole(name);
  if (value === undefined || (value >= 0 && value <= most)) return value;
  entry.problem(name, `${value} is not between 0 and ${most}`);
  return undefined;
}

/** Reads an address with its prefix length, and returns it in canonical form. */
function readCidr(entry: Fields, name: string): string | undefined {
  const text = entry.text(name);
  const prefix = text === undefined ? undefined : parsePrefix(text);
  if (prefix !== undefined) return `${formatIp(prefix.address)}/${prefix.length}`;
  if (text !== undefined)
    entry.problem(
      name,
      `${JSON.stringify(text)} is not an address with its prefix length, such as 10.88.0.2/16`,
    );
  else if (!entry.has(name)) entry.problem('', `'${name}' is missing`);
  return undefined;
}

function readAddress(entry: Fields, name: string): string | undefined {
  const text = entry.text(name);
  if (text === undefined || text === '') return undefined;
  const address = parseIp(text);
  if (address === undefined) entry.problem(name, `${JSON.stringify(text)} is not an IP address`);
  return address === undefined ? undefined : formatIp(address);
}

/** Returns the object without its undefined properties. */
function defined<T extends object>(value: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as {
    [Name in keyof T]: Exclude<T[Name], undefined>;
  };
}
