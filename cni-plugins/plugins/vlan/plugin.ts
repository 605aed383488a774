import type { Plugin } from '../contract/contract.ts';
import { addressesMissing } from '../interface/failures.ts';
import { observeMaster, planChild, readMaster, unavailableMaster } from '../interface/master.ts';
import type { Master, MasterConfig } from '../interface/master.ts';

interface VlanConfig extends MasterConfig {
  readonly id: number;
}

/** The pod's interface is a VLAN of a link of the host. Fields and semantics of the upstream plugin vlan. */
export const vlan: Plugin<VlanConfig> = {
  type: 'vlan',
  role: 'interface',
  capabilities: ['ips', 'dns'],
  read(config) {
    const common = readMaster(config);
    if ((config.text('master') ?? '') === '')
      config.problem('master', "'master' is missing: the link on which to create the VLAN");
    // IEEE 802.1Q: 0 is a frame without a VLAN, which the kernel and upstream accept; 4095 is reserved.
    const id = config.whole('vlanId') ?? 0;
    if (id < 0 || id > 4094) config.problem('vlanId', `${id} is not a VLAN: 0 to 4094`);
    return { ...common, id };
  },
  observe: observeMaster,
  unavailable: unavailableMaster,
  laterAddresses: () => undefined,
  plan(config, input) {
    if (input.addresses.length === 0 && input.addressesLater !== true) throw addressesMissing('vlan');
    return planChild(input, {
      config,
      of: { kind: 'vlan', id: config.id },
      master: input.observed as Master,
      addresses: input.addresses,
      routes: input.ipamRoutes,
      announces: false,
    });
  },
};
