import type { Capability, Settings } from '../types.ts';
import { sortedCapabilities } from './capability-names.ts';

/**
 * Returns the five capability sets of a process from what is granted (capabilities(7)): bounding = permitted
 * = effective = granted. Inheritable stays empty, because otherwise a file's inheritable bits would raise an
 * unprivileged exec (CVE-2022-24769). Only requested ambient capabilities are inheritable as well, because
 * the kernel drops an ambient capability that is not inheritable.
 * @param held the capabilities that the daemon itself can pass on; nothing beyond them is set
 */
export function capabilitySets(
  granted: readonly Capability[],
  ambient: readonly Capability[],
  held?: readonly Capability[],
): Settings['capabilities'] {
  const within = new Set(held ?? granted);
  const given = sortedCapabilities(granted.filter((name) => within.has(name)));
  const givenSet = new Set(given);
  const kept = sortedCapabilities(ambient.filter((name) => givenSet.has(name)));
  return { bounding: given, effective: given, permitted: given, inheritable: kept, ambient: kept };
}
