import { dirname, isAbsolute } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import { readPlainFileSync } from '../../../base/files/index.ts';
import { isOurs, networksIn } from '../../networks/networks.ts';
import { bareType } from '../../calls/plugin-type.ts';
import { macText } from '../../../base/netlink/index.ts';
import { contains, formatIp, ipBytes, networkOf, parsePrefix } from '../../../base/addresses/index.ts';
import { readPluginFiles } from '../../spec/conf-folder.ts';
import type { ListedPlugin, PluginList, ReadPluginList } from '../../spec/plugin-list.ts';
import { readPluginList } from '../../spec/plugin-list.ts';
import { badOption } from '../protocol/failures.ts';
import { netLabels } from '../protocol/protocol.ts';
import type { CreateNetworkRequest, EndpointInterface, IpamData } from '../protocol/protocol.ts';
import { bridgeNameOf } from '../acts/records.ts';
import type { CnmNetwork } from '../acts/records.ts';

/** Converts a CreateNetwork request to the plugin list that creates the links of its endpoints. */

export interface ListSource {
  /** The folder in which a conflist is found by the name of its network. */
  readonly confDir: string;
  /** How plugins are run if the network does not specify it. */
  readonly plugins: 'auto' | 'exec';
}

/** Keys of `docker network create -o`. */
const optionNames = {
  conflist: 'conflist',
  plugins: 'plugins',
  mtu: netLabels.mtu,
  bridge: 'com.docker.network.bridge.name',
  masquerade: 'com.docker.network.bridge.enable_ip_masquerade',
  firewall: 'firewall',
} as const;

type Choices = Partial<Record<keyof typeof optionNames, string>>;

const maxBytes = 1024 * 1024;

/** The value that the engine sends for a network without its own addresses (`--ipam-driver null`). */
const isNull = ({ Pool }: IpamData): boolean => Pool === '' || Pool === '0.0.0.0/0' || Pool === '::/0';

/** @throws NETWORK_CNM_OPTION · the errors of reading the conf folder */
export function networkOfRequest(request: CreateNetworkRequest, source: ListSource): CnmNetwork {
  const { NetworkID: id, Options = {}, IPv4Data = [], IPv6Data = [] } = request;
  const choices = readChoices(id, Options[netLabels.generic]);
  const internal = isTrue(Options[netLabels.internal]);
  const [ipv4, ipv6] = [IPv4Data, IPv6Data].map((data) => data.filter((each) => !isNull(each)));
  const common = { id, internal, ipv4: ipv4 ?? [], ipv6: ipv6 ?? [] };
  if (choices.conflist === undefined) return ownNetwork(common, choices);
  for (const name of ['mtu', 'bridge', 'masquerade', 'firewall'] as const)
    if (choices[name] !== undefined)
      throw badOption(optionNames[name], 'the conflist defines it', `leave out -o ${optionNames[name]}`);
  const found = findList(choices.conflist, choices.plugins ?? source.plugins, source.confDir);
  refuseOtherPools(found.list, [...common.ipv4, ...common.ipv6]);
  return { ...common, ...found, name: found.list.name, own: false, bridges: bridgesOf(found.list) };
}

/** Docker passes flags as booleans; its command line and swarm pass them as text. */
const isTrue = (value: unknown): boolean => value === true || value === 'true';

function readChoices(id: string, generic: unknown): Choices {
  if (generic === undefined || generic === null) return {};
  if (typeof generic !== 'object' || Array.isArray(generic))
    throw badOption(id.slice(0, 12), 'the options are not an object', 'use -o NAME=VALUE');
  const known = Object.entries(optionNames) as [keyof typeof optionNames, string][];
  return Object.fromEntries(
    Object.entries(generic as Record<string, unknown>).map(([option, value]) => {
      const name = known.find(([, text]) => text === option)?.[0];
      if (name === undefined)
        throw badOption(
          option.slice(0, 100),
          'this driver has no such option',
          `use ${known.map(([, text]) => text).join(', ')}`,
        );
      if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
        throw badOption(option, 'its value is not a string', 'use -o NAME=VALUE');
      const text = String(value);
      if (!patterns[name].test(text))
        throw badOption(option, `${JSON.stringify(text.slice(0, 200))} is not a valid value`, fixes[name]);
      return [name, text];
    }),
  );
}

const patterns: Readonly<Record<keyof typeof optionNames, RegExp>> = {
  conflist: /^(?:\/[^\0]+|[a-zA-Z0-9][a-zA-Z0-9_.-]*)$/u,
  plugins: /^(?:auto|exec)$/u,
  mtu: /^(?:6[89]|[7-9]\d|[1-9]\d{2,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/u,
  bridge: /^(?!(?:\.{1,2}|all|default)$)[^\s/:%]{1,15}$/u,
  masquerade: /^(?:true|false)$/u,
  firewall: /^(?:check|nftables)$/u,
};

const fixes: Readonly<Record<keyof typeof optionNames, string>> = {
  conflist: 'give the absolute path of a conflist, or the name of a network of the conf folder',
  plugins: 'give auto or exec',
  mtu: 'give 68 to 65535',
  bridge: 'give the name of a link',
  masquerade: 'give true or false',
  firewall: "give check, or nftables if the host's other firewall accepts the network's traffic",
};

function findList(
  conflist: string,
  plugins: string,
  confDir: string,
): { readonly list: PluginList; readonly way: CnmNetwork['way'] } {
  const exec = plugins === 'exec';
  if (!isAbsolute(conflist)) {
    const { networks } = networksIn(confDir, {
      plugins: exec ? 'exec' : 'auto',
      maxConfigs: Number.MAX_SAFE_INTEGER,
    });
    const found = networks.find(({ name }) => name === conflist);
    if (found === undefined)
      throw badOption(
        `conflist=${conflist}`,
        `${confDir} has no network of that name`,
        'give its path, or a name that portcullis network ls shows',
      );
    return { list: found.list, way: found.way === 'exec' ? 'exec' : 'in-process' };
  }
  const read = readFile(conflist);
  if (read.outcome === 'malformed')
    throw badOption(`conflist=${conflist}`, read.problems.join('; '), 'correct the file');
  const { list } = read;
  const ours = list.plugins.every(
    ({ type, ipamType }) => isOurs(type) && (ipamType === undefined || isOurs(ipamType)),
  );
  return { list, way: ours && !exec ? 'in-process' : 'exec' };
}

/** Reads a list with the plugins of the folder named after its network, as for pods. */
function readFile(file: string): ReadPluginList {
  try {
    const text = readPlainFileSync(file, maxBytes);
    return readPluginList(text, file, readPluginFiles(dirname(file), text, file));
  } catch (thrown) {
    throw badOption(
      `conflist=${file}`,
      reasonOf(thrown),
      'give a file that root can read on the host of the driver',
    );
  }
}

function bridgesOf({ plugins }: PluginList): string[] {
  return plugins
    .filter(({ type }) => bareType(type) === 'bridge')
    .map(({ config }) =>
      typeof config['bridge'] === 'string' && config['bridge'] !== '' ? config['bridge'] : 'cni0',
    );
}

/**
 * Refuses pools from which docker would choose addresses that the conflist's own IPAM plugin would refuse.
 */
function refuseOtherPools({ plugins }: PluginList, data: readonly IpamData[]): void {
  const subnets = plugins
    .flatMap(({ config }) => subnetsIn(config['ipam']))
    .flatMap((text) => parsePrefix(text) ?? []);
  if (subnets.length === 0) return;
  for (const { Pool } of data) {
    const pool = parsePrefix(Pool);
    if (
      pool !== undefined &&
      !subnets.some((subnet) => contains(subnet, networkOf(pool)) && subnet.length <= pool.length)
    )
      throw badOption(
        `pool ${Pool}`,
        'the conflist has other subnets',
        'create the network with --ipam-driver null, or with the subnet of the conflist as --subnet',
      );
  }
}

function subnetsIn(ipam: unknown): string[] {
  if (Array.isArray(ipam)) return ipam.flatMap(subnetsIn);
  if (typeof ipam !== 'object' || ipam === null) return [];
  const { subnet, ranges } = ipam as { readonly subnet?: unknown; readonly ranges?: unknown };
  return [...(typeof subnet === 'string' ? [subnet] : []), ...subnetsIn(ranges)];
}

type Common = Pick<CnmNetwork, 'id' | 'internal' | 'ipv4' | 'ipv6'>;

/** Describes a bridge of our own, separated from others, with addresses of the engine's IPAM. */
function ownNetwork(common: Common, choices: Choices): CnmNetwork {
  const { id, internal, ipv4, ipv6 } = common;
  if (ipv4.length + ipv6.length === 0)
    throw badOption(
      '--ipam-driver null',
      'a network without a conflist gets its addresses from an IPAM driver',
      'leave it out, or give -o conflist=…',
    );
  if (choices.plugins !== undefined) throw badOption('plugins', 'there is no conflist', 'leave it out');
  const bridge = choices.bridge ?? bridgeNameOf(id);
  const routed = !internal;
  const config = {
    type: 'portcullis-bridge',
    bridge,
    isDefaultGateway: routed,
    ipMasq: routed && choices.masquerade !== 'false',
    hairpinMode: true,
    ...(choices.mtu === undefined ? {} : { mtu: Number(choices.mtu) }),
    ipam: { type: 'static' },
  };
  const firewall = {
    type: 'portcullis-firewall',
    ingressPolicy: 'same-bridge',
    ...(choices.firewall === 'nftables' ? { backend: 'nftables' } : {}),
  };
  const portmap = { type: 'portcullis-portmap', capabilities: { portMappings: true } };
  const plugins = [config, ...(routed ? [firewall, portmap] : [])].map((each): ListedPlugin => ({
    type: each.type,
    ...('ipam' in each ? { ipamType: each.ipam.type } : {}),
    capabilities: 'capabilities' in each ? ['portMappings'] : [],
    config: each,
  }));
  const list = {
    name: `docker-${id.slice(0, 12)}`,
    cniVersion: '1.0.0',
    disableCheck: false,
    disableGC: false,
    plugins,
  };
  return { ...common, name: list.name, list, way: 'in-process', own: true, bridges: [bridge] };
}

/**
 * Returns the list with the engine's choices for one endpoint. The IPAM plugin receives them as runtimes pass
 * them: `args.cni` (CNI conventions).
 */
export function endpointList(network: CnmNetwork, wanted: EndpointInterface): PluginList {
  const chosen = [wanted.Address, wanted.AddressIPv6].filter((address) => address !== '');
  const plugins = network.list.plugins.map((plugin, index): ListedPlugin => {
    if (index !== 0) return plugin;
    if (network.own)
      return {
        ...plugin,
        config: {
          ...plugin.config,
          ipam: staticAddresses(network, chosen),
          ...argsOf({}, [], wanted.MacAddress),
        },
      };
    return {
      ...plugin,
      config: { ...plugin.config, ...argsOf(plugin.config['args'], chosen, wanted.MacAddress) },
    };
  });
  return { ...network.list, plugins };
}

/**
 * Returns the MAC address. If the engine assigns an address again, its MAC address must be the one that its
 * neighbours know. For veth pairs it is therefore derived from the address, as docker's own bridges do.
 */
export function macOf({ list }: CnmNetwork, { Address, MacAddress }: EndpointInterface): string {
  const prefix = parsePrefix(Address);
  const isPair = ['bridge', 'ptp'].includes(bareType(list.plugins[0]?.type ?? ''));
  if (MacAddress !== '' || prefix === undefined || !isPair) return MacAddress;
  return macText(Buffer.concat([Buffer.from('0a58', 'hex'), ipBytes(prefix.address)]));
}

function staticAddresses({ ipv4, ipv6 }: CnmNetwork, chosen: readonly string[]): object {
  const gateways = [...ipv4, ...ipv6].flatMap(({ Gateway = '' }) => parsePrefix(Gateway) ?? []);
  return {
    type: 'static',
    addresses: chosen.map((address) => {
      const prefix = parsePrefix(address);
      const gateway =
        prefix === undefined ? undefined : gateways.find((each) => contains(prefix, each.address));
      return { address, ...(gateway === undefined ? {} : { gateway: formatIp(gateway.address) }) };
    }),
  };
}

function argsOf(args: unknown, ips: readonly string[], mac: string): { readonly args?: object } {
  if (ips.length === 0 && mac === '') return {};
  const given = typeof args === 'object' && args !== null ? (args as Readonly<Record<string, unknown>>) : {};
  const cni = typeof given['cni'] === 'object' && given['cni'] !== null ? given['cni'] : {};
  return { args: { ...given, cni: { ...cni, ...(ips.length > 0 && { ips }), ...(mac !== '' && { mac }) } } };
}

const forPorts = ({ capabilities }: ListedPlugin): boolean => capabilities.includes('portMappings');

/** Returns the plugins that create the link. The others publish ports when the engine requests it. */
export const withoutPorts = (list: PluginList): PluginList => ({
  ...list,
  plugins: list.plugins.filter((plugin) => !forPorts(plugin)),
});
export const portsOnly = (list: PluginList): PluginList => ({
  ...list,
  plugins: list.plugins.filter(forPorts),
});
