import { failure } from '../../../base/errors/index.ts';
import { ipvlanModes } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { addressesMissing } from '../interface/failures.ts';
import { observeMaster, planChild, readMaster, unavailableMaster } from '../interface/master.ts';
import type { Master, MasterConfig } from '../interface/master.ts';
import { leasedAddressesOf } from '../interface/leased-addresses.ts';

interface IpvlanConfig extends MasterConfig {
  readonly mode: keyof typeof ipvlanModes;
  readonly hasIpam: boolean;
}

/**
 * The pod's interface shares the MAC address of a link of the host. Fields and semantics of the upstream
 * plugin ipvlan: after another plugin it uses that plugin's interface as its master if none is named, and
 * that plugin's addresses if it has no address plugin.
 */
export const ipvlan: Plugin<IpvlanConfig> = {
  type: 'ipvlan',
  role: 'interface',
  capabilities: ['ips', 'dns'],
  read(config) {
    const given = config.text('mode') ?? '';
    const mode = given === '' ? 'l2' : given;
    if (!Object.hasOwn(ipvlanModes, mode))
      config.problem('mode', `${JSON.stringify(mode)} is not a mode: ${Object.keys(ipvlanModes).join(', ')}`);
    return {
      ...readMaster(config),
      mode: mode as IpvlanConfig['mode'],
      hasIpam: (config.object('ipam')?.text('type') ?? '') !== '',
    };
  },
  observe(config, kernel, input) {
    const { prevResult } = input;
    if (config.master !== undefined || prevResult === undefined) return observeMaster(config, kernel, input);
    const [only, ...others] = prevResult.interfaces;
    if (only === undefined || others.length > 0)
      throw failure(
        'NETWORK_CONFIG_INVALID',
        'invalid',
        'plan the plugin',
        'ipvlan',
        `prevResult has ${prevResult.interfaces.length} interfaces: the master is not clear`,
        "name the 'master'",
      );
    return observeMaster({ ...config, master: only.name }, kernel, input);
  },
  // Without a name the master may be the interface of the previous plugin.
  unavailable: (config, host) => (config.master === undefined ? undefined : unavailableMaster(config, host)),
  // In the other modes the interface receives no broadcasts.
  laterAddresses: ({ mode }) =>
    mode === 'l2' ? undefined : `an interface in the mode ${mode} receives no broadcasts: set 'mode' to l2`,
  plan(config, input) {
    const taken = !config.hasIpam && input.prevResult !== undefined ? input.prevResult : undefined;
    const addresses = taken === undefined ? input.addresses : leasedAddressesOf(taken);
    if (addresses.length === 0 && input.addressesLater !== true) throw addressesMissing('ipvlan');
    return planChild(input, {
      config,
      of: { kind: 'ipvlan', mode: config.mode },
      master: input.observed as Master,
      addresses,
      routes: taken?.routes ?? input.ipamRoutes,
      announces: true,
    });
  },
};
