import { isRefusal, transact, transactAhead } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { keyOf } from '../model/model.ts';
import type { Family, ServerKey, VirtualServer } from '../model/model.ts';
import { unpackServer } from '../model/serialized-server.ts';
import { bring } from './reconcile.ts';
import { isMissing, restore, serversIn } from './restore.ts';
import { createSeenState, families } from './seen-state.ts';
import type { Holdings } from './seen-state.ts';
import type { PlannedChange } from './table-content.ts';

/**
 * The content of the tables of both families, as far as it is known, and the change whose kernel's part still
 * runs. Synchronous, for one Worker.
 */
export interface CurrentTables {
  /** Undefined: unknown, before the first call and after a failed one. */
  holdings(): Holdings | undefined;
  /**
   * Waits for the kernel's part of a change that continues. Call it before any other function. Throws as
   * `change` does.
   */
  settle(): void;
  /** Brings the kernel from any state to these servers. @returns how many differed */
  reconcile(servers: Iterable<VirtualServer>): number;
  /**
   * Changes the current state. If another program changed our objects, restores everything, with `wanted`.
   * After any other failure, the next call does so.
   * @param plan `taken` returns whether modes came or went
   * @param isContinued the kernel's part may still run when the call returns
   */
  change(
    wanted: () => readonly VirtualServer[],
    plan: (now: Holdings) => PlannedChange,
    isContinued?: boolean,
  ): void;
  all(): VirtualServer[];
  find(key: ServerKey): VirtualServer | undefined;
  /**
   * Recreates everything if another program removed both tables. A comparison would take many times as long,
   * and until it is over no connection reaches a service.
   * @returns how many servers it recreated; undefined: something is left, or the state is unknown
   */
  restore(): number | undefined;
  /** Returns how many servers `change` and `settle` have repaired since the last call. */
  takeRepairs(): number;
  /** Whether another program may have changed the tables. */
  differ(): boolean;
  /** The tables hold nothing any more. */
  forget(): void;
}

/** @param own the host's address of each family */
export function createCurrentTables(
  filter: NetlinkSocket,
  own: { of(family: Family): Buffer | undefined },
): CurrentTables {
  const seen = createSeenState(filter);
  let holdings: Holdings | undefined;
  /** The wanted servers while `holdings` are unknown: before the first call, and after a failed one. */
  let owed: Iterable<VirtualServer> = [];
  let ending: (() => void) | undefined;
  let repaired = 0;

  const reconcile = (servers: Iterable<VirtualServer>): number => {
    const former = holdings;
    const afterLoss = former === undefined;
    holdings = undefined;
    owed = servers;
    const [four, six] = [
      bring(filter, 4, servers, afterLoss, own.of(4), former?.[4]),
      bring(filter, 6, servers, afterLoss, own.of(6), former?.[6]),
    ];
    holdings = { 4: four.holding, 6: six.holding };
    seen.remember(holdings);
    return four.differences + six.differences;
  };

  const all = (): VirtualServer[] => [...(holdings === undefined ? owed : serversIn(holdings))];

  const restoreIfMissing = (now: Holdings): number | undefined => {
    if (!families.every((family) => isMissing(filter, now[family]))) return undefined;
    owed = serversIn(now);
    holdings = undefined;
    const differed = families.reduce((sum, family) => sum + restore(filter, now[family]), 0);
    holdings = now;
    seen.remember(now);
    return differed;
  };

  /** Runs a part of a change, or restores everything. */
  const orReconcile = (wanted: () => readonly VirtualServer[], act: () => void): void => {
    try {
      act();
    } catch (thrown) {
      owed = wanted();
      holdings = undefined;
      if (!isRefusal(thrown, 'ENOENT', 'EEXIST', 'EBUSY')) throw thrown;
      repaired += reconcile(owed);
    }
  };

  return {
    holdings: () => holdings,
    settle() {
      const end = ending;
      ending = undefined;
      end?.();
    },
    reconcile,
    change(wanted, plan, isContinued = false) {
      const now = holdings;
      if (now === undefined) {
        reconcile(wanted());
        return;
      }
      orReconcile(wanted, () => {
        if (seen.before(now)) repaired += restoreIfMissing(now) ?? 0;
        const { requests, taken } = plan(now);
        const noteTaken = (): void => {
          if (taken()) seen.reshaped(now);
        };
        if (!isContinued) {
          transact(filter, requests);
          noteTaken();
          return;
        }
        const ended = transactAhead(filter, requests);
        ending = () =>
          orReconcile(wanted, () => {
            ended();
            noteTaken();
          });
      });
    },
    all,
    find(key) {
      if (holdings === undefined) return all().find((server) => keyOf(server) === key);
      const kept = holdings[4].standing.get(key) ?? holdings[6].standing.get(key);
      return kept && unpackServer(kept.packed);
    },
    restore: () => (holdings === undefined ? undefined : restoreIfMissing(holdings)),
    takeRepairs() {
      const taken = repaired;
      repaired = 0;
      return taken;
    },
    differ: () => holdings === undefined || seen.differs(holdings),
    forget() {
      holdings = undefined;
      owed = [];
    },
  };
}
