import { macvlanModes } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { observeMaster, planChild, readMaster, unavailableMaster } from '../interface/master.ts';
import type { Master, MasterConfig } from '../interface/master.ts';
import { macOf } from '../interface/link-names.ts';
import { readWantedMac } from '../interface/settings.ts';

interface MacvlanConfig extends MasterConfig {
  readonly mode: keyof typeof macvlanModes;
  readonly mac?: string;
  readonly broadcastQueue?: number;
}

/**
 * The pod's interface has its own MAC address on a link of the host. Fields and semantics of the upstream
 * plugin macvlan.
 */
export const macvlan: Plugin<MacvlanConfig> = {
  type: 'macvlan',
  role: 'interface',
  capabilities: ['mac', 'ips', 'dns'],
  read(config, args) {
    const given = config.text('mode') ?? '';
    const mode = given === '' ? 'bridge' : given;
    if (!Object.hasOwn(macvlanModes, mode))
      config.problem(
        'mode',
        `${JSON.stringify(mode)} is not a mode: ${Object.keys(macvlanModes).join(', ')}`,
      );
    const mac = readWantedMac(config, args);
    const queue = config.whole('bcqueuelen') ?? 0;
    if (queue < 0 || queue > 0xffffffff) config.problem('bcqueuelen', `${queue} is not a queue length`);
    return {
      ...readMaster(config),
      mode: mode as MacvlanConfig['mode'],
      ...(mac === undefined ? {} : { mac }),
      ...(queue === 0 ? {} : { broadcastQueue: queue }),
    };
  },
  observe: observeMaster,
  unavailable: unavailableMaster,
  laterAddresses: () => undefined,
  plan(config, input) {
    // A passthru link takes over the master's address unless it is given another one.
    const mac = config.mac ?? (config.mode === 'passthru' ? undefined : macOf('macvlan', input.key));
    const { mode, broadcastQueue } = config;
    return planChild(input, {
      config,
      of: { kind: 'macvlan', mode, ...(broadcastQueue === undefined ? {} : { broadcastQueue }) },
      master: input.observed as Master,
      ...(mac === undefined ? {} : { mac }),
      addresses: input.addresses,
      routes: input.ipamRoutes,
      announces: true,
    });
  },
};
