import { isPortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { isDiskFull } from '../../../base/storage/index.ts';
import type { StalePort } from '../../../base/netlink/index.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { withPodNamespace } from '../../namespaces/netns.ts';
import { isByChain, isHeld } from '../../database/record.ts';
import type { AttachmentRecord, AttachmentSpec } from '../../database/record.ts';
import { stalePorts } from '../../links/rules/ruleset.ts';
import type { RulesInForce } from './rules-in-force.ts';
import type { NetworkStore } from '../../database/store.ts';

/**
 * Teardown of attachments. The record is removed from the rules first, which deny all traffic of an unknown
 * link. This isolates the link, and takes a quarter of the time of setting the link down. The link ends with
 * its namespace. Its address stays leased until the kernel has released the link. `finish` does the work that
 * no caller waits for.
 */
export interface Teardown {
  /** @param leavePlugins removes what chained plugins created, after the link is isolated */
  release(record: AttachmentRecord, leavePlugins: (record: AttachmentRecord) => void): void;
  /**
   * Does the work that `release` left for after the answer. All functions except `release` expect that it is
   * done.
   */
  finish(): void;
  /** At the next `reap`, deletes connections to the record's host ports that belong to other pods. */
  renewPorts(record: AttachmentRecord): void;
  /**
   * Frees what the kernel has released, once the connections of the pod have been forgotten. `force` forgets
   * them and makes the kernel release the rest now. Returns how many attachments are still held.
   * @param agedMs what was detached less than this time ago is not forced
   */
  reap(force: boolean, agedMs?: number): number;
  /** Returns how many attachments wait for the kernel. */
  waiting(): number;
}

export interface TeardownDeps {
  readonly store: Pick<NetworkStore, 'forgetNames' | 'freeHostPorts' | 'record' | 'remove' | 'setState'>;
  readonly kernel: Pick<
    HostKernel,
    | 'deleteEnd'
    | 'deleteMarked'
    | 'deleteLink'
    | 'deleteLater'
    | 'forget'
    | 'forgetAddresses'
    | 'isolate'
    | 'link'
  >;
  readonly rules: Pick<RulesInForce, 'forget'>;
}

const namespaceGone: readonly string[] = ['NETWORK_NETNS_MISSING', 'NETWORK_NETNS_INVALID'];

export function createTeardown({ store, kernel, rules }: TeardownDeps): Teardown {
  /** When each was detached, as `performance.now()`. */
  const going = new Map<string, number>();
  /**
   * Records that may still have elements in the rules: an attempt to remove them may have failed after the
   * record became `detaching`.
   */
  const bound = new Map<string, AttachmentRecord>();
  /** Connections to delete before a released port can be used again, but not while a caller waits. */
  let stale: StalePort[] = [];
  const released: AttachmentRecord[] = [];
  const connections = createConnectionEnds({ store, kernel });

  /**
   * Deletes a link that another program renamed or moved to another namespace before this was noticed. The
   * pod's end shows where it is, as long as the pod's namespace exists. The pair ends with the namespace.
   */
  const deleteByEnd = (spec: AttachmentSpec): void => {
    if (isByChain(spec)) return;
    try {
      withPodNamespace(spec.netns, {}, (pod) => kernel.deleteEnd(spec, pod));
    } catch (thrown) {
      if (!isPortcullisError(thrown) || !namespaceGone.includes(thrown.code)) throw thrown;
    }
  };

  const finish = (): void => {
    for (let record = released.shift(); record !== undefined; record = released.shift()) {
      try {
        // The link comes first: the rules do not deny a link whose group another program changed, so a
        // failure of the disk must not leave it up. Likewise, a refusal of the kernel must not leave the
        // names.
        try {
          if (!kernel.deleteLater(record.spec.hostInterface)) deleteByEnd(record.spec);
        } finally {
          store.forgetNames(record.id);
          if (record.spec.portMappings.length > 0) store.freeHostPorts(record.id);
        }
      } catch (thrown) {
        // Work that fails for lack of disk space is done when there is space again.
        if (isDiskFull(thrown)) released.unshift(record);
        throw thrown;
      }
      append(stale, stalePorts(record, false));
    }
  };

  /** @returns whether the rules contained the attachment until now, and deny its traffic from now on */
  const unbind = (id: string): boolean => {
    const record = bound.get(id);
    if (record === undefined) return false;
    const isDenied = rules.forget(record);
    bound.delete(id);
    return isDenied;
  };

  /**
   * The removal of a record may have been written although the disk reported a failure. A record of that id
   * is then a new attachment, whose link must stay.
   */
  const dropReplaced = (): void => {
    for (const id of going.keys()) {
      const record = store.record(id);
      if (record === undefined || record.state === 'detaching') continue;
      going.delete(id);
      bound.delete(id);
    }
  };

  const dropGone = (): void => {
    for (const id of going.keys()) {
      if (connections.mayExist(id)) continue;
      const record = store.record(id);
      if (record !== undefined && kernel.link(record.spec.hostInterface) !== undefined) continue;
      store.remove(id);
      going.delete(id);
    }
  };

  return {
    release(record, leavePlugins) {
      connections.begin(record.id);
      if (record.state !== 'detaching') bound.set(record.id, record);
      store.setState(record.id, 'detaching');
      going.set(record.id, performance.now());
      released.push(record);
      let isDenied = false;
      try {
        isDenied = unbind(record.id) && isHeld(record.spec);
      } finally {
        // The rules do not deny the link if there are no tables, if they never had the link, or if they could
        // not be changed.
        if (!isDenied) kernel.isolate(record.spec.hostInterface);
      }
      leavePlugins(record);
    },
    finish,
    renewPorts(record) {
      append(stale, stalePorts(record, true));
    },
    reap(force, agedMs = 0) {
      finish();
      dropReplaced();
      // Before its address or a host port can be assigned to another pod.
      for (const id of going.keys()) unbind(id);
      const ports = stale;
      stale = [];
      kernel.forget(ports);
      connections.end(going, force);
      dropGone();
      if (force && deleteLinks({ store, kernel }, going, agedMs)) dropGone();
      return going.size;
    },
    waiting: () => going.size,
  };
}

/**
 * Connections of detached pods are forgotten at the latest after this time. For each list of connections, the
 * kernel walks its whole table, which takes 10 ms or more and delays other pods. Therefore the pods of a
 * second share a list.
 */
const connectionsMs = 1000;

/**
 * Forgets the connections of pods that end. The answers to them would reach the next pod with the address,
 * against its rules.
 */
function createConnectionEnds({ store, kernel }: Pick<TeardownDeps, 'kernel' | 'store'>) {
  /** Ids of detached pods whose addresses may have connections. */
  const open = new Set<string>();
  return {
    begin: (id: string): void => void open.add(id),
    mayExist: (id: string): boolean => open.has(id),
    /**
     * @param going all pods that are detached, whose links are closed, and since when
     * @param now even if all of them were detached a moment ago
     */
    end(going: ReadonlyMap<string, number>, now: boolean): void {
      for (const id of open) if (!going.has(id)) open.delete(id);
      const due = performance.now() - connectionsMs;
      if (!now && ![...open].some((id) => (going.get(id) ?? 0) <= due)) return;
      kernel.forgetAddresses(
        [...open].flatMap((id) => {
          const spec = store.record(id)?.spec;
          return spec === undefined
            ? []
            : [spec, ...(spec.further ?? [])].flatMap(({ addresses }) => addresses.map(({ ip }) => ip));
        }),
      );
      open.clear();
    },
  };
}

/** Deletes the links of pods that were detached at least this time ago. @returns whether there are any */
function deleteLinks(
  { store, kernel }: Pick<TeardownDeps, 'kernel' | 'store'>,
  going: ReadonlyMap<string, number>,
  agedMs: number,
): boolean {
  const until = performance.now() - agedMs;
  const aged = [...going].filter(([, since]) => since <= until).map(([id]) => id);
  if (aged.length > 1) kernel.deleteMarked();
  for (const id of aged) {
    const name = store.record(id)?.spec.hostInterface;
    if (name !== undefined) kernel.deleteLink(name);
  }
  return aged.length > 0;
}
