import { existsSync } from 'node:fs';
import { tapControl } from '../../../base/kernel/index.ts';
import { findLink } from '../../../base/netlink/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniDns } from '../../spec/result.ts';
import type { Plugin } from '../contract/contract.ts';
import { podOf, requireFree } from '../interface/child-link.ts';
import { bridgeUnusable, interfaceMissing } from '../interface/failures.ts';
import { macOf } from '../interface/link-names.ts';
import { planInterface } from '../interface/plan-interface.ts';
import { readDns, readInterfaceName, readMtu, readWantedMac } from '../interface/settings.ts';
import type { TapDevice } from './tap-device.ts';

interface TapConfig {
  readonly multiQueue: boolean;
  readonly owner?: number;
  readonly group?: number;
  readonly mtu?: number;
  readonly mac?: string;
  /** A bridge in the pod's namespace. */
  readonly bridge?: string;
  readonly dns?: CniDns;
}

/** The number that the kernel uses for "no user" and "no group". */
const nobody = 0xffffffff;

/**
 * A program of the pod reads and writes the frames of the interface. Fields and semantics of the upstream
 * plugin tap.
 */
export const tap: Plugin<TapConfig> = {
  type: 'tap',
  role: 'interface',
  capabilities: ['mac', 'ips', 'dns'],
  read(config, args) {
    // The context of a TAP device is that of the process which creates it, and the daemon cannot change its
    // own.
    if ((config.text('selinuxContext') ?? '') !== '')
      config.unsupported('selinuxContext', "the device has the SELinux context of the plugin's process");
    const mtu = readMtu(config);
    const mac = readWantedMac(config, args);
    const bridge = readInterfaceName(config, 'bridge');
    const dns = readDns(config);
    return {
      multiQueue: config.flag('multiQueue', false),
      ...readId(config, 'owner'),
      ...readId(config, 'group'),
      ...(mtu === undefined ? {} : { mtu }),
      ...(mac === undefined ? {} : { mac }),
      ...(bridge === undefined ? {} : { bridge }),
      ...(dns === undefined ? {} : { dns }),
    };
  },
  observe({ bridge }, kernel, { key }) {
    requireFree(key.interface, kernel);
    if (bridge === undefined) return;
    const link = findLink(podOf(kernel, bridge).route, { name: bridge });
    if (link === undefined) throw interfaceMissing(bridge, 'pod');
    if (link.kind !== 'bridge')
      throw bridgeUnusable(
        bridge,
        `the pod's link of that name is of kind ${link.kind === '' ? 'device' : link.kind}`,
        "name a bridge of the pod as 'bridge'",
      );
  },
  unavailable: () => (existsSync(tapControl) ? undefined : `the host has no ${tapControl}`),
  plan(config, input) {
    const { multiQueue, owner, group, mtu, bridge, dns } = config;
    const mac = config.mac ?? macOf('tap', input.key);
    const link: TapDevice = {
      kind: 'tap-device',
      interface: input.key.interface,
      multiQueue,
      ...(owner === undefined ? {} : { owner }),
      ...(group === undefined ? {} : { group }),
      mac,
      ...(mtu === undefined ? {} : { mtu }),
      ...(bridge === undefined ? {} : { bridge }),
    };
    return planInterface(input, {
      link,
      mac,
      ...(mtu === undefined ? {} : { mtu }),
      addresses: input.addresses,
      routes: input.ipamRoutes,
      announces: true,
      ...(dns === undefined ? {} : { dns }),
    });
  },
};

function readId<Name extends 'owner' | 'group'>(
  config: Fields,
  name: Name,
): { readonly [N in Name]?: number } {
  const id = config.whole(name);
  if (id === undefined) return {};
  if (id >= 0 && id < nobody) return { [name]: id } as { readonly [N in Name]: number };
  config.problem(name, `${id} is not the number of a ${name === 'owner' ? 'user' : 'group'}`);
  return {};
}
