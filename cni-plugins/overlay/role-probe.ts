import type { AgentLog } from './agent-log.ts';
import { mayWriteForOthers } from './ownership/membership.ts';
import type { Member } from './ownership/membership.ts';
import type { OverlayStatus } from './protocol.ts';

/** Probes whose keys the credentials of this host may write. */
export interface RoleProbe {
  /**
   * Probes etcd. Logs the result if it differs from the last one, because roles may be granted while this
   * host runs.
   * @throws OVERLAY_ETCD_UNREACHABLE
   */
  probe(): Promise<void>;
  /** Asks etcd again from time to time. Called periodically. A failure is ignored. */
  tick(): void;
  /** Undefined until it was probed. */
  readonly writes: OverlayStatus['writes'];
}

const probeEveryMs = 300_000;

/** @param endpoints of etcd, for the log */
export function createRoleProbe(
  member: Pick<Member, 'client' | 'keys'>,
  endpoints: readonly string[],
  log: AgentLog,
): RoleProbe {
  let writes: OverlayStatus['writes'];
  let probed = performance.now();
  const probe = async (): Promise<void> => {
    const found = (await mayWriteForOthers(member)) ? 'every-host' : 'this-host';
    if (found !== writes && found === 'every-host')
      log.warn(
        { endpoints },
        'with the credentials of this host, the records of other hosts in etcd can be changed: give each host its own role (docs/overlay.md)',
      );
    writes = found;
  };
  return {
    probe,
    tick() {
      if (performance.now() - probed <= probeEveryMs) return;
      probed = performance.now();
      void probe().catch(() => undefined);
    },
    get writes() {
      return writes;
    },
  };
}
