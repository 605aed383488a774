import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import * as netlink from '../../../base/netlink/index.ts';
import {
  addForwarding,
  createLink,
  deleteForwarding,
  deleteNeighbour,
  findLink,
  isRefusal,
  listForwarding,
  listNeighbours,
  listSettings,
  macBytes,
  putNeighbour,
  setFlag,
  setMtu,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, ForwardingEntry } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { withLink } from '../interface/amended.ts';
import { deleteLink, podOf } from '../interface/child-link.ts';
import { interfaceMissing, interfaceTaken, linkTypeMissing, masterMissing } from '../interface/failures.ts';

/**
 * A VXLAN that is a port of a bridge. All pods of the bridge share it: it has the settings of the latest one,
 * and is removed with the last of them.
 */
export interface OverlayLink extends Resource {
  readonly kind: 'overlay-link';
  readonly name: string;
  readonly id: number;
  readonly port: number;
  readonly bridge: string;
  /** The pod's interfaces on the host: the bridge and the host's end of its link. */
  readonly hostInterfaces: readonly string[];
  /** The pod's interface: its MTU leaves room for the tunnel's headers. */
  readonly interface: string;
  readonly mtu: number;
  readonly learning: boolean;
  readonly remotes: readonly string[];
  readonly forwarding: readonly { readonly mac: string; readonly remote: string }[];
  readonly neighbours: readonly { readonly mac: string; readonly address: string }[];
  readonly master?: string;
  readonly local?: string;
  readonly ttl?: number;
}

const everyone = Buffer.alloc(6);

function bytesOf(text: string): Buffer {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} was stored unread`);
  return ipBytes(address);
}

const entriesOf = (resource: OverlayLink): ForwardingEntry[] => [
  ...resource.remotes.map((remote) => ({ mac: everyone, remote: bytesOf(remote) })),
  ...resource.forwarding.map(({ mac, remote }) => ({ mac: macBytes(mac), remote: bytesOf(remote) })),
];

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b);

const has = (found: readonly ForwardingEntry[], wanted: ForwardingEntry): boolean =>
  found.some(({ mac, remote }) => equal(mac, wanted.mac) && equal(remote, wanted.remote));

export const overlayLinkType: ResourceType<OverlayLink> = {
  kind: 'overlay-link',
  ensure(resource, kernel) {
    const { route } = kernel.host;
    const bridge = findLink(route, { name: resource.bridge });
    if (bridge?.kind !== 'bridge') throw interfaceMissing(resource.bridge, 'host');
    const link = existing(resource, kernel) ?? create(resource, kernel);
    route.run([
      ...(link.mtu === resource.mtu ? [] : [setMtu(link.index, resource.mtu)]),
      ...(link.master === bridge.index ? [] : [netlink.setMaster({ index: link.index }, bridge.index)]),
      setFlag(link.index, 'up', true),
    ]);
    const found = listForwarding(route, link.index);
    for (const entry of entriesOf(resource))
      if (!has(found, entry)) tolerating(['EEXIST'], () => route.run([addForwarding(link.index, entry)]));
    // A node that was removed from the configuration gets no more frames.
    const wanted = entriesOf(resource);
    for (const entry of found.filter(({ mac }) => equal(mac, everyone)))
      if (!has(wanted, entry)) tolerating(['ENOENT'], () => route.run([deleteForwarding(link.index, entry)]));
    route.run(
      resource.neighbours.map(({ mac, address }) =>
        putNeighbour(link.index, { address: bytesOf(address), mac: macBytes(mac) }),
      ),
    );
    const pod = podOf(kernel, resource.interface).route;
    const own = findLink(pod, { name: resource.interface });
    if (own === undefined) throw interfaceMissing(resource.interface, 'pod');
    if (own.mtu > resource.mtu) pod.run([setMtu(own.index, resource.mtu)]);
  },
  differences(resource, kernel) {
    const { route } = kernel.host;
    const link = findLink(route, { name: resource.name });
    if (link === undefined) return [`the host has no link ${resource.name}`];
    const found = listForwarding(route, link.index);
    const neighbours = listNeighbours(route, link.index);
    const own =
      kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name: resource.interface });
    return [
      ...differencesOf(resource, link),
      ...(link.up ? [] : [`${link.name} is down`]),
      ...(link.mtu === resource.mtu ? [] : [`${link.name} has the MTU ${link.mtu}, not ${resource.mtu}`]),
      ...(link.master !== 0 && link.master === findLink(route, { name: resource.bridge })?.index
        ? []
        : [`${link.name} is not on ${resource.bridge}`]),
      ...entriesOf(resource)
        .filter((entry) => !has(found, entry))
        .map(({ remote }) => `${link.name} does not send to ${parts(remote)}`),
      ...resource.neighbours
        .filter(
          ({ mac, address }) =>
            !neighbours.some(
              (entry) => equal(entry.mac, macBytes(mac)) && equal(entry.address, bytesOf(address)),
            ),
        )
        .map(({ address }) => `${link.name} has no neighbour ${address}`),
      ...(own !== undefined && own.mtu > resource.mtu
        ? [`${own.name} has the MTU ${own.mtu}, more than ${resource.mtu}`]
        : []),
    ];
  },
  amend: (resource, earlier) =>
    'mtu' in earlier && Number(earlier.mtu) > resource.mtu
      ? withLink(earlier, resource.interface, { mtu: resource.mtu })
      : earlier,
  renew(resource, other) {
    if (!isOverlayLink(other) || other.name !== resource.name) return other;
    const { bridge, hostInterfaces, interface: own } = other;
    const renewed: OverlayLink = { ...resource, bridge, hostInterfaces, interface: own };
    return renewed;
  },
  /**
   * An entry for a node that has left, or the answer for an address that another pod has now, would keep pods
   * from each other. Entries of other programs stay.
   */
  removeFormer(resource, other, { host: { route } }) {
    if (!isOverlayLink(other) || other.name !== resource.name) return;
    const link = findLink(route, { name: resource.name });
    if (link === undefined) return;
    for (const { mac, remote } of other.forwarding)
      if (!resource.forwarding.some((entry) => entry.mac === mac)) {
        const entry = { mac: macBytes(mac), remote: bytesOf(remote) };
        tolerating(['ENOENT'], () => route.run([deleteForwarding(link.index, entry)]));
      }
    for (const { mac, address } of other.neighbours)
      if (!resource.neighbours.some((neighbour) => neighbour.address === address)) {
        const neighbour = { address: bytesOf(address), mac: macBytes(mac) };
        tolerating(['ENOENT'], () => route.run([deleteNeighbour(link.index, neighbour)]));
      }
  },
  remove(resource, kernel) {
    const { route } = kernel.host;
    const link = findLink(route, { name: resource.name });
    if (link?.kind !== 'vxlan' || identityOf(resource, link).length > 0) return;
    const bridge = findLink(route, { name: resource.bridge });
    const others =
      bridge === undefined
        ? []
        : listSettings(route).filter(({ master, name }) => master === bridge.index && name !== link.name);
    if (others.every(({ name }) => resource.hostInterfaces.includes(name)))
      deleteLink(kernel, 'host', link.index);
  },
};

const isOverlayLink = (resource: Resource): resource is OverlayLink => resource.kind === 'overlay-link';

const parts = (bytes: Uint8Array): string =>
  bytes.length === 4 ? bytes.join('.') : Buffer.from(bytes).toString('hex');

function existing(resource: OverlayLink, kernel: ResourceKernel): LinkSettings | undefined {
  const link = findLink(kernel.host.route, { name: resource.name });
  if (link === undefined) return undefined;
  if (link.kind !== 'vxlan')
    throw interfaceTaken(resource.name, 'the host has a link of that name that is not a VXLAN');
  const [difference] = differencesOf(resource, link);
  if (difference !== undefined)
    throw interfaceTaken(resource.name, `the host has a VXLAN of that name, and ${difference}`);
  return link;
}

/** Number and port identify the VXLAN. */
function identityOf(resource: OverlayLink, link: LinkSettings): string[] {
  const id = link.data.get(1)?.readUInt32LE(0);
  const port = link.data.get(15)?.readUInt16BE(0);
  return [
    ...(id === resource.id ? [] : [`${link.name} has the number ${id}, not ${resource.id}`]),
    ...(port === resource.port ? [] : [`${link.name} has the port ${port}, not ${resource.port}`]),
  ];
}

function differencesOf(resource: OverlayLink, link: LinkSettings): string[] {
  if (link.kind !== 'vxlan') return [`${link.name} is not a VXLAN`];
  const local = link.data.get(4) ?? link.data.get(17);
  return [
    ...identityOf(resource, link),
    ...(resource.local === undefined || (local !== undefined && equal(local, bytesOf(resource.local)))
      ? []
      : [
          `${link.name} sends from ${local === undefined ? 'any address' : parts(local)}, not from ${resource.local}`,
        ]),
  ];
}

function create(resource: OverlayLink, kernel: ResourceKernel): LinkSettings {
  const { route } = kernel.host;
  const master = resource.master === undefined ? undefined : findLink(route, { name: resource.master });
  if (resource.master !== undefined && master === undefined) throw masterMissing(resource.master, 'host');
  const isIpv6 = [resource.local, ...resource.remotes].some((text) => text?.includes(':') === true);
  const local =
    resource.local === undefined ? (isIpv6 ? Buffer.alloc(16) : undefined) : bytesOf(resource.local);
  try {
    route.run([
      createLink({
        name: resource.name,
        mtu: resource.mtu,
        of: {
          kind: 'vxlan',
          id: resource.id,
          port: resource.port,
          learning: resource.learning,
          proxy: resource.neighbours.length > 0,
          ...(local === undefined ? {} : { local }),
          ...(resource.ttl === undefined ? {} : { ttl: resource.ttl }),
        },
        ...(master === undefined ? {} : { parent: master.index }),
      }),
    ]);
  } catch (thrown) {
    if (isRefusal(thrown, 'EOPNOTSUPP')) throw linkTypeMissing('vxlan');
    throw thrown;
  }
  const link = findLink(route, { name: resource.name });
  if (link === undefined) throw interfaceMissing(resource.name, 'host');
  return link;
}
