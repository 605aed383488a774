import { append } from '../../base/lists/index.ts';
import { isDiskFull } from '../../base/storage/index.ts';
import type { StalePort } from '../netlink/conntrack.ts';
import type { HostKernel } from './host-kernel.ts';
import { isHeld } from './record.ts';
import type { AttachmentRecord } from './record.ts';
import { stalePorts } from './ruleset.ts';
import type { StandingRules } from './standing-rules.ts';
import type { NetworkStore } from './store.ts';

/**
 * Attachments on their way out. Unknown to the rules at once, which deny all of a link that they do not know: that is isolation, and takes a
 * quarter of the time of taking the link down. The link ends with its namespace, and the address is leased until the kernel has let go of it. What
 * nobody needs to wait for is done by `finish`.
 */
export interface Departures {
  /** @param leavePlugins lets go of what chained plugins made, when the link is isolated */
  release(record: AttachmentRecord, leavePlugins: (record: AttachmentRecord) => void): void;
  /** What `release` left for after the answer. Everything but `release` expects it done. */
  finish(): void;
  /** Connections to the record's host ports that are not its own are forgotten at the next `reap`. */
  renewPorts(record: AttachmentRecord): void;
  /** Frees what the kernel has let go of. `force`: makes it let go now. Returns how many are still held. */
  reap(force: boolean): number;
  /** How many wait for the kernel. */
  waiting(): number;
}

export interface DepartureParts {
  readonly store: Pick<NetworkStore, 'forgetNames' | 'freeHostPorts' | 'record' | 'remove' | 'setState'>;
  readonly kernel: Pick<HostKernel, 'deleteDoomed' | 'deleteLink' | 'doom' | 'forget' | 'isolate' | 'link'>;
  readonly rules: Pick<StandingRules, 'forget'>;
}

export function createDepartures({ store, kernel, rules }: DepartureParts): Departures {
  const going = new Set<string>();
  /** Those of which the rules may still hold something: a try to take it out may have failed after the record said `detaching`. */
  const bound = new Map<string, AttachmentRecord>();
  /** Connections to forget, soon but not while somebody waits: before a released port can be taken again. */
  let stale: StalePort[] = [];
  const released: AttachmentRecord[] = [];

  const finish = (): void => {
    for (let record = released.shift(); record !== undefined; record = released.shift()) {
      try {
        store.forgetNames(record.id);
        kernel.doom(record.spec.hostInterface);
        if (record.spec.portMappings.length > 0) store.freeHostPorts(record.id);
      } catch (thrown) {
        // What has no room now is done when there is some.
        if (isDiskFull(thrown)) released.unshift(record);
        throw thrown;
      }
      append(stale, stalePorts(record, false));
    }
  };

  /** @returns whether the rules knew it until now, and deny it from now on */
  const unbind = (id: string): boolean => {
    const record = bound.get(id);
    if (record === undefined) return false;
    const isDenied = rules.forget(record);
    bound.delete(id);
    return isDenied;
  };

  const dropGone = (): void => {
    for (const id of going) {
      const record = store.record(id);
      if (record !== undefined && kernel.link(record.spec.hostInterface) !== undefined) continue;
      store.remove(id);
      going.delete(id);
    }
  };

  return {
    release(record, leavePlugins) {
      if (record.state !== 'detaching') bound.set(record.id, record);
      store.setState(record.id, 'detaching');
      going.add(record.id);
      released.push(record);
      let isDenied = false;
      try {
        isDenied = unbind(record.id) && isHeld(record.spec);
      } finally {
        // Nothing denies where there are no tables, they never knew the link, or could not be changed.
        if (!isDenied) kernel.isolate(record.spec.hostInterface);
      }
      leavePlugins(record);
    },
    finish,
    renewPorts(record) {
      append(stale, stalePorts(record, true));
    },
    reap(force) {
      finish();
      // Before its address or a port of the host can be another's.
      for (const id of going) unbind(id);
      const ports = stale;
      stale = [];
      kernel.forget(ports);
      dropGone();
      if (!force || going.size === 0) return going.size;
      if (going.size > 1) kernel.deleteDoomed();
      for (const id of going) {
        const name = store.record(id)?.spec.hostInterface;
        if (name !== undefined) kernel.deleteLink(name);
      }
      dropGone();
      return going.size;
    },
    waiting: () => going.size,
  };
}
