import type { Target } from './target.ts';
import { appArmorProfile } from '../apparmor/profile-text.ts';
import { capabilitySets } from '../capabilities/sets.ts';
import { LIMIT_NAMES } from '../profile/sets.ts';
import { deviceExcess, deviceRules, formatRule } from '../profile/devices.ts';
import type { Profile } from '../profile/model.ts';
import { STANDARD_DEVICES } from '../profile/standard-devices.ts';
import type { Settings } from '../types.ts';
import { enforcedFiles } from './file-rules.ts';
import { settingsDigest } from './digest.ts';
import { checkMountRules, enforcedSyscalls } from './mount-rules.ts';
import { runtimeBounds } from './runtime-bounds.ts';
import { compiledFilter } from './seccomp-filter.ts';

/** Compiled settings by digest. A node runs few distinct profiles. */
const cache = new Map<string, Settings>();
const CACHE_SIZE = 256;

/**
 * Returns the settings with which a container gets exactly this profile, plus the base set of the runtime.
 * Deterministic. The result is cached by profile and target, so do not modify it.
 * @throws ENTITLEMENTS_UNSUPPORTED if the profile needs a filter and the kernel has no seccomp;
 * ENTITLEMENTS_UNENFORCEABLE for rules on files and mounts that no available mechanism enforces;
 * ENTITLEMENTS_TOO_COMPLEX
 */
export function compile(profile: Profile, target: Target): Settings {
  const digest = settingsDigest(profile, target);
  const found = cache.get(digest);
  if (found !== undefined) return found;
  const settings = compiled(profile, target, digest);
  if (cache.size >= CACHE_SIZE) cache.clear();
  cache.set(digest, settings);
  return settings;
}

function compiled(profile: Profile, target: Target, digest: string): Settings {
  const degraded: string[] = [];
  const landlock = enforcedFiles(profile, target, degraded);
  const launched = landlock !== undefined;
  checkMountRules(profile, target, degraded);
  const syscalls = enforcedSyscalls(profile, target);
  const seccomp = syscalls.filtered ? compiledFilter(syscalls, target, degraded, launched) : undefined;
  const apparmor = appArmorProfile(profile);
  if (apparmor !== undefined && !target.kernel.apparmor) {
    degraded.push(
      'AppArmor cannot be used here: file, mount and signal rules of the default AppArmor profile are not enforced',
    );
  }
  const added = addedDevices(profile);
  if (added.length > 0) degraded.push(`every OCI runtime always allows the devices ${added.join(', ')}`);
  const held = target.heldCapabilities;
  const missing = profile.capabilities.filter((name) => held !== undefined && !held.includes(name));
  if (missing.length > 0)
    degraded.push(`the daemon lacks ${missing.join(', ')}, and cannot pass on capabilities that it lacks`);
  return {
    capabilities: capabilitySets(profile.capabilities, profile.ambient, held),
    ...(seccomp === undefined ? {} : { seccomp }),
    // Without this the kernel accepts no rules from a process that lacks CAP_SYS_ADMIN.
    noNewPrivileges: profile.noNewPrivileges || launched,
    maskedPaths: expanded(profile.paths.masked, target),
    readonlyPaths: expanded(profile.paths.readonly, target),
    devices: deviceRules(profile.devices),
    hostDevices: profile.hostDevices,
    rlimits: rlimits(profile, target, degraded),
    hostNamespaces: profile.hostNamespaces,
    networkClass: profile.network,
    readonlyRootfs: profile.readonlyRootfs,
    writableSys: profile.writableSys,
    writableCgroups: profile.writableCgroups,
    ...runtimeBounds(profile),
    ...(apparmor !== undefined && target.kernel.apparmor && { apparmor }),
    ...(landlock !== undefined && { landlock }),
    degraded,
    digest,
  };
}

/** Returns the devices that a container may read or write although the profile does not grant them. */
function addedDevices({ devices }: Profile): string[] {
  const added = STANDARD_DEVICES.filter(
    // To create a node takes a capability, whatever the device rules say.
    (grant) => grant.access !== 'm' && deviceExcess(devices, [grant]) !== undefined,
  );
  return deviceRules(added)
    .filter(({ allow }) => allow)
    .map(formatRule);
}

/** Returns the limits. No hard limit is above what this process may set. */
function rlimits(profile: Profile, target: Target, degraded: string[]): Settings['rlimits'] {
  const lowered: string[] = [];
  const found = LIMIT_NAMES.flatMap((name) => {
    const limit = profile.limits[name];
    if (limit === undefined) return [];
    const most = target.kernel.hardLimits?.[name] ?? limit.hard;
    if (limit.hard > most) lowered.push(`${name} to ${most}`);
    const [hard, soft] = [limit.hard > most ? most : limit.hard, limit.soft > most ? most : limit.soft];
    return [{ type: `RLIMIT_${name}`, soft, hard }];
  });
  if (lowered.length > 0)
    degraded.push(
      `the daemon may not raise its own limits (CAP_SYS_RESOURCE) and lowers ${lowered.join(', ')}`,
    );
  return found;
}

/**
 * Expands the paths of the kernel that contain a `*` to the existing ones. In any other path, which a request
 * names, a `*` is the character itself.
 */
function expanded(paths: readonly string[], target: Target): string[] {
  return paths.flatMap((path) => target.kernel.expanded[path] ?? [path]);
}
