import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { isRefusal, deleteLink, listLinks, readLink } from '../../../base/netlink/index.ts';
import { planRepair } from '../reconcile/plan.ts';
import type { RepairOperation } from '../reconcile/plan.ts';
import type { LinkRepairs } from '../../types.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { namespaceStands, withPodNamespace } from '../../namespaces/netns.ts';
import type { PodNamespace } from '../../namespaces/netns.ts';
import { claimedLinks } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import type { NetworkStore } from '../../database/store.ts';

/**
 * Links of running pods that another program deleted, renamed, moved to another namespace, removed from their
 * bridge or set down. They are restored, or recreated with their addresses. If that is not possible, the
 * attachment keeps its record: the pod keeps its addresses as long as it runs.
 */
export interface LostLinks {
  /** @param force also links that were restored, or could not be, a moment ago */
  repair(force: boolean): LinkRepairs;
  /** Returns how many links were still lost after the last check. */
  lost(): number;
  /** Executes one operation of a plan. @returns whether the link is restored */
  giveBack(operation: RepairOperation): boolean;
}

export interface LostLinkDeps {
  readonly store: Pick<NetworkStore, 'record' | 'records'>;
  readonly kernel: Pick<
    HostKernel,
    'deleteLink' | 'link' | 'linkAt' | 'links' | 'namespaceNumber' | 'rejoin' | 'rename' | 'restore' | 'tag'
  >;
  /** Creates the pair of links in the pod's namespace. */
  readonly make: (record: AttachmentRecord, pod: PodNamespace) => void;
  readonly log: Pick<Logger, 'warn'>;
}

/**
 * A pod with NET_ADMIN may delete its interface as often as it likes. So the pause after each repair doubles,
 * up to the longest one.
 */
const firstPauseMs = 1000;
const longestPauseMs = 60_000;

interface Tries {
  readonly count: number;
  readonly at: number;
}

const pauseAfter = ({ count }: Tries): number => Math.min(longestPauseMs, firstPauseMs * 2 ** (count - 1));

export function createLostLinks({ store, kernel, make, log }: LostLinkDeps): LostLinks {
  const tries = new Map<string, Tries>();
  let lostNow = 0;

  const isDue = (id: string, now: number): boolean => {
    const last = tries.get(id);
    return last === undefined || now - last.at >= pauseAfter(last);
  };

  const noteTry = (id: string, now: number): void => {
    const last = tries.get(id);
    const isOld = last === undefined || now - last.at > 2 * longestPauseMs;
    tries.set(id, { count: isOld ? 1 : last.count + 1, at: now });
  };

  /**
   * Recreates a link. The pod's end shows where the other end is. A link that was renamed gets its own name
   * back. If the other end is not a link of this namespace, no rule restricts the pod there: the pod's end is
   * deleted, and the other end with it, wherever that is.
   */
  const remake = (record: AttachmentRecord, pod: PodNamespace): void => {
    const { spec } = record;
    const ends = pod.route
      .dump(listLinks)
      .map(readLink)
      .filter(({ kind, mac }) => kind === 'veth' && mac === spec.mac);
    const claimed = new Set(store.records().flatMap(claimedLinks));
    for (const end of ends) {
      const other = end.peerNamespace === undefined ? undefined : kernel.linkAt(end.peer);
      const isPair =
        other?.kind === 'veth' &&
        other.peer === end.index &&
        other.peerNamespace === kernel.namespaceNumber(pod.netnsFd);
      if (!isPair) pod.route.send([deleteLink({ index: end.index })]);
      else if (other.alias === kernel.tag && !claimed.has(other.name)) {
        kernel.rename(other.index, spec.hostInterface);
        return kernel.rejoin(spec);
      }
    }
    try {
      make(record, pod);
    } catch (thrown) {
      // A pair without addresses would look like a link that is not lost. A failed deletion does not hide the
      // first failure.
      if (!isRefusal(thrown, 'EEXIST')) {
        try {
          kernel.deleteLink(spec.hostInterface);
        } catch (cause) {
          log.warn(
            { id: record.id, why: reasonOf(cause) },
            'a link that was recreated in part could not be deleted',
          );
        }
      }
      throw thrown;
    }
  };

  /**
   * A pair gets its addresses before its host's end is set up. If that end is down, a daemon may have died in
   * between: the pod's end gets what it may lack.
   */
  const configureEnd = ({ spec }: AttachmentRecord): void => {
    const link = kernel.link(spec.hostInterface);
    if (link === undefined || link.up || !namespaceStands(spec.netns)) return;
    withPodNamespace(spec.netns, {}, (pod) => {
      if (link.peerNamespace === kernel.namespaceNumber(pod.netnsFd)) kernel.restore(spec, pod, link.peer);
    });
  };

  const giveBack = (operation: RepairOperation): boolean => {
    const record = store.record(operation.id);
    if (record === undefined) return false;
    const { id, spec } = record;
    const fields = { id, pod: `${spec.pod.namespace}/${spec.pod.name}`, hostInterface: spec.hostInterface };
    try {
      if (operation.do === 'rejoin') {
        configureEnd(record);
        kernel.rejoin(spec);
      } else withPodNamespace(spec.netns, {}, (pod) => remake(record, pod));
      log.warn(
        fields,
        'the link of a pod was lost or changed by another program: it was restored with its addresses',
      );
      return true;
    } catch (thrown) {
      const why = isPortcullisError(thrown) ? thrown.failure.why : reasonOf(thrown);
      log.warn(
        { ...fields, why },
        'the link of a pod is lost and could not be recreated; its addresses stay leased, and it is tried again',
      );
      return false;
    }
  };

  return {
    lost: () => lostNow,
    giveBack,
    repair(force) {
      const now = performance.now();
      const records = store.records();
      const operations = planRepair(records, { links: kernel.links(), tag: kernel.tag, namespaceStands });
      const restored: string[] = [];
      const lost: string[] = [];
      for (const operation of operations) {
        const { id } = operation;
        if (!force && !isDue(id, now)) {
          lost.push(id);
          continue;
        }
        noteTry(id, now);
        (giveBack(operation) ? restored : lost).push(id);
      }
      const existing = new Set(records.map(({ id }) => id));
      for (const id of tries.keys()) if (!existing.has(id)) tries.delete(id);
      lostNow = lost.length;
      return { restored, lost };
    },
  };
}
