import { openLinkEvents, openNamespaceEvents } from '../../../base/netlink/index.ts';
import type { Drained, LinkEvents, NamespaceEvents } from '../../../base/netlink/index.ts';
import type { LinkAlteration } from '../../types.ts';
import { createAlteredLinks } from '../pods/altered-links.ts';
import type { AlteredLinkDeps } from '../pods/altered-links.ts';
import type { Host } from '../../namespaces/caller.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { NetworkCore } from '../pods/network-core.ts';
import type { PluginCore } from '../../plugin-engine/plugin-engine.ts';
import { hostInterfacePrefix, linkGroups } from '../../database/record.ts';

/**
 * Notices through kernel events when a link of an attachment, or a bridge of ours, disappears or changes
 * while the daemon runs, and triggers its repair.
 */
export interface LinkWatch {
  /** Reads the events since the last call. Fast while no link of ours disappeared or changed. */
  look(): void;
  /** Returns the pods' ends that were changed inside the pods' network namespaces. */
  alterations(): readonly LinkAlteration[];
  /** Restores these links. */
  restoreAltered(): void;
  close(): void;
}

export interface LinkWatchDeps extends AlteredLinkDeps {
  readonly database: NetworkDatabase;
  readonly core: Pick<NetworkCore, 'linksLost' | 'repairLinks'>;
  readonly plugins: Pick<PluginCore, 'repair'>;
  readonly host: Host;
}

/** Opens two sockets, so that a pod that floods the second one with events does not affect the first. */
function openEvents(): { readonly events: LinkEvents; readonly heard: NamespaceEvents } {
  const events = openLinkEvents();
  try {
    return { events, heard: openNamespaceEvents() };
  } catch (thrown) {
    events.close();
    throw thrown;
  }
}

const shortestRestMs = 1000;

/**
 * Opens the watch. Call it before the kernel's state is compared with the records, so that later changes
 * arrive as events.
 */
export function openLinkWatch({ database, core, plugins, host, ...parts }: LinkWatchDeps): LinkWatch {
  const { events, heard } = openEvents();
  const altered = createAlteredLinks(parts);
  const selectRecorded = database.db.prepare(
    "SELECT 1 FROM attachment WHERE realm = ? AND host_interface = ? AND state = 'ready'",
  );
  const isRecorded = (name: string): boolean => selectRecorded.get(host.namespaceId, name) !== undefined;
  /** Also true for links that the comparison at the start could not restore. */
  let isLost = true;
  let arePartsDue = false;
  let partsRestUntil = 0;

  /**
   * Returns whether a recorded link has a state that we never give to a link, or a link of ours has a name
   * that we never use.
   */
  const isOdd = ({ name, kind, group, up, master }: Drained['changed'][number]): boolean => {
    if (kind !== 'veth') return group === linkGroups.bridge && !up;
    if (!name.startsWith(hostInterfacePrefix)) return group === linkGroups.pod || group === linkGroups.routed;
    const exists =
      up &&
      (group === linkGroups.pod ? master !== 0 : group === linkGroups.plugin || group === linkGroups.routed);
    return !exists && isRecorded(name);
  };

  /**
   * Compares everything that plugins created. It takes at most a tenth of the time, however often another
   * program deletes a link.
   */
  const repairParts = (): void => {
    const started = performance.now();
    if (started < partsRestUntil) return;
    arePartsDue = false;
    plugins.repair(host);
    const ended = performance.now();
    partsRestUntil = ended + Math.max(shortestRestMs, 9 * (ended - started));
  };

  return {
    look() {
      const { gone, changed, missed } = events.drain();
      const isOurs =
        missed ||
        gone.some(({ name, group }) => group === linkGroups.bridge || isRecorded(name)) ||
        changed.some(isOdd);
      if (isOurs) arePartsDue = true;
      // Stays true until a check of all links succeeds, because the events are not repeated. A comparison
      // that somebody requested may have found links, too, whose events are not ours after a detachment.
      isLost ||= isOurs || core.linksLost() > 0;
      if (isLost) isLost = database.exclusively(() => core.repairLinks(false)).lost.length > 0;
      if (arePartsDue) repairParts();
      altered.note(heard.drain());
      altered.look();
    },
    alterations: altered.list,
    restoreAltered() {
      altered.note(heard.drain());
      altered.restore();
    },
    close() {
      events.close();
      heard.close();
    },
  };
}
