import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { IpvsBalancer } from '../ipvs/balancer.ts';
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
  /** Whether IPVS has something of ours from before this process. */
  readonly ipvsStands: () => boolean;
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
  let hasLooked = false;

  function open(kind: Balancer['kind']): Balancer | IpvsBalancer {
    return kind === 'ipvs' ? parts.openIpvs() : parts.openNftables();
  }

  const keepForConnections = (balancer: IpvsBalancer): void => {
    retired = { balancer, until: clock() + graceSeconds * 1000, lookAt: clock(), connections: balancer.standing() };
  };

  const removeNftables = (balancer: Balancer): void => {
    balancer.removeAll();
    balancer.close();
  };

  /** What the other balancer has left here, once. */
  const lookForLeftovers = (): void => {
    if (hasLooked) return;
    hasLooked = true;
    try {
      if (active.kind === 'ipvs') removeNftables(parts.openNftables());
      else if (parts.ipvsStands()) {
        const left = parts.openIpvs();
        left.retire();
        keepForConnections(left);
      }
    } catch (thrown) {
      log.warn({ why: reasonOf(thrown) }, 'what another balancer may have left in the kernel could not be removed');
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
      if (next !== back) {
        try {
          next.removeAll();
        } finally {
          next.close();
        }
      }
      throw thrown;
    }
    coming = undefined;
    active = next;
    if (back !== undefined) retired = undefined;
    if (isIpvs(former)) keepForConnections(former);
    else removeNftables(former);
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
      lookForLeftovers();
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
