import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { PortcullisError } from '../../../base/errors/index.ts';
import { findLink, listSettings } from '../../../base/netlink/index.ts';
import type { LinkSettings } from '../../../base/netlink/index.ts';
import type { CniDns } from '../../spec/result.ts';
import type { Plugin, Resource, ResourceKernel } from '../contract/contract.ts';
import type { PodAddresses } from '../interface/pod-addresses.ts';
import { addressesMissing } from '../interface/failures.ts';
import { ipsOf, readDns, readInterfaceName, readMac, routesVia } from '../interface/settings.ts';
import type { MovedDevice } from './moved-device.ts';

interface HostDeviceConfig {
  readonly device?: string;
  readonly mac?: string;
  readonly kernelPath?: string;
  readonly pciAddress?: string;
  /** The capability `deviceID`: a PCI address or the name of an auxiliary device. */
  readonly deviceId?: string;
  readonly hasIpam: boolean;
  readonly dns?: CniDns;
}

/** The existing device, or a device that a user space driver uses, which has no link. */
type Observed =
  | {
      readonly name: string;
      readonly mac: string;
      readonly mtu: number;
      readonly kind: string;
      readonly alternativeNames: readonly string[];
      readonly pciAddress?: string;
    }
  | { readonly userspace: true; readonly pciAddress: string };

const pciDevices = '/sys/bus/pci/devices';
const auxiliaryDevices = '/sys/bus/auxiliary/devices';
const userspaceDrivers = ['vfio-pci', 'uio_pci_generic', 'igb_uio'];
const deviceId = /^[A-Za-z0-9][\w.:-]*$/u;

/**
 * Moves a device of the host into the pod, and back at the end. Fields and semantics of the upstream plugin
 * host-device.
 */
export const hostDevice: Plugin<HostDeviceConfig> = {
  type: 'host-device',
  role: 'interface',
  capabilities: ['deviceID', 'ips', 'dns'],
  read(config) {
    const device = readInterfaceName(config, 'device');
    const mac = readMac(config, 'hwaddr');
    const kernelPath = config.text('kernelpath') ?? '';
    if (
      kernelPath !== '' &&
      (!kernelPath.startsWith('/sys/devices/') || kernelPath.split('/').includes('..'))
    )
      config.problem('kernelpath', `${JSON.stringify(kernelPath)} is not a path below /sys/devices`);
    const pciAddress = config.text('pciBusID') ?? '';
    if (pciAddress !== '' && !deviceId.test(pciAddress))
      config.problem('pciBusID', `${JSON.stringify(pciAddress)} is not a PCI address`);
    const runtime = config.object('runtimeConfig');
    const id = runtime?.text('deviceID') ?? '';
    if (id !== '' && !deviceId.test(id))
      runtime?.problem('deviceID', `${JSON.stringify(id)} is not a device`);
    if (
      [device ?? '', mac ?? '', kernelPath, pciAddress, id].every((value) => value === '') &&
      !config.has('device') &&
      !config.has('hwaddr')
    )
      config.problem('', "one of 'device', 'hwaddr', 'kernelpath', 'pciBusID' is needed");
    const dns = readDns(config);
    return {
      hasIpam: (config.object('ipam')?.text('type') ?? '') !== '',
      ...(device === undefined ? {} : { device }),
      ...(mac === undefined ? {} : { mac }),
      ...(kernelPath === '' ? {} : { kernelPath }),
      ...(pciAddress === '' ? {} : { pciAddress }),
      ...(id === '' ? {} : { deviceId: id }),
      ...(dns === undefined ? {} : { dns }),
    };
  },
  observe: (config, kernel): Observed => kernel.inHost(() => lookFor(config, kernel)),
  laterAddresses: () => undefined,
  plan(config, input) {
    const found = input.observed as Observed;
    const name = input.key.interface;
    if (config.hasIpam && input.addresses.length === 0 && input.addressesLater !== true)
      throw addressesMissing('host-device');
    const isLink = 'name' in found;
    const ips = ipsOf(input.addresses, 0);
    const resources: Resource[] = [];
    if (isLink) {
      const moved: MovedDevice = {
        kind: 'moved-device',
        device: found.name,
        mac: found.mac,
        mtu: found.mtu,
        linkKind: found.kind,
        alternativeNames: found.alternativeNames,
        interface: name,
      };
      const addresses: PodAddresses = {
        kind: 'pod-addresses',
        interface: name,
        addresses: ips.map(({ address }) => address),
        routes: routesVia(input.ipamRoutes, input.addresses),
        prefixRoutes: true,
        announces: false,
      };
      resources.push(moved, addresses);
    }
    return {
      resources,
      result: {
        interfaces: [
          {
            name,
            sandbox: input.netns,
            ...(isLink ? { mac: found.mac, mtu: found.mtu } : {}),
            ...(found.pciAddress === undefined ? {} : { pciID: found.pciAddress }),
          },
        ],
        ips,
        routes: input.ipamRoutes,
        dns: config.dns ?? input.dns,
      },
    };
  },
};

/**
 * Looks for the device in the order of the upstream plugin: name, MAC address, kernel path, PCI address,
 * auxiliary device.
 */
function lookFor(config: HostDeviceConfig, kernel: ResourceKernel): Observed {
  const pciAddress =
    config.deviceId !== undefined && existsSync(`${pciDevices}/${config.deviceId}`)
      ? config.deviceId
      : config.pciAddress;
  const auxiliary =
    config.deviceId !== undefined && pciAddress !== config.deviceId ? config.deviceId : undefined;
  if (auxiliary !== undefined && !existsSync(`${auxiliaryDevices}/${auxiliary}`))
    throw deviceMissing(auxiliary, 'it is neither a PCI device nor an auxiliary device');
  if (pciAddress !== undefined && auxiliary === undefined && driverOf(pciAddress))
    return { userspace: true, pciAddress };
  const link = linkOf(config, pciAddress, auxiliary, kernel);
  const { name, mac, mtu, kind, alternativeNames } = link;
  const ofPci = pciAddress === undefined || auxiliary !== undefined ? {} : { pciAddress };
  return { name, mac, mtu, kind, alternativeNames, ...ofPci };
}

function linkOf(
  config: HostDeviceConfig,
  pciAddress: string | undefined,
  auxiliary: string | undefined,
  kernel: ResourceKernel,
): LinkSettings {
  const { route } = kernel.host;
  const named = (name: string): LinkSettings => {
    const link = findLink(route, { name });
    if (link === undefined) throw deviceMissing(name, 'the host has no link of that name');
    return link;
  };
  if (config.device !== undefined) return named(config.device);
  if (config.mac !== undefined) {
    const link = listSettings(route).find(({ mac }) => mac === config.mac);
    if (link === undefined) throw deviceMissing(config.mac, 'no link of the host has that MAC address');
    return link;
  }
  if (config.kernelPath !== undefined) return named(linkIn(`${config.kernelPath}/net`));
  if (auxiliary !== undefined) return named(linkIn(`${auxiliaryDevices}/${auxiliary}/net`));
  if (pciAddress !== undefined) return named(linkIn(pciNetFolder(pciAddress)));
  throw deviceMissing('', 'no device is named');
}

function pciNetFolder(address: string): string {
  const folder = `${pciDevices}/${address}`;
  if (!existsSync(folder)) throw deviceMissing(address, 'there is no PCI device of that address');
  if (existsSync(`${folder}/net`)) return `${folder}/net`;
  const virtio = readdirSync(folder).find(
    (entry) => entry.startsWith('virtio') && existsSync(`${folder}/${entry}/net`),
  );
  return virtio === undefined ? `${folder}/net` : `${folder}/${virtio}/net`;
}

function linkIn(folder: string): string {
  const [first] = existsSync(folder) ? readdirSync(folder) : [];
  if (first === undefined) throw deviceMissing(folder, 'no network device is there');
  return first;
}

/** Returns whether a user space driver uses the device. */
function driverOf(address: string): boolean {
  const link = `${pciDevices}/${address}/driver`;
  return existsSync(link) && userspaceDrivers.includes(basename(readlinkSync(link)));
}

export function deviceMissing(device: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_DEVICE_MISSING',
    kind: 'not-found',
    attempted: 'find the device of the host',
    on: device,
    why,
    fix: "correct 'device', 'hwaddr', 'kernelpath' or 'pciBusID'; a device that another pod has is not visible on the host",
  });
}
