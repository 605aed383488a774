import { openLinkEvents } from '../netlink/link-events.ts';
import type { Drained, LinkEvents } from '../netlink/link-events.ts';
import { openNamespaceEvents } from '../netlink/namespace-events.ts';
import type { NamespaceEvents } from '../netlink/namespace-events.ts';
import type { LinkAlteration } from '../types.ts';
import { createAlteredLinks } from './altered-links.ts';
import type { AlteredLinkParts } from './altered-links.ts';
import type { Host } from './caller.ts';
import type { NetworkDatabase } from './database.ts';
import type { NetworkCore } from './network-core.ts';
import type { PluginCore } from './plugin-engine.ts';
import { hostInterfacePrefix, linkGroups } from './record.ts';

/** Notices by the kernel's events when a link of an attachment, or a bridge of ours, goes or changes while the daemon runs, and has it given back. */
export interface LinkWatch {
  /** Reads the events since the last call. Quick while no link of ours went or changed. */
  look(): void;
  /** Pods' ends that were changed inside the pods' network namespaces. */
  alterations(): readonly LinkAlteration[];
  /** Gives these what they had. */
  restoreAltered(): void;
  close(): void;
}

export interface LinkWatchParts extends AlteredLinkParts {
  readonly database: NetworkDatabase;
  readonly core: Pick<NetworkCore, 'repairLinks'>;
  readonly plugins: Pick<PluginCore, 'repair'>;
  readonly host: Host;
}

/** A socket of the second kind that a pod floods keeps nothing from the first. */
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

/** To be opened before what the kernel has is compared with the records: what goes in between is an event. */
export function openLinkWatch({ database, core, plugins, host, ...parts }: LinkWatchParts): LinkWatch {
  const { events, heard } = openEvents();
  const altered = createAlteredLinks(parts);
  const selectRecorded = database.db.prepare("SELECT 1 FROM attachment WHERE realm = ? AND host_interface = ? AND state = 'ready'");
  const isRecorded = (name: string): boolean => selectRecorded.get(host.realm, name) !== undefined;
  /** Also what the comparison at the start could not give back. */
  let isLost = true;
  let arePartsDue = false;
  let partsRestUntil = 0;

  /** A recorded link has a state that we never give to a link, or a link of ours has a name that we never give. */
  const isOdd = ({ name, kind, group, up, master }: Drained['changed'][number]): boolean => {
    if (kind !== 'veth') return group === linkGroups.bridge && !up;
    if (!name.startsWith(hostInterfacePrefix)) return group === linkGroups.pod || group === linkGroups.routed;
    const stands = up && (group === linkGroups.pod ? master !== 0 : group === linkGroups.plugin || group === linkGroups.routed);
    return !stands && isRecorded(name);
  };

  /** Of all that plugins made each thing is compared: at most a tenth of the time, however often somebody deletes a link. */
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
      const isOurs = missed || gone.some(({ name, group }) => group === linkGroups.bridge || isRecorded(name)) || changed.some(isOdd);
      if (isOurs) arePartsDue = true;
      // Until a look at all links succeeds: the events do not come again.
      isLost ||= isOurs;
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
