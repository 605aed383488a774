import { PortcullisError } from '../../../base/errors/index.ts';
import {
  indexOf,
  isRunning,
  isUp,
  isRefusal,
  findLink,
  setMac,
  setMtu,
  setPort,
  createVeth,
  lookUp,
  setGroup,
  setMaster,
  setNoOwnIpv6,
  setUp,
  acknowledged,
} from '../../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../../base/netlink/index.ts';
import { deleteLink, deletePair } from '../interface/child-link.ts';
import type { VethPair } from '../interface/child-link.ts';
import { rememberIndex } from '../interface/pod-index.ts';
import type { Completion, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { bridgeSeen } from './bridge-type.ts';
import { ensurePortVlans, portVlanDifferences } from './vlan.ts';
import type { PortVlans } from './vlan.ts';

/** A veth pair: one end is a port of the bridge, the other one the pod's interface. */
export interface VethPort extends VethPair, PortVlans {
  readonly kind: 'veth-port';
  readonly bridge: string;
  /** False: the pod's end stays down. */
  readonly enabled: boolean;
  readonly hairpin: boolean;
  readonly isolated: boolean;
}

/**
 * Links of CNI plugins are not bound by a link class, unlike those of our own runtime's pods: see `bound`.
 */
const pluginGroup = 0x70630004;
const podGroup = 0x70630001;
const forwarding = 3;
const forwardingDeadlineMs = 2000;

const groupOf = ({ bound }: VethPort): number => (bound === true ? podGroup : pluginGroup);

const bytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

function ensure(resource: VethPort, kernel: ResourceKernel): void {
  const { route } = kernel.host;
  const { pod } = kernel;
  if (pod === undefined) throw podGone(resource);
  try {
    createOn(resource, route, pod.netnsFd);
  } catch (thrown) {
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
    const master = masterOf(resource, route);
    const existing = lookUp(route, { name: resource.hostInterface });
    // The conflict is not our own link, but a link in the pod that has the interface's name.
    if (existing === undefined) throw interfaceTaken(resource);
    if (isPair(resource, existing, pod.route)) rejoin(resource, route, master, pod.route);
    else {
      deleteLink(kernel, 'host', existing.index);
      create(resource, route, master, pod.netnsFd);
    }
  }
  if (resource.vlan !== 0 || resource.trunk.length > 0) {
    const existing = lookUp(route, { name: resource.hostInterface });
    if (existing !== undefined) ensurePortVlans(route, existing.index, resource);
  }
  const index = indexOf(pod.route, resource.interface);
  if (index !== undefined) rememberIndex(pod.route, resource.interface, index);
}

const masterOf = (resource: VethPort, route: NetlinkSocket): number => {
  const master = lookUp(route, { name: resource.bridge });
  if (master === undefined) throw bridgeGone(resource);
  return master.index;
};

/**
 * Creates the pair on the bridge as it was last seen. If the bridge was replaced since, the kernel refuses,
 * and the bridge is looked up again.
 */
function createOn(resource: VethPort, route: NetlinkSocket, netnsFd: number): void {
  const seen = bridgeSeen(route, resource.bridge);
  try {
    create(resource, route, seen ?? masterOf(resource, route), netnsFd);
  } catch (thrown) {
    if (seen === undefined || !isRefusal(thrown, 'EINVAL', 'ENODEV')) throw thrown;
    create(resource, route, masterOf(resource, route), netnsFd);
  }
}

function create(resource: VethPort, route: NetlinkSocket, master: number, netnsFd: number): void {
  const own = { name: resource.hostInterface };
  const [made, , port] = route.exchange([
    acknowledged(
      createVeth({
        name: resource.hostInterface,
        group: groupOf(resource),
        mtu: resource.mtu,
        master,
        mac: bytes(resource.hostMac),
        peer: { name: resource.interface, netnsFd, mac: bytes(resource.mac) },
      }),
    ),
    // A kernel without IPv6 refuses this.
    acknowledged(setNoOwnIpv6(own)),
    ...(resource.hairpin || resource.isolated ? [acknowledged(setPort(own, resource))] : []),
  ]);
  const refused = made?.refused ?? port?.refused;
  if (refused !== undefined) throw refused.error();
}

const isPair = (resource: VethPort, existing: Link, pod: NetlinkSocket): boolean => {
  const inside = findLink(pod, { name: resource.interface });
  return inside?.kind === 'veth' && inside.peer === existing.index;
};

function rejoin(resource: VethPort, route: NetlinkSocket, master: number, pod: NetlinkSocket): void {
  const own = { name: resource.hostInterface };
  const existing = lookUp(route, { name: resource.hostInterface });
  if (existing !== undefined && existing.master !== master) route.run([setMaster(own, master)]);
  if (existing !== undefined)
    route.run([
      // A link whose addresses were assigned later was not bound before.
      ...(existing.group === groupOf(resource) ? [] : [setGroup(own, groupOf(resource))]),
      setMtu(existing.index, resource.mtu),
      ...(existing.mac === resource.hostMac ? [] : [setMac(existing.index, resource.hostMac)]),
    ]);
  route.run([setPort(own, resource)]);
  const inside = findLink(pod, { name: resource.interface });
  if (inside === undefined) return;
  pod.run([
    setMtu(inside.index, resource.podMtu ?? resource.mtu),
    ...(inside.mac === resource.mac ? [] : [setMac(inside.index, resource.mac)]),
  ]);
}

/**
 * The host's end comes up last. The bridge then forwards at once, and the kernel's work for it delays no
 * other step.
 */
function complete(resource: VethPort, { host: { route }, pod }: ResourceKernel): Completion {
  if (resource.enabled && pod !== undefined && !isUp(pod.route, resource.interface))
    pod.route.run([setUp({ name: resource.interface })]);
  route.run([setUp({ name: resource.hostInterface })]);
  if (resource.enabled && !isRunning(route, resource.hostInterface)) awaitForwarding(resource, route);
  return 'done';
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * The runtime may start the pod as soon as ADD is answered. A bridge with spanning tree (listening, learning)
 * takes long: ADD does not wait for it.
 */
const isComing = ({ portState }: Link): boolean => ![forwarding, undefined, 1, 2].includes(portState);

function awaitForwarding(resource: VethPort, route: NetlinkSocket): void {
  for (const deadline = performance.now() + forwardingDeadlineMs; performance.now() < deadline;) {
    const link = lookUp(route, { name: resource.hostInterface });
    if (link === undefined || !isComing(link)) return;
    Atomics.wait(sleepCell, 0, 0, 0.1);
  }
}

function differences(resource: VethPort, kernel: ResourceKernel): string[] {
  const { route } = kernel.host;
  const { hostInterface, interface: name } = resource;
  const link = lookUp(route, { name: hostInterface });
  const master = lookUp(route, { name: resource.bridge });
  const inside = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
  if (link === undefined) return [`the host has no link ${hostInterface}`];
  if (inside === undefined) return [`the pod has no interface ${name}`];
  return [
    ...(link.up ? [] : [`${hostInterface} is down`]),
    ...(master !== undefined && link.master === master.index
      ? []
      : [`${hostInterface} is not on the bridge ${resource.bridge}`]),
    ...(link.mac === resource.hostMac
      ? []
      : [`${hostInterface} has the MAC address ${link.mac}, not ${resource.hostMac}`]),
    ...(link.mtu === resource.mtu ? [] : [`${hostInterface} has the MTU ${link.mtu}, not ${resource.mtu}`]),
    // A later plugin may turn it on: a pod that calls its own host port needs it.
    ...(resource.hairpin && link.hairpin !== true ? [`hairpin mode of ${hostInterface} is off`] : []),
    ...((link.isolated ?? false) === resource.isolated
      ? []
      : [`isolation of ${hostInterface} is ${resource.isolated ? 'off' : 'on'}`]),
    ...portVlanDifferences(route, link, resource),
    ...(inside.peer === link.index ? [] : [`${name} of the pod is not the other end of ${hostInterface}`]),
    ...(inside.up === resource.enabled ? [] : [`${name} is ${inside.up ? 'up' : 'down'}`]),
    ...(inside.mac === resource.mac
      ? []
      : [`${name} has the MAC address ${inside.mac}, not ${resource.mac}`]),
    ...(inside.mtu === (resource.podMtu ?? resource.mtu)
      ? []
      : [`${name} has the MTU ${inside.mtu}, not ${resource.podMtu ?? resource.mtu}`]),
  ];
}

export const vethPortType: ResourceType<VethPort> = {
  kind: 'veth-port',
  ensure,
  complete,
  differences,
  remove: deletePair,
};

function interfaceTaken(resource: VethPort): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INTERFACE_TAKEN',
    kind: 'precondition',
    attempted: 'make the interface',
    on: resource.interface,
    why: 'the pod has a link of that name',
    fix: 'choose another interface name, or remove that link',
  });
}

function podGone(resource: VethPort): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NETNS_MISSING',
    kind: 'not-found',
    attempted: 'make the interface',
    on: resource.interface,
    why: "the pod's network namespace is gone",
    fix: 'give the path of a pinned network namespace that still exists',
  });
}

function bridgeGone(resource: VethPort): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BRIDGE_UNUSABLE',
    kind: 'precondition',
    attempted: 'put the link on the bridge',
    on: resource.bridge,
    why: 'it is gone',
    fix: 'try again; another program removes it',
  });
}
