import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { IpvsBalancer } from '../ipvs/balancer.ts';
import type { IpvsLeftovers } from '../ipvs/leftovers.ts';
import type { Balancer, VirtualServer } from '../model.ts';

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

export interface Retiring {
  readonly kind: Balancer['kind'];
  /** Connections that are established or just ending. */
  readonly connections: number;
}

export interface SwitchParts {
  /** @throws NETWORK_IPVS_MISSING and others: this kernel does not support IPVS */
  readonly openIpvs: () => IpvsBalancer;
  readonly openNftables: () => Balancer;
  /** What the IPVS balancer of this process, or of an earlier one, has left here. */
  readonly ipvsRemains: IpvsLeftovers;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** How long a retired balancer may wait for its last connection to end. Absent: a day. */
  readonly graceSeconds?: number;
}

const daySeconds = 86_400;
/** The check for a last connection lists all services, so it is rare where there are many. */
const lookEveryMs = 2000;
const lookShare = 50;

/**
 * Opens the first balancer. State that another balancer has left behind, for example after its process was
 * killed, is retired after the first `reconcile`.
 * @throws what opening the balancer throws
 */
export function openSwitch(first: Balancer['kind'], parts: SwitchParts): SwitchableBalancer {
  const { log, clock, graceSeconds = daySeconds } = parts;
  let active: Balancer | IpvsBalancer = open(first);
  /** During a switch: the balancer whose refusals count. */
  let coming: Balancer | undefined;
  let retired: { readonly balancer: IpvsBalancer; readonly until: number; lookAt: number; connections: number } | undefined;
  /** Whether `retired` has everything that is left of the other balancer. */
  let isAlone = false;
  let told: string | undefined;

  function open(kind: Balancer['kind']): Balancer | IpvsBalancer {
    return kind === 'ipvs' ? parts.openIpvs() : parts.openNftables();
  }

  /** Keeps the balancer for its connections, and closes it if that fails. */
  const keepForConnections = (balancer: IpvsBalancer): void => {
    try {
      balancer.refuseNew();
      retired = { balancer, until: clock() + graceSeconds * 1000, lookAt: clock(), connections: balancer.standing() };
    } catch (thrown) {
      balancer.close();
      throw thrown;
    }
  };

  const removeAndClose = (balancer: Balancer): void => {
    try {
      balancer.removeAll();
    } finally {
      balancer.close();
    }
  };

  const retireRemains = (): void => {
    if (!parts.ipvsRemains.stand()) return;
    let left: IpvsBalancer;
    try {
      left = parts.openIpvs();
    } catch (thrown) {
      if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_IPVS_MISSING') throw thrown;
      parts.ipvsRemains.remove();
      log.info({ balancer: 'ipvs' }, 'the former balancer of services is gone: the kernel has no IPVS any more');
      return;
    }
    try {
      left.retire();
    } catch (thrown) {
      left.close();
      throw thrown;
    }
    keepForConnections(left);
  };

  /** Looks for what the other balancer of any process has left here, until nothing is left. */
  const lookForRemains = (): void => {
    if (isAlone || retired !== undefined) return;
    try {
      if (active.kind === 'ipvs') removeAndClose(parts.openNftables());
      else retireRemains();
      isAlone = true;
      told = undefined;
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (why !== told) log.warn({ why }, 'what another balancer has left in the kernel could not be removed yet; it is tried again');
      told = why;
    }
  };

  const endRetired = (): void => {
    if (retired === undefined || clock() < retired.lookAt) return;
    const begun = clock();
    retired.connections = retired.balancer.standing();
    retired.lookAt = clock() + Math.max(lookEveryMs, lookShare * (clock() - begun));
    const { balancer, connections, until } = retired;
    if (connections > 0 && clock() < until) return;
    balancer.removeAll();
    balancer.close();
    retired = undefined;
    if (connections > 0)
      log.warn({ balancer: balancer.kind, connections }, 'the former balancer of services is gone with the connections it still had');
    else log.info({ balancer: balancer.kind }, 'the former balancer of services is gone: its last connection has ended');
  };

  /** Leaves the former balancer after the other one has taken over. The next look retries a failure. */
  const leave = (former: Balancer | IpvsBalancer): void => {
    isAlone = false;
    try {
      if (isIpvs(former)) keepForConnections(former);
      else removeAndClose(former);
      isAlone = true;
    } catch (thrown) {
      log.warn({ why: reasonOf(thrown) }, 'the former balancer of services could not be retired; it is tried again');
    }
  };

  /** Returns the balancer of a kind that is not active. A retired one comes back with its connections. */
  const succeed = (kind: Balancer['kind'], judged: () => Iterable<VirtualServer>): void => {
    const back = kind === 'ipvs' ? retired?.balancer : undefined;
    const next = back ?? open(kind);
    const former = active;
    coming = next;
    try {
      const servers = judged();
      // Before the new balancer takes anything: new connections of the host itself get a source that outlives
      // the virtual addresses.
      if (isIpvs(former)) former.retire();
      next.reconcile(servers);
    } catch (thrown) {
      coming = undefined;
      if (next === back) {
        // Half of its state is that of an active balancer, and the next look retires it again.
        retired = undefined;
        isAlone = false;
        back.close();
      } else removeAndClose(next);
      throw thrown;
    }
    coming = undefined;
    active = next;
    if (back !== undefined) retired = undefined;
    leave(former);
    log.info(
      { from: former.kind, to: next.kind, ...(retired !== undefined && { connections: retired.connections }) },
      'services are balanced again',
    );
  };

  return {
    get kind() {
      return active.kind;
    },
    refuse: (server) => (coming ?? active).refuse(server),
    reconcile(servers) {
      const differed = active.reconcile(servers);
      lookForRemains();
      return differed;
    },
    change: (put, remove) => active.change(put, remove),
    cut(server, destination) {
      // Both balancers: connections that the retired one carries are also tracked, and would go on if they
      // were only forgotten.
      const carried = retired?.balancer.cut(server, destination) ?? 0;
      return Math.max(carried, active.cut(server, destination));
    },
    counts: (of) => active.counts(of),
    changedByOthers: () => active.changedByOthers?.() ?? false,
    tick() {
      active.tick();
      endRetired();
    },
    removeAll() {
      active.removeAll();
      retired?.balancer.removeAll();
      retired?.balancer.close();
      retired = undefined;
    },
    close() {
      active.close();
      retired?.balancer.close();
    },
    switchTo(kind, judged) {
      if (kind !== active.kind) succeed(kind, judged);
    },
    retiring: () => (retired === undefined ? undefined : { kind: retired.balancer.kind, connections: retired.connections }),
  };
}

const isIpvs = (balancer: Balancer): balancer is IpvsBalancer => balancer.kind === 'ipvs';
