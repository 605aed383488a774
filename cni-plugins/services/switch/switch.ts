import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { IpvsBalancer } from '../ipvs/balancer.ts';
import type { IpvsRemains } from '../ipvs/remains.ts';
import type { Balancer, VirtualServer } from '../model.ts';

/**
 * Changing the balancer while connections stand. Why none that is established ends:
 *
 * - nf_tables chooses at `prerouting` and `output`, once for a connection, and what it chose is kept by connection tracking. The translation goes on
 *   without our rules as long as any chain of type nat stands: IPVS's table has one, and stands before the other one goes. Such a packet has the
 *   backend's address when it is routed, so it never comes to IPVS, which looks at what is delivered to the host.
 * - IPVS chooses at `input`, and keeps it in its own table, beside a tracked connection whose destination is the virtual address (sysctl `conntrack`).
 *   To nf_tables such a connection is not new: no rule of type nat sees it. It goes on through IPVS as long as service, destination and address stand.
 *
 * So from nf_tables to IPVS the former one can go at once. From IPVS to nf_tables it stays beside the new one, gets nothing new, and goes when its last
 * connection has ended, or when the grace is over. A connection's first packet is taken by exactly one of the two: nf_tables, while it has rules.
 * What a balancer remembers of clients without a connection (persistence) is not carried over.
 */
export interface SwitchableBalancer extends Balancer {
  /**
   * New connections go by the other balancer from now on. On any failure everything stays as it was, and the failure is thrown.
   * @param judged called when `refuse` answers for the new balancer; gives the virtual servers that it is to have
   */
  switchTo(kind: Balancer['kind'], judged: () => Iterable<VirtualServer>): void;
  /** The balancer that is still here for the connections it has; undefined: none. */
  retiring(): Retiring | undefined;
}

export interface Retiring {
  readonly kind: Balancer['kind'];
  /** Those that stand or are just ending. */
  readonly connections: number;
}

export interface SwitchParts {
  /** @throws NETWORK_IPVS_MISSING and others: this kernel can not balance so */
  readonly openIpvs: () => IpvsBalancer;
  readonly openNftables: () => Balancer;
  /** What IPVS's balancer has left here, also one of a process before this one. */
  readonly ipvsRemains: IpvsRemains;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Milliseconds that never go back. */
  readonly clock: () => number;
  /** How long a retired balancer may wait for its last connection to end. Absent: a day. */
  readonly graceSeconds?: number;
}

const daySeconds = 86_400;
/** Looking for a last connection lists all services: rarely, where there are many. */
const lookEveryMs = 2000;
const lookShare = 50;

/**
 * Opens the balancer to begin with. What another one has left behind, as a process that was killed does, is retired after the first `reconcile`.
 * @throws what opening it throws
 */
export function openSwitch(first: Balancer['kind'], parts: SwitchParts): SwitchableBalancer {
  const { log, clock, graceSeconds = daySeconds } = parts;
  let active: Balancer | IpvsBalancer = open(first);
  /** While a switch is under way: the one that is asked what it refuses. */
  let coming: Balancer | undefined;
  let retired: { readonly balancer: IpvsBalancer; readonly until: number; lookAt: number; connections: number } | undefined;
  /** Nothing of the other balancer is here but what `retired` has. */
  let isAlone = false;
  let told: string | undefined;

  function open(kind: Balancer['kind']): Balancer | IpvsBalancer {
    return kind === 'ipvs' ? parts.openIpvs() : parts.openNftables();
  }

  /** Closes it when it fails. */
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

  /** What the other balancer has left here, by whichever process; until nothing is left. */
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

  /** The other one has taken over already: what fails now is left to the next look. */
  const leave = (former: Balancer | IpvsBalancer): void => {
    isAlone = false;
    try {
      if (isIpvs(former)) keepForConnections(former);
      else removeAndClose(former);
      isAlone = true;
    } catch (thrown) {
      log.warn({ why: reasonOf(thrown) }, 'the former balancer of services could not be left; it is tried again');
    }
  };

  /** The balancer for a kind that is not the active one: the retired one comes back with its connections. */
  const succeed = (kind: Balancer['kind'], judged: () => Iterable<VirtualServer>): void => {
    const back = kind === 'ipvs' ? retired?.balancer : undefined;
    const next = back ?? open(kind);
    const former = active;
    coming = next;
    try {
      const servers = judged();
      // Before the new one takes anything: the host's own new connections get a source that outlives the addresses.
      if (isIpvs(former)) former.retire();
      next.reconcile(servers);
    } catch (thrown) {
      coming = undefined;
      if (next === back) {
        // Half of it is as an active one is: the next look retires it anew.
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
      'services are balanced anew',
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
      // Both: what the retired one carries is tracked as well, and would go on when it is only forgotten.
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
