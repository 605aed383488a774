import type { IpvsBalancer } from '../ipvs/balancer.ts';
import type { Balancer, VirtualServer } from '../model/model.ts';
import { createFormerBalancer, isIpvs, removeAndClose } from './former-balancer.ts';
import type { FormerBalancerDeps } from './former-balancer.ts';
import { createRetiredBalancer } from './retired.ts';
import type { RetiredBalancerDeps, Retiring } from './retired.ts';

/**
 * Switches the balancer while connections are established. No established connection ends, for these reasons:
 *
 * - nf_tables chooses a destination at `prerouting` and `output`, once for a connection, and connection
 *   tracking keeps the choice. The translation goes on without our rules as long as any chain of type nat
 *   exists: IPVS's table has one, and it exists before the other table goes. Such a packet has the backend's
 *   address when it is routed, so it never reaches IPVS, which sees only packets that are delivered to the
 *   host.
 * - IPVS chooses at `input` and keeps the choice in its own table, beside a tracked connection whose
 *   destination is the virtual address (sysctl `conntrack`). For nf_tables such a connection is not new, and
 *   no rule of type nat sees it. It goes on through IPVS as long as service, destination and address exist.
 *
 * So on a switch from nf_tables to IPVS, the former balancer can go at once. On a switch from IPVS to
 * nf_tables, IPVS stays beside the new balancer and gets no new connections. It goes when its last connection
 * has ended, or when the grace period is over. Exactly one of the two takes the first packet of a connection:
 * nf_tables, while it has rules. Client persistence without a connection is not carried over.
 */
export interface SwitchableBalancer extends Balancer {
  /**
   * Uses the other balancer for new connections from now on. On any failure everything stays unchanged, and
   * the failure is thrown.
   * @param judged called when `refuse` answers for the new balancer; returns the virtual servers that it has
   * to program
   */
  switchTo(kind: Balancer['kind'], judged: () => Iterable<VirtualServer>): void;
  /** Returns the retired balancer that still has connections, or undefined if there is none. */
  retiring(): Retiring | undefined;
}

export interface SwitchDeps extends FormerBalancerDeps, RetiredBalancerDeps {}

/**
 * Opens the first balancer. State that another balancer has left behind, for example after its process was
 * killed, is retired after the first `reconcile`.
 * @throws what opening the balancer throws
 */
export function openSwitch(first: Balancer['kind'], deps: SwitchDeps): SwitchableBalancer {
  const open = (kind: Balancer['kind']): Balancer | IpvsBalancer =>
    kind === 'ipvs' ? deps.openIpvs() : deps.openNftables();
  let active = open(first);
  /** During a switch: the balancer whose refusals count. */
  let coming: Balancer | undefined;
  const retired = createRetiredBalancer(deps);
  const remains = createFormerBalancer(deps, retired);

  /** Uses the balancer of a kind that is not active. A retired one comes back with its connections. */
  const succeed = (kind: Balancer['kind'], judged: () => Iterable<VirtualServer>): void => {
    const back = kind === 'ipvs' ? retired.balancer() : undefined;
    const next = back ?? open(kind);
    const former = active;
    coming = next;
    try {
      const servers = judged();
      // Before the new balancer takes any connection, new connections of the host itself get a source that
      // outlives the virtual addresses.
      if (isIpvs(former)) former.retire();
      next.reconcile(servers);
    } catch (thrown) {
      coming = undefined;
      if (next === back) {
        // Half of its state is that of an active balancer, and the next look retires it again.
        retired.release();
        remains.mayExist();
        back.close();
      } else removeAndClose(next);
      throw thrown;
    }
    coming = undefined;
    active = next;
    if (back !== undefined) retired.release();
    remains.leave(former);
    const retiring = retired.retiring();
    deps.log.info(
      {
        from: former.kind,
        to: next.kind,
        ...(retiring !== undefined && { connections: retiring.connections }),
      },
      'the balancer of services was switched',
    );
  };

  return {
    get kind() {
      return active.kind;
    },
    refuse: (server) => (coming ?? active).refuse(server),
    reconcile(servers) {
      const differed = active.reconcile(servers);
      remains.look(active.kind);
      return differed;
    },
    change: (put, remove, isContinued) => active.change(put, remove, isContinued),
    cut(server, destination) {
      // Both balancers: connections that the retired one carries are also tracked, and would go on if they
      // were only forgotten.
      const carried = retired.balancer()?.cut(server, destination) ?? 0;
      return Math.max(carried, active.cut(server, destination));
    },
    counts: (of) => active.counts(of),
    changedByOthers: () => active.changedByOthers?.() ?? false,
    restore: () => active.restore?.(),
    takeRepairs: () => active.takeRepairs?.() ?? 0,
    tick() {
      active.tick();
      retired.endIfDue();
    },
    removeAll() {
      active.removeAll();
      retired.removeAll();
    },
    close() {
      active.close();
      retired.close();
    },
    switchTo(kind, judged) {
      if (kind !== active.kind) succeed(kind, judged);
    },
    retiring: () => retired.retiring(),
  };
}
