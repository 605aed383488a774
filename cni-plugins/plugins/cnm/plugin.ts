import { findLink } from '../../../base/netlink/index.ts';
import type { CniRoute } from '../../spec/result.ts';
import type { Plan, Plugin } from '../contract/contract.ts';
import { deviceMissing } from '../host-device/plugin.ts';
import type { MovedDevice } from '../host-device/moved-device.ts';
import type { PodAddresses } from '../interface/pod-addresses.ts';
import { ipsOf } from '../interface/settings.ts';
import { readCnmConfig } from './config.ts';
import type { CnmConfig } from './config.ts';

/** The values agreed with the drivers between the two halves of ADD. A JSON value. */
export interface CnmJoined {
  /** Name of the link that the driver made, in the driver's namespace. */
  readonly link: string;
  /** MAC of the endpoint. Empty: the link's own. */
  readonly mac: string;
  readonly addresses: readonly { readonly address: string; readonly gateway?: string }[];
  /** Default routes, the driver's static routes, and routes of the address plugin that are in neither. */
  readonly routes: readonly CniRoute[];
}

interface Device {
  readonly mac: string;
  readonly mtu: number;
  readonly alternativeNames: readonly string[];
}

/**
 * The kernel's half of `portcullis-cnm`: moves the link of a remote driver from the driver's namespace into
 * the pod's, names it, sets its addresses, and gives it back (libnetwork, docs/remote.md: "Join").
 * `../../libnetwork/client` talks to the driver.
 */
export const cnm: Plugin<CnmConfig> = {
  type: 'cnm',
  role: 'interface',
  capabilities: ['portMappings', 'ips', 'mac', 'aliases'],
  read: readCnmConfig,
  observe(_config, kernel, { joined }): Device | undefined {
    const { link } = (joined as CnmJoined | undefined) ?? {};
    if (link === undefined) return undefined;
    const device = findLink(kernel.host.route, { name: link });
    if (device === undefined)
      throw deviceMissing(
        link,
        'the remote driver named it at Join, and its namespace has no link of that name',
      );
    return { mac: device.mac, mtu: device.mtu, alternativeNames: device.alternativeNames };
  },
  plan(config, input): Plan {
    const joined = input.joined as CnmJoined | undefined;
    if (joined === undefined)
      return {
        resources: [],
        result: {
          interfaces: [],
          ips: ipsOf(input.addresses, 0),
          routes: input.ipamRoutes,
          dns: config.dns ?? input.dns,
        },
      };
    const device = input.observed as Device;
    const name = input.key.interface;
    const mac = joined.mac === '' ? device.mac : joined.mac;
    const moved: MovedDevice = {
      kind: 'moved-device',
      device: joined.link,
      ...device,
      interface: name,
      ...(mac !== device.mac && { podMac: mac }),
      ...(config.mtu !== undefined && { podMtu: config.mtu }),
    };
    const addresses: PodAddresses = {
      kind: 'pod-addresses',
      interface: name,
      addresses: joined.addresses.map(({ address }) => address),
      routes: joined.routes,
      prefixRoutes: true,
      announces: false,
    };
    return {
      resources: [moved, addresses],
      result: {
        interfaces: [{ name, mac, mtu: config.mtu ?? device.mtu, sandbox: input.netns }],
        ips: joined.addresses.map((each) => ({ ...each, interface: 0 })),
        routes: joined.routes,
        dns: config.dns ?? input.dns,
      },
    };
  },
};
