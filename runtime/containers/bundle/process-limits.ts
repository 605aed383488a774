import type { Settings } from '../../../entitlements/index.ts';
import type { BeyondCri } from '../adjusted.ts';
import { outsideProfile } from '../../oci/profile-bounds.ts';

/** RLIM_INFINITY. */
const unlimited = 2n ** 64n - 1n;

/** Limits that give a process a higher priority (setrlimit(2)), which otherwise needs CAP_SYS_NICE. */
const raisesPriority: ReadonlySet<string> = new Set(['RLIMIT_NICE', 'RLIMIT_RTPRIO']);

/**
 * Returns the settings with limits of processes that plugins of the node set. A limit of the profile is the
 * maximum, and a limit that raises the priority of processes needs the capability that does the same.
 * @throws PortcullisError RUNTIME_OUTSIDE_PROFILE
 */
export function withLimits(settings: Settings, asked: BeyondCri['rlimits']): Settings {
  if (asked.length === 0) return settings;
  const limits = asked.map(({ type, soft, hard }) => ({ type, soft: BigInt(soft), hard: BigInt(hard) }));
  const broken = limits.flatMap(({ type, hard }) => {
    const most = settings.rlimits.find((limit) => limit.type === type)?.hard ?? unlimited;
    if (hard > most) return [`${type} ${text(hard)} exceeds ${text(most)}`];
    const missing = raisesPriority.has(type) && !settings.capabilities.bounding.includes('SYS_NICE');
    return missing && hard > 0n ? [`${type} needs the capability SYS_NICE`] : [];
  });
  if (broken.length > 0) throw outsideProfile(broken);
  const types = new Set(limits.map(({ type }) => type));
  return { ...settings, rlimits: [...settings.rlimits.filter(({ type }) => !types.has(type)), ...limits] };
}

function text(limit: bigint): string {
  return limit === unlimited ? 'unlimited' : String(limit);
}
