import type { Logger } from '../../../base/log/index.ts';
import type { IpvsBalancer } from '../ipvs/balancer.ts';
import type { Balancer } from '../model/model.ts';

export interface Retiring {
  readonly kind: Balancer['kind'];
  /** Connections that are established or just ending. */
  readonly connections: number;
}

/** The balancer that another one has replaced and that still has connections. There is at most one. */
export interface RetiredBalancer {
  /** Undefined: there is none. */
  balancer(): IpvsBalancer | undefined;
  /** Returns the number of connections at the last look, or undefined if there is no retired balancer. */
  retiring(): Retiring | undefined;
  /** Keeps the balancer for its connections, and closes it if that fails. */
  keep(balancer: IpvsBalancer): void;
  /** Leaves the balancer to the caller, who uses or closes it. */
  release(): void;
  /** Removes the balancer after its last connection has ended, or after the grace period. */
  endIfDue(): void;
  removeAll(): void;
  close(): void;
}

export interface RetiredBalancerDeps {
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

export function createRetiredBalancer({
  log,
  clock,
  graceSeconds = daySeconds,
}: RetiredBalancerDeps): RetiredBalancer {
  let retired:
    | { readonly balancer: IpvsBalancer; readonly until: number; lookAt: number; connections: number }
    | undefined;

  return {
    balancer: () => retired?.balancer,
    retiring: () =>
      retired === undefined ? undefined : { kind: retired.balancer.kind, connections: retired.connections },
    keep(balancer) {
      try {
        balancer.refuseNew();
        retired = {
          balancer,
          until: clock() + graceSeconds * 1000,
          lookAt: clock(),
          connections: balancer.standing(),
        };
      } catch (thrown) {
        balancer.close();
        throw thrown;
      }
    },
    release() {
      retired = undefined;
    },
    endIfDue() {
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
        log.warn(
          { balancer: balancer.kind, connections },
          'the former balancer of services was removed, with its last connections',
        );
      else
        log.info(
          { balancer: balancer.kind },
          'the former balancer of services was removed: its last connection has ended',
        );
    },
    removeAll() {
      retired?.balancer.removeAll();
      retired?.balancer.close();
      retired = undefined;
    },
    close() {
      retired?.balancer.close();
    },
  };
}
