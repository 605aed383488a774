import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { HeardChanges } from '../../../base/netlink/index.ts';
import type { LinkAlteration } from '../../types.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { createNamespacePods } from './namespace-pods.ts';
import { namespaceStands, withPodNamespace } from '../../namespaces/netns.ts';
import { podEndDifferences } from '../../links/pod-end.ts';
import { isByChain } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import type { NetworkStore } from '../../database/store.ts';

/**
 * Pods' ends of links that were changed inside the pod's network namespace: an address or route was removed,
 * or a link is down. The kernel does not say which process made the change, and a pod with NET_ADMIN is
 * allowed to. So a change is reported, and repaired only on request (docs/decisions/0080).
 */
export interface AlteredLinks {
  /** Records the changes in namespaces that the kernel reported since the last call. */
  note(heard: HeardChanges): void;
  /**
   * Compares some of the recorded links. At the first call, or when events were missed, it compares all
   * links, spread over many calls.
   */
  look(): void;
  list(): readonly LinkAlteration[];
  /** Compares all recorded links now, and restores those that are altered. */
  restore(): void;
}

export interface AlteredLinkDeps {
  readonly store: Pick<NetworkStore, 'record' | 'records'>;
  readonly kernel: Pick<HostKernel, 'link' | 'links' | 'restore'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Each comparison enters a namespace, so only this many run at a time. The links of one pod are compared less
 * and less often while they keep changing.
 */
const mostAtOnce = 16;
const firstPauseMs = 1000;
const longestPauseMs = 60_000;

interface Pace {
  readonly count: number;
  readonly at: number;
}

const restsUntil = ({ count, at }: Pace): number =>
  at + Math.min(longestPauseMs, firstPauseMs * 2 ** (count - 1));

/** Compares nothing before the first look: all recorded links are due. */
export function createAlteredLinks({ store, kernel, log }: AlteredLinkDeps): AlteredLinks {
  const due = new Set<string>(store.records().map(({ id }) => id));
  const paces = new Map<string, Pace>();
  const altered = new Map<string, readonly string[]>();
  const namespaces = createNamespacePods({ store, kernel });

  const resolve = (): void =>
    namespaces.resolve((id, isLossy) => {
      if (isLossy || altered.has(id)) due.add(id);
    });

  const recordOf = (id: string): AttachmentRecord | undefined => {
    const record = store.record(id);
    const isComparable = record !== undefined && !isByChain(record.spec) && record.spec.ownStack !== true;
    return isComparable && record.state === 'ready' ? record : undefined;
  };

  const forget = (id: string): void => {
    due.delete(id);
    paces.delete(id);
    altered.delete(id);
  };

  const found = (record: AttachmentRecord, now: readonly string[]): void => {
    const before = altered.get(record.id);
    if (now.length === 0) {
      altered.delete(record.id);
      if (before !== undefined)
        log.info(fieldsOf(record), "the pod's end of its link matches its record again");
      return;
    }
    altered.set(record.id, now);
    if (before?.join() === now.join()) return;
    log.warn(
      { ...fieldsOf(record), found: now },
      "the pod's end of its link was changed in the pod's network namespace; `portcullis network gc --altered` restores it",
    );
  };

  const compare = (id: string): void => {
    due.delete(id);
    const record = recordOf(id);
    if (record === undefined || !namespaceStands(record.spec.netns)) return forget(id);
    const end = kernel.link(record.spec.hostInterface)?.peer;
    // A lost link is handled elsewhere (lost-links.ts).
    if (end === undefined) return void altered.delete(id);
    try {
      found(
        record,
        withPodNamespace(record.spec.netns, { onlyRead: true }, ({ route }) =>
          podEndDifferences(record.spec, route, end),
        ),
      );
    } catch (thrown) {
      if (!namespaceStands(record.spec.netns)) return forget(id);
      due.add(id);
      log.warn(
        { ...fieldsOf(record), why: reasonOf(thrown) },
        "the pod's end of its link could not be checked; it is tried again",
      );
    }
  };

  const restoreOne = (id: string): void => {
    const record = recordOf(id);
    const end = record === undefined ? undefined : kernel.link(record.spec.hostInterface)?.peer;
    if (record === undefined || end === undefined) return;
    try {
      withPodNamespace(record.spec.netns, {}, (pod) => kernel.restore(record.spec, pod, end));
    } catch (thrown) {
      const why = isPortcullisError(thrown) ? thrown.failure.why : reasonOf(thrown);
      log.warn({ ...fieldsOf(record), why }, "the pod's end of its link could not be restored");
    }
    compare(id);
  };

  return {
    note({ lossy, changed, missed }) {
      if (missed) for (const { id } of store.records()) due.add(id);
      if (altered.size > 0) for (const number of changed) namespaces.note(number, false);
      for (const number of lossy) namespaces.note(number, true);
      resolve();
    },
    look() {
      resolve();
      const now = performance.now();
      const rested = [...due].filter(
        (id) => now >= restsUntil(paces.get(id) ?? { count: 0, at: -longestPauseMs }),
      );
      for (const id of rested.slice(0, mostAtOnce)) {
        const last = paces.get(id);
        const isOld = last === undefined || now - last.at > 2 * longestPauseMs;
        paces.set(id, { count: isOld ? 1 : last.count + 1, at: now });
        compare(id);
      }
      for (const id of altered.keys()) if (recordOf(id) === undefined) forget(id);
      for (const [id, { at }] of paces) if (now - at > 2 * longestPauseMs) paces.delete(id);
    },
    list: () =>
      [...altered].flatMap(([id, differences]) => {
        const record = recordOf(id);
        if (record === undefined) return [];
        const { network, interface: name } = record.spec;
        return [{ ...fieldsOf(record), network, interface: name, found: differences }];
      }),
    restore() {
      for (const id of [...due]) compare(id);
      for (const id of [...altered.keys()]) restoreOne(id);
    },
  };
}

const fieldsOf = ({ id, spec }: AttachmentRecord): { readonly id: string; readonly pod: string } => ({
  id,
  pod: `${spec.pod.namespace}/${spec.pod.name}`,
});
