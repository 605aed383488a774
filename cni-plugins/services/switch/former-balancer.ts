import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { IpvsBalancer } from '../ipvs/balancer.ts';
import type { IpvsLeftovers } from '../ipvs/leftovers.ts';
import type { Balancer } from '../model/model.ts';
import type { RetiredBalancer } from './retired.ts';

export interface FormerBalancerDeps {
  /** @throws NETWORK_IPVS_MISSING and others: this kernel does not support IPVS */
  readonly openIpvs: () => IpvsBalancer;
  readonly openNftables: () => Balancer;
  /** Objects that the IPVS balancer of this process, or of an earlier one, has left here. */
  readonly ipvsRemains: IpvsLeftovers;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Objects that the balancer that is not active has left in the kernel. */
export interface FormerBalancer {
  /** Leaves the former balancer after the other one has taken over. The next look retries a failure. */
  leave(former: Balancer | IpvsBalancer): void;
  /**
   * Looks for what the other balancer of any process has left here, until nothing is left.
   * @param active the kind of the active balancer
   */
  look(active: Balancer['kind']): void;
  /** Makes the next look look again: something of the other balancer is left. */
  mayExist(): void;
}

export const isIpvs = (balancer: Balancer): balancer is IpvsBalancer => balancer.kind === 'ipvs';

/** Removes everything of the balancer from the kernel, and closes it also if that fails. */
export function removeAndClose(balancer: Balancer): void {
  try {
    balancer.removeAll();
  } finally {
    balancer.close();
  }
}

/** @param retired gets a balancer that still has connections */
export function createFormerBalancer(
  { openIpvs, openNftables, ipvsRemains, log }: FormerBalancerDeps,
  retired: RetiredBalancer,
): FormerBalancer {
  /** Whether `retired` has everything that is left of the other balancer. */
  let isAlone = false;
  let reported: string | undefined;

  const retireRemains = (): void => {
    if (!ipvsRemains.stand()) return;
    let left: IpvsBalancer;
    try {
      left = openIpvs();
    } catch (thrown) {
      if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_IPVS_MISSING') throw thrown;
      ipvsRemains.remove();
      log.info(
        { balancer: 'ipvs' },
        'the former balancer of services is gone: the kernel no longer has IPVS',
      );
      return;
    }
    try {
      left.retire();
    } catch (thrown) {
      left.close();
      throw thrown;
    }
    retired.keep(left);
  };

  return {
    leave(former) {
      isAlone = false;
      try {
        if (isIpvs(former)) retired.keep(former);
        else removeAndClose(former);
        isAlone = true;
      } catch (thrown) {
        log.warn({ why: reasonOf(thrown) }, 'the former balancer of services could not be retired; retrying');
      }
    },
    look(active) {
      if (isAlone || retired.balancer() !== undefined) return;
      try {
        if (active === 'ipvs') removeAndClose(openNftables());
        else retireRemains();
        isAlone = true;
        reported = undefined;
      } catch (thrown) {
        const why = reasonOf(thrown);
        if (why !== reported)
          log.warn({ why }, 'the kernel state of another balancer could not be removed; retrying');
        reported = why;
      }
    },
    mayExist() {
      isAlone = false;
    },
  };
}
