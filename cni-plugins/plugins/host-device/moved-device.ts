import { O_RDONLY, withOpen } from '../../../base/kernel/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import {
  addAlternativeNames,
  deleteAlternativeNames,
  findLink,
  listSettings,
  moveLink,
  rename,
  setAlias,
  setFlag,
  setMac,
  setMtu,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { interfaceTaken } from '../interface/failures.ts';

/**
 * A device of the host that is in the pod under another name. Its alias is its name in the host, as in the
 * upstream plugin. The alias is written before the move, so that the device is recognized in every state that
 * a crash can leave.
 */
export interface MovedDevice extends Resource {
  readonly kind: 'moved-device';
  readonly device: string;
  /** MAC on the host. */
  readonly mac: string;
  readonly mtu: number;
  /** Kind of the link, empty for hardware. Absent: an earlier version recorded the device. */
  readonly linkKind?: string;
  /** Further names on the host. Absent: an earlier version recorded the device. */
  readonly alternativeNames?: readonly string[];
  readonly interface: string;
  /** MAC in the pod, if different. */
  readonly podMac?: string;
  readonly podMtu?: number;
}

export const movedDeviceType: ResourceType<MovedDevice> = {
  kind: 'moved-device',
  ensure(resource, kernel) {
    const pod = podOf(kernel, resource.interface);
    const existing = inPod(resource, pod.route) ?? moveIn(resource, kernel);
    if (existing.name !== resource.interface)
      pod.route.run([setFlag(existing.index, 'up', false), rename(existing.index, resource.interface)]);
    const { podMtu } = resource;
    pod.route.run([
      ...(existing.mac === macInPod(resource) ? [] : [setMac(existing.index, macInPod(resource))]),
      ...(podMtu === undefined || existing.mtu === podMtu ? [] : [setMtu(existing.index, podMtu)]),
    ]);
    pod.route.run([setFlag(existing.index, 'up', true)]);
  },
  differences(resource, kernel) {
    const { interface: name } = resource;
    const link = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
    if (link === undefined) return [`the pod has no interface ${name}`];
    return [
      ...(link.alias === resource.device
        ? []
        : [`${name} is not ${resource.device} of the host: its alias is ${JSON.stringify(link.alias)}`]),
      ...(link.mac === macInPod(resource)
        ? []
        : [`${name} has the MAC address ${link.mac}, not ${macInPod(resource)}`]),
      ...(resource.podMtu === undefined || link.mtu === resource.podMtu
        ? []
        : [`${name} has the MTU ${link.mtu}, not ${resource.podMtu}`]),
      ...(link.up ? [] : [`${name} is down`]),
    ];
  },
  remove(resource, kernel) {
    const pod = kernel.pod;
    // A device whose move was refused never left the host.
    const find = ofHost(resource, kernel.host.route) === undefined ? searched : inPod;
    const existing = pod === undefined ? undefined : find(resource, pod.route);
    if (pod !== undefined && existing !== undefined) moveOut(resource, existing, pod.route, kernel);
    // A hardware device returns by itself when its namespace ends, under the pod's name or one of the
    // kernel's.
    const back = ofHost(resource, kernel.host.route);
    if (back !== undefined) giveBack(resource, back, kernel.host.route);
  },
};

const macInPod = ({ mac, podMac }: MovedDevice): string => podMac ?? mac;

/** Returns the device in the pod, under the wanted name or still under its own. */
const inPod = (resource: MovedDevice, route: NetlinkSocket): LinkSettings | undefined =>
  [resource.interface, resource.device]
    .map((name) => findLink(route, { name }))
    .find((link) => link?.alias === resource.device);

/**
 * Returns the device also if the pod changed its name, and either its alias or its MAC address. A link of
 * another kind, which the pod may have created with that alias, is not the device.
 */
function searched(resource: MovedDevice, route: NetlinkSocket): LinkSettings | undefined {
  const { device, interface: name, linkKind } = resource;
  const expected = inPod(resource, route);
  if (linkKind === undefined) return expected;
  if (expected?.kind === linkKind) return expected;
  const links = listSettings(route).filter(({ kind }) => kind === linkKind);
  const macs = [macInPod(resource), resource.mac].filter((mac) => /[1-9a-f]/u.test(mac));
  const candidates = links.filter(({ mac }) => macs.includes(mac));
  return (
    links.find(({ alias }) => alias === device) ??
    candidates.find((link) => link.name === name) ??
    candidates[0]
  );
}

/** Returns the device in the host, by the alias of a moved device. */
const ofHost = (resource: MovedDevice, route: NetlinkSocket): LinkSettings | undefined =>
  listSettings(route).find(
    ({ alias, mac, name }) =>
      alias === resource.device &&
      (mac === resource.mac || [resource.device, resource.interface].includes(name)),
  );

function moveIn(resource: MovedDevice, kernel: ResourceKernel): LinkSettings {
  const pod = podOf(kernel, resource.interface);
  const { route } = kernel.host;
  const device = findLink(route, { name: resource.device });
  if (device === undefined) throw vanished(resource.device);
  const taken = findLink(pod.route, { name: resource.interface });
  if (taken !== undefined) throw interfaceTaken(resource.interface, 'the pod has an interface of that name');
  route.run([setAlias({ index: device.index }, resource.device)]);
  route.run([moveLink(device.index, pod.netnsFd, resource.interface)]);
  const moved = inPod(resource, pod.route);
  if (moved === undefined) throw vanished(resource.device);
  return moved;
}

function moveOut(
  resource: MovedDevice,
  link: LinkSettings,
  pod: NetlinkSocket,
  kernel: ResourceKernel,
): void {
  const free = findLink(kernel.host.route, { name: resource.device }) === undefined;
  if (!free)
    throw interfaceTaken(
      resource.device,
      'the host has another link of that name: the device cannot be moved back',
    );
  pod.run([
    setFlag(link.index, 'up', false),
    ...(link.mac === resource.mac ? [] : [setMac(link.index, resource.mac)]),
    ...(link.alias === resource.device ? [] : [setAlias({ index: link.index }, resource.device)]),
    ...withoutForeignNames(resource, link),
  ]);
  kernel.inHost(() => {
    withOpen('/proc/thread-self/ns/net', O_RDONLY, (host) =>
      pod.run([moveLink(link.index, host, resource.device)]),
    );
  });
}

/**
 * Returns the request that removes names that the pod gave to the device: the host refuses a device with a
 * name that another link has, and would find the device by the other names. The kernel refuses the name of
 * the device itself as long as it is a further one.
 */
function withoutForeignNames({ alternativeNames: own, device }: MovedDevice, link: LinkSettings): Request[] {
  const foreign = link.alternativeNames.filter((name) => name === device || own?.includes(name) === false);
  return foreign.length === 0 ? [] : [deleteAlternativeNames(link.index, foreign)];
}

/** Restores names, MAC address and MTU, clears the alias, and leaves it down, as the upstream plugin does. */
function giveBack(resource: MovedDevice, link: LinkSettings, host: NetlinkSocket): void {
  const { index } = link;
  // It never left, because the move was refused. It is up and stays up.
  if (link.name === resource.device && link.up) return host.run([setAlias({ index }, '')]);
  const other = findLink(host, { name: resource.device });
  if (other !== undefined && other.index !== index)
    throw interfaceTaken(
      resource.device,
      'the host has another link of that name: the device cannot be moved back',
    );
  host.run([
    setFlag(index, 'up', false),
    ...withoutForeignNames(resource, link),
    ...(link.name === resource.device ? [] : [rename(index, resource.device)]),
    ...(link.mac === resource.mac ? [] : [setMac(index, resource.mac)]),
    ...(link.mtu === resource.mtu ? [] : [setMtu(index, resource.mtu)]),
  ]);
  for (const name of resource.alternativeNames ?? [])
    if (!link.alternativeNames.includes(name))
      tolerating(['EEXIST'], () => host.run([addAlternativeNames(index, [name])]));
  host.run([setAlias({ index }, '')]);
}

function vanished(device: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_DEVICE_MISSING',
    kind: 'not-found',
    attempted: 'move the device of the host',
    on: device,
    why: 'the host no longer has a link of that name',
    fix: 'find out where it is: another pod may have it',
  });
}
