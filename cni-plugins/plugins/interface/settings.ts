import { parseIp, formatIp } from '../../../base/addresses/index.ts';
import { mainTable } from '../../../base/netlink/index.ts';
import type { Fields } from '../../spec/fields.ts';
import { isInterfaceName } from '../../spec/interface-name.ts';
import type { CniDns, CniRoute } from '../../spec/result.ts';
import type { LeasedAddress } from '../contract/contract.ts';
import type { CniIp } from '../../spec/result.ts';

/** Readers of fields that several plugins have. Pure. */

/** Returns undefined when it is absent or empty. */
export function readInterfaceName(fields: Fields, name: string): string | undefined {
  const given = fields.text(name) ?? '';
  if (given === '') return undefined;
  if (isInterfaceName(given)) return given;
  fields.problem(name, `${JSON.stringify(given)} is not an interface name`);
  return undefined;
}

/** Returns undefined when it is absent or 0: then the kernel's or the master's own value applies. */
export function readMtu(fields: Fields): number | undefined {
  const mtu = fields.whole('mtu') ?? 0;
  if (mtu === 0) return undefined;
  if (mtu >= 68 && mtu <= 65535) return mtu;
  fields.problem('mtu', `${mtu} is not an MTU: 68 to 65535, or 0`);
  return undefined;
}

const macPattern = /^[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}$/u;

/** Returns it in lower case with colons; undefined when it is not a unicast MAC address of 48 bits. */
export function parseMac(text: string): string | undefined {
  if (!macPattern.test(text)) return undefined;
  const mac = text.toLowerCase().replaceAll('-', ':');
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00' ? mac : undefined;
}

export function readMac(fields: Fields, name: string): string | undefined {
  const given = fields.text(name) ?? '';
  if (given === '') return undefined;
  const mac = parseMac(given);
  if (mac === undefined)
    fields.problem(name, `${JSON.stringify(given)} is not a MAC address of one interface`);
  return mac;
}

/**
 * Reads a MAC address in the order of the upstream plugins: the configuration, CNI_ARGS, the capability
 * `mac`. The last one given counts.
 */
export function readWantedMac(config: Fields, args: Readonly<Record<string, string>>): string | undefined {
  const own = readMac(config, 'mac');
  const fromArgs = args['MAC'] ?? '';
  if (fromArgs !== '' && parseMac(fromArgs) === undefined)
    config.problem('', `CNI_ARGS: MAC ${JSON.stringify(fromArgs)} is not a MAC address of one interface`);
  const runtime = config.object('runtimeConfig');
  const fromRuntime = runtime === undefined ? undefined : readMac(runtime, 'mac');
  return fromRuntime ?? parseMac(fromArgs) ?? own;
}

/**
 * Reads the capability `dns`, or `dns` of the configuration where the capability is absent; undefined when
 * neither exists.
 */
export function readDns(config: Fields): CniDns | undefined {
  const own = readDnsOf(config.object('dns'), { nameservers: 'nameservers', search: 'search' });
  return (
    readDnsOf(config.object('runtimeConfig')?.object('dns'), {
      nameservers: 'servers',
      search: 'searches',
    }) ?? own
  );
}

/**
 * @param names names of the two lists, which differ between results and capabilities (CNI's CONVENTIONS.md)
 */
function readDnsOf(
  dns: Fields | undefined,
  names: { readonly nameservers: string; readonly search: string },
): CniDns | undefined {
  if (dns === undefined) return undefined;
  const lists = Object.entries({ ...names, options: 'options' }).flatMap(([name, given]) => {
    const values = dns.texts(given);
    return values.length === 0 ? [] : [[name, values] as const];
  });
  for (const server of dns.texts(names.nameservers))
    if (parseIp(server) === undefined)
      dns.problem(names.nameservers, `${JSON.stringify(server)} is not an IP address`);
  const domain = dns.text('domain') ?? '';
  if (lists.length === 0 && domain === '') return undefined;
  return { ...Object.fromEntries(lists), ...(domain === '' ? {} : { domain }) };
}

/** Reports fields of an upstream plugin that are known but not supported. */
export function refuseFields(fields: Fields, unsupported: Readonly<Record<string, string>>): void {
  for (const [name, why] of Object.entries(unsupported)) if (fields.has(name)) fields.unsupported(name, why);
}

/** Returns `ips` of a result for addresses on the interface with that index. */
export const ipsOf = (addresses: readonly LeasedAddress[], interfaceIndex: number): CniIp[] =>
  addresses.map(({ address, gateway }) => ({
    address: `${formatIp(address.address)}/${address.length}`,
    ...(gateway === undefined ? {} : { gateway: formatIp(gateway) }),
    interface: interfaceIndex,
  }));

/**
 * Returns routes with the gateway that the kernel gets: the route's own, or that of the pod's address of the
 * same family. A route that names the main table is like one without a table, so that sbr and vrf move both.
 */
export function routesVia(routes: readonly CniRoute[], addresses: readonly LeasedAddress[]): CniRoute[] {
  return routes.map((given) => {
    const { table, ...rest } = given;
    const route = table === mainTable ? rest : given;
    if (route.gw !== undefined) return route;
    const family = route.dst.includes(':') ? 6 : 4;
    const gateway = addresses.find((candidate) => candidate.gateway?.family === family)?.gateway;
    return gateway === undefined ? route : { ...route, gw: formatIp(gateway) };
  });
}
