import type { Capability, Settings } from '../types.ts';
import { sortedCapabilities } from './names.ts';

/**
 * The five sets of a process from what is granted (capabilities(7)): bounding = permitted = effective = granted. Inheritable stays
 * empty, else a file's inheritable bits would raise an unprivileged exec (CVE-2022-24769); only what is asked as ambient is
 * inheritable as well, since the kernel drops an ambient capability that is not.
 * @param held what the daemon itself can hand on; nothing beyond it is set
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
