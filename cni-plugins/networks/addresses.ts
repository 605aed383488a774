import { formatIp, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { readDhcpConfig } from '../dhcp/config.ts';
import type { DhcpConfig } from '../dhcp/config.ts';
import { fieldsOf } from '../spec/fields.ts';
import type { Fields, Problems } from '../spec/fields.ts';
import { readConfigurationJson } from '../spec/json-text.ts';
import type { RangeSet } from '../spec/network-config.ts';
import { readRangeSets } from '../spec/ranges.ts';
import type { CniResult, CniRoute } from '../spec/result.ts';
import type { AddressPlugin, LeasedAddress } from '../plugins/contract/contract.ts';
import { addressPlugins } from '../plugins/registry.ts';
import { readRoutes } from '../plugins/ipam/read.ts';
import { bareType } from '../calls/plugin-type.ts';

/** The source of a configuration's addresses. Pure. */
export type AddressSource =
  | { readonly from: 'nowhere' }
  /**
   * The ranges of the configuration, leased in the database, with the semantics of the upstream plugin
   * host-local.
   */
  | LeaseSource
  /** An IPAM plugin of ours without a store. */
  | { readonly from: 'plugin'; lease(): GivenAddresses }
  /** A DHCP server on the network of the interface. */
  | { readonly from: 'dhcp'; readonly config: DhcpConfig }
  /** A program in CNI_PATH. */
  | { readonly from: 'program'; readonly type: string };

/** Without the prefix, the upstream program of that name is meant. */
const ownDhcp = 'portcullis-dhcp';

/** The upstream program dhcp looks the interface up in the pod, and sends and receives on it. */
export const needsInterface = ({ type }: { readonly type: string }): boolean => type === 'dhcp';

export interface LeaseSource {
  readonly from: 'ranges';
  readonly rangeSets: readonly RangeSet[];
  readonly wanted: readonly IpAddress[];
  readonly routes: readonly CniRoute[];
  /** Folder of upstream's own store. Addresses in it count as taken. */
  readonly dataDir: string;
  /** A file from which the DNS settings are read. */
  readonly resolvConf?: string;
}

export interface GivenAddresses {
  readonly addresses: readonly LeasedAddress[];
  readonly routes: CniResult['routes'];
  readonly dns: CniResult['dns'];
}

export const leasingTypes: readonly string[] = ['ipam', 'host-local'];

/**
 * Reads `ipam` and related values: the capabilities `ips` and `ipRanges`, IP in CNI_ARGS, and `args.cni.ips`.
 */
export function readAddressSource(config: Fields, args: Readonly<Record<string, string>>): AddressSource {
  const ipam = config.object('ipam');
  const given = ipam?.text('type') ?? '';
  if (ipam === undefined || given === '') return { from: 'nowhere' };
  const type = bareType(given);
  // A driver of libnetwork assigns the addresses; the plugin cnm requests them itself.
  if (type === 'cnm') return { from: 'nowhere' };
  if (given === ownDhcp) return { from: 'dhcp', config: readDhcpConfig(ipam) };
  if (leasingTypes.includes(type)) return readLeaseSource(config, ipam, args);
  const plugin = addressPlugins.find((candidate) => candidate.type === type);
  if (plugin !== undefined) return givenBy(plugin, config, args);
  if (!/^[^/\s]+$/u.test(given)) ipam.problem('type', `${JSON.stringify(given)} is not the name of a plugin`);
  return { from: 'program', type: given };
}

function givenBy(
  plugin: AddressPlugin,
  config: Fields,
  args: Readonly<Record<string, string>>,
): AddressSource {
  const read = plugin.read(config, args);
  return { from: 'plugin', lease: () => plugin.lease(read) };
}

function readLeaseSource(config: Fields, ipam: Fields, args: Readonly<Record<string, string>>): LeaseSource {
  const runtime = config.object('runtimeConfig');
  const dataDir = ipam.text('dataDir') ?? '';
  const resolvConf = ipam.text('resolvConf') ?? '';
  for (const [name, path] of [
    ['dataDir', dataDir],
    ['resolvConf', resolvConf],
  ] as const)
    if (path !== '' && !path.startsWith('/'))
      ipam.problem(name, `${JSON.stringify(path)} is not an absolute path`);
  const wantedIn = (fields: Fields | undefined): IpAddress[] =>
    fields?.texts('ips').flatMap((text) => addressIn(text) ?? note(fields, 'ips', text)) ?? [];
  const fromArgs =
    args['IP'] === undefined || args['IP'] === ''
      ? []
      : args['IP'].split(',').flatMap((text) => addressIn(text) ?? note(config, '', text));
  return {
    from: 'ranges',
    rangeSets: readRangeSets(ipam, runtime?.lists('ipRanges')),
    wanted: unique([...wantedIn(config.object('args')?.object('cni')), ...fromArgs, ...wantedIn(runtime)]),
    routes: readRoutes(ipam),
    dataDir: dataDir === '' ? '/var/lib/cni/networks' : dataDir,
    ...(resolvConf === '' ? {} : { resolvConf }),
  };
}

/** Accepts an address with or without a prefix length. */
const addressIn = (text: string): IpAddress | undefined => parseIp(text.replace(/\/\d{1,3}$/u, ''));

function note(fields: Fields, name: string, text: string): IpAddress[] {
  fields.problem(name, `${JSON.stringify(text)} is not an IP address`);
  return [];
}

const unique = (addresses: readonly IpAddress[]): IpAddress[] => [
  ...new Map(addresses.map((address) => [formatIp(address), address])).values(),
];

/** Parses a configuration into fields. Its problems are added to `problems`. */
export function readConfig(config: string, problems: Problems): Fields | undefined {
  const source = readConfigurationJson(config);
  if ('message' in source) {
    problems.push(`stdin:${source.line}:${source.column}: ${source.message}`);
    return undefined;
  }
  return fieldsOf(source.value, [], 'stdin', source, problems);
}
