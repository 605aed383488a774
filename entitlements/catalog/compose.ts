import { either } from '../profile/sets.ts';
import { defaultProfile, topProfile } from '../profile/builtin.ts';
import { deviceGrants, withoutDevices } from '../profile/devices.ts';
import type { FileRules, Profile } from '../profile/model.ts';
import { pathRestrictions } from '../profile/paths.ts';
import { policyAllowing, policyWithout } from '../seccomp/call-set.ts';
import { CAPABILITIES_WITH_CONDITIONS, defaultPolicy } from '../seccomp/default-policy.ts';
import { EPERM } from '../seccomp/outcome.ts';
import { filteredPolicy, joinPolicies, meetPolicies } from '../seccomp/policy.ts';
import { fileRules } from './part.ts';
import type { Part, PartRules } from './part.ts';

/** Every path: what a type of access allows if no rule restricts it. */
const EVERY_PATH = '/**';

/**
 * Returns the profile of a part: the default profile without its exclusions, plus its grants. conflictsOf
 * checks that no grant contradicts an exclusion. The default filter follows the remaining default
 * capabilities. The part itself names the system calls that a granted capability needs.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function composed(part: Part): Profile {
  const base = defaultProfile();
  const { grants, excludes } = part;
  const kept = base.capabilities.filter((name) => !excludes.capabilities.includes(name));
  const capabilities = either(kept, grants.capabilities);
  const granted = joinPolicies(policyAllowing(grants.calls), filteredPolicy(EPERM, [], grants.compat));
  // Their calls are granted under conditions, and an exclusion of the whole call takes precedence over them.
  const conditional = grants.capabilities.filter((name) => CAPABILITIES_WITH_CONDITIONS.includes(name));
  const usualCalls = meetPolicies(defaultPolicy(either(kept, conditional)), policyWithout(excludes.calls));
  const hostDevices = grants.flags.includes('hostDevices');
  const left = withoutDevices(base.devices, excludes.devices);
  const usual = 'wider' in left ? base.devices : left;
  const masked = grants.flags.includes('unmasked') ? [] : base.paths.masked;
  const readonly = grants.flags.includes('writablePaths') ? [] : base.paths.readonly;
  return {
    ...base,
    capabilities,
    ambient: grants.ambient.filter((name) => capabilities.includes(name)),
    syscalls: joinPolicies(usualCalls, granted),
    noNewPrivileges: excludes.flags.includes('privilegeGain'),
    paths: pathRestrictions([...masked, ...excludes.maskedPaths], [...readonly, ...excludes.readonlyPaths]),
    devices: hostDevices ? topProfile().devices : deviceGrants([...usual, ...grants.devices]),
    hostDevices,
    hostPaths: grants.flags.includes('hostPaths'),
    hostPorts: grants.flags.includes('hostPorts'),
    hostNamespaces: either(base.hostNamespaces, grants.hostNamespaces),
    ownNamespaces: excludes.ownNamespaces,
    readonlyVolumes: excludes.flags.includes('volumeWrites'),
    nonRoot: excludes.flags.includes('root'),
    network: part.networks[0] ?? base.network,
    ...rulesOf(part.rules),
    limits: excludes.limits,
    resources: excludes.resources,
    sysctls: grants.flags.includes('anySysctl') ? 'any' : base.sysctls,
    writableCgroups: grants.flags.includes('writableCgroups'),
    readonlyRootfs: excludes.flags.includes('rootfsWrites'),
  };
}

function rulesOf({
  egress,
  ingress,
  mounts,
  files,
  deny,
}: PartRules): Pick<Profile, 'egress' | 'ingress' | 'files' | 'mounts'> {
  const restricts = deny.length > 0 || Object.keys(files).length > 0;
  const member = (): FileRules => ({
    allow: fileRules(
      (['execute', 'read', 'write'] as const).flatMap((access) =>
        (files[access] ?? [EVERY_PATH]).map((pattern) => ({ pattern, access: [access] })),
      ),
    ),
    deny,
  });
  return {
    ...(egress !== undefined && { egress }),
    ...(ingress !== undefined && { ingress }),
    ...(restricts && { files: [member()] }),
    ...(mounts !== undefined && { mounts }),
  };
}
