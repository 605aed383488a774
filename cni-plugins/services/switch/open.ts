import type { Logger } from '../../../base/log/index.ts';
import { openIpvsBalancer } from '../ipvs/balancer.ts';
import { ipvsLeftovers } from '../ipvs/leftovers.ts';
import type { Balancer } from '../model/model.ts';
import { openNftablesBalancer } from '../nftables/balancer.ts';
import { openSwitch } from './switch.ts';
import type { SwitchableBalancer } from './switch.ts';

/**
 * Opens the balancer of this thread's network namespace, which may be switched.
 * @param graceSeconds how long a retired balancer may wait for its last connection to end; absent: a day
 * @throws NETWORK_IPVS_MISSING · NETWORK_KERNEL_*: the kernel does not support this balancer
 */
export function openSwitchableBalancer(
  first: Balancer['kind'],
  log: Pick<Logger, 'info' | 'warn'>,
  graceSeconds?: number,
): SwitchableBalancer {
  return openSwitch(first, {
    openIpvs: openIpvsBalancer,
    openNftables: openNftablesBalancer,
    ipvsRemains: ipvsLeftovers,
    log,
    clock: () => performance.now(),
    ...(graceSeconds !== undefined && { graceSeconds }),
  });
}
