import { formatIp, parseIp } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import { findLink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { interfaceTaken, masterMissing, mtuTooLarge } from '../interface/failures.ts';
import { hostInterfaces, previousOf, withInterface } from '../interface/previous.ts';
import { parseMac, readInterfaceName, readMtu } from '../interface/settings.ts';
import type { OverlayLink } from './overlay-link.ts';

interface VxlanConfig extends Omit<OverlayLink, 'kind' | 'bridge' | 'hostInterfaces' | 'interface' | 'mtu'> {
  readonly mtu?: number;
}

interface Observed {
  /** MTU of the link that the tunnel leaves by. */
  readonly mtu: number;
  readonly master?: string;
  readonly bridge?: string;
}

/** Port of RFC 7348. */
const vxlanPort = 4789;

/**
 * Joins the previous plugin's bridge to bridges of other nodes: a VXLAN (RFC 7348) is a port of it. Broadcast
 * frames go to every remote. MAC addresses are learnt, or given by `fdb` and `neighbours`. There is no
 * upstream plugin: the fields follow ip-link(8).
 */
export const vxlan: Plugin<VxlanConfig> = {
  type: 'vxlan',
  role: 'chained',
  capabilities: [],
  read(config) {
    const id = config.whole('vni');
    if (id === undefined)
      config.problem('vni', "'vni' is missing: the number of the network, the same on every node");
    else if (id < 1 || id > 0xffffff) config.problem('vni', `${id} is not a VXLAN: 1 to 16777215`);
    const port = config.whole('port') ?? vxlanPort;
    if (port < 1 || port > 0xffff) config.problem('port', `${port} is not a port`);
    const ttl = config.whole('ttl') ?? 0;
    if (ttl < 0 || ttl > 255) config.problem('ttl', `${ttl} is not a time to live`);
    const local = readAddress(config, 'local');
    const remotes = config.texts('remotes').flatMap((text) => {
      const remote = parseIp(text);
      if (remote === undefined) config.problem('remotes', `${JSON.stringify(text)} is not an IP address`);
      return remote === undefined ? [] : [formatIp(remote)];
    });
    if (
      new Set([...remotes, ...(local === undefined ? [] : [local])].map((text) => text.includes(':'))).size >
      1
    )
      config.problem('remotes', "'local' and 'remotes' are not of one family");
    const name = readInterfaceName(config, 'vxlan') ?? `vxlan${id ?? 0}`.slice(0, 15);
    const master = readInterfaceName(config, 'master');
    const mtu = readMtu(config);
    return {
      id: id ?? 0,
      port,
      name,
      remotes: [...new Set(remotes)],
      learning: config.flag('learning', true),
      forwarding: readEntries(config, 'fdb', 'mac', 'remote').map(({ mac, address }) => ({
        mac,
        remote: address,
      })),
      neighbours: readEntries(config, 'neighbours', 'mac', 'ip'),
      ...(local === undefined ? {} : { local }),
      ...(master === undefined ? {} : { master }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(ttl === 0 ? {} : { ttl }),
    };
  },
  observe(config, kernel, input): Observed {
    const { route } = kernel.host;
    const name = config.master ?? input.host.defaultLink;
    const master = name === undefined ? undefined : findLink(route, { name });
    if (config.master !== undefined && master === undefined) throw masterMissing(config.master, 'host');
    const bridge = hostInterfaces(input.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} }).find(
      (candidate) => findLink(route, { name: candidate })?.kind === 'bridge',
    );
    if (bridge !== undefined) refuseOtherBridge(config.name, bridge, route);
    return {
      mtu: master?.mtu ?? input.host.defaultMtu,
      ...(config.master === undefined ? {} : { master: config.master }),
      ...(bridge === undefined ? {} : { bridge }),
    };
  },
  unavailable: ({ master }, host) =>
    master === undefined || findLink(host, { name: master }) !== undefined
      ? undefined
      : `the host has no link ${master}`,
  plan(config, input) {
    const previous = previousOf(input, 'vxlan');
    const observed = input.observed as Observed;
    if (observed.bridge === undefined) throw noBridge();
    const isIpv6 = [config.local, ...config.remotes].some((text) => text?.includes(':') === true);
    // The link's MTU does not include outer Ethernet, but includes IP, UDP (8), VXLAN (8) and the inner
    // Ethernet (14).
    const room = observed.mtu - (isIpv6 ? 70 : 50);
    if (config.mtu !== undefined && config.mtu > room)
      throw mtuTooLarge(config.mtu, config.master ?? 'the default route', room);
    const mtu = config.mtu ?? room;
    const { id, port, name, local, remotes, learning, ttl, forwarding, neighbours } = config;
    const link: OverlayLink = {
      kind: 'overlay-link',
      name,
      id,
      port,
      bridge: observed.bridge,
      hostInterfaces: hostInterfaces(previous),
      interface: input.key.interface,
      mtu,
      learning,
      remotes,
      forwarding,
      neighbours,
      ...(observed.master === undefined ? {} : { master: observed.master }),
      ...(local === undefined ? {} : { local }),
      ...(ttl === undefined ? {} : { ttl }),
    };
    return {
      resources: [link],
      result: withInterface(
        { ...previous, interfaces: [...previous.interfaces, { name, mtu }] },
        input.key.interface,
        { mtu },
      ),
    };
  },
};

/**
 * A VXLAN joins one bridge. The pods of another bridge would lose their peers on other nodes.
 * @throws NETWORK_INTERFACE_TAKEN
 */
function refuseOtherBridge(name: string, bridge: string, route: NetlinkSocket): void {
  const master = findLink(route, { name })?.master ?? 0;
  const other = master === 0 ? undefined : findLink(route, { index: master })?.name;
  if (other !== undefined && other !== bridge)
    throw interfaceTaken(name, `the host has a link of that name on ${other}: a VXLAN joins one bridge`);
}

function readAddress(fields: Fields, name: string): string | undefined {
  const given = fields.text(name) ?? '';
  if (given === '') return undefined;
  const address = parseIp(given);
  if (address === undefined) fields.problem(name, `${JSON.stringify(given)} is not an IP address`);
  return address === undefined ? undefined : formatIp(address);
}

function readEntries(
  config: Fields,
  list: string,
  macName: string,
  addressName: string,
): { mac: string; address: string }[] {
  return config.objects(list).flatMap((entry) => {
    const given = entry.text(macName) ?? '';
    const mac = parseMac(given);
    if (mac === undefined)
      entry.problem(macName, `${JSON.stringify(given)} is not a MAC address of one interface`);
    const address = readAddress(entry, addressName);
    if (address === undefined && !entry.has(addressName)) entry.problem('', `'${addressName}' is missing`);
    return mac === undefined || address === undefined ? [] : [{ mac, address }];
  });
}

function noBridge(): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BRIDGE_MISSING',
    kind: 'precondition',
    attempted: 'join the bridge to other nodes',
    on: 'vxlan',
    why: 'prevResult names no bridge of the host',
    fix: 'place the plugin after bridge',
  });
}
