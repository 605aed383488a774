import { meetPolicies, joinPolicies } from '../seccomp/policy.ts';
import { deviceGrants, meetDevices } from '../profile/devices.ts';
import type { Profile } from '../profile/model.ts';
import { joinPaths, meetPaths } from '../profile/paths.ts';
import { joinFiles, meetFiles } from './files.ts';
import { joinMounts, meetMounts } from './mounts.ts';
import { joinNetworkRules, meetNetworkRules } from './network-rules.ts';
import {
  common,
  either,
  joinLimits,
  joinResources,
  meetLimits,
  meetResources,
  networkRank,
} from '../profile/sets.ts';

/**
 * Returns the greatest profile that grants no more than either: what both grant, restricted by what either
 * restricts. Exact in every dimension, including system call arguments.
 * @throws ENTITLEMENTS_TOO_COMPLEX if one system call would need more than 1024 conditions
 */
export function meet(a: Profile, b: Profile): Profile {
  if (a === b) return a;
  return {
    capabilities: common(a.capabilities, b.capabilities),
    ambient: common(a.ambient, b.ambient),
    syscalls: meetPolicies(a.syscalls, b.syscalls),
    noNewPrivileges: a.noNewPrivileges || b.noNewPrivileges,
    paths: meetPaths(a.paths, b.paths),
    devices: meetDevices(a.devices, b.devices),
    hostDevices: a.hostDevices && b.hostDevices,
    hostPaths: a.hostPaths && b.hostPaths,
    hostPorts: a.hostPorts && b.hostPorts,
    hostNamespaces: common(a.hostNamespaces, b.hostNamespaces),
    ownNamespaces: either(a.ownNamespaces, b.ownNamespaces),
    readonlyVolumes: a.readonlyVolumes || b.readonlyVolumes,
    nonRoot: a.nonRoot || b.nonRoot,
    network: networkRank(a.network) <= networkRank(b.network) ? a.network : b.network,
    ...given('egress', meetNetworkRules(a.egress, b.egress)),
    ...given('ingress', meetNetworkRules(a.ingress, b.ingress)),
    ...given('files', meetFiles(a.files, b.files)),
    ...given('mounts', meetMounts(a.mounts, b.mounts)),
    limits: meetLimits(a.limits, b.limits),
    resources: meetResources(a.resources, b.resources),
    sysctls: a.sysctls === 'any' ? b.sysctls : 'safe',
    writableSys: a.writableSys && b.writableSys,
    writableCgroups: a.writableCgroups && b.writableCgroups,
    readonlyRootfs: a.readonlyRootfs || b.readonlyRootfs,
    apparmor: a.apparmor === 'unconfined' ? b.apparmor : 'default',
  };
}

/**
 * Returns the least profile that grants no less than either: what one of them grants, restricted by what both
 * restrict. Exact, like {@link meet}.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function join(a: Profile, b: Profile): Profile {
  if (a === b) return a;
  return {
    capabilities: either(a.capabilities, b.capabilities),
    ambient: either(a.ambient, b.ambient),
    syscalls: joinPolicies(a.syscalls, b.syscalls),
    noNewPrivileges: a.noNewPrivileges && b.noNewPrivileges,
    paths: joinPaths(a.paths, b.paths),
    devices: deviceGrants([...a.devices, ...b.devices]),
    hostDevices: a.hostDevices || b.hostDevices,
    hostPaths: a.hostPaths || b.hostPaths,
    hostPorts: a.hostPorts || b.hostPorts,
    hostNamespaces: either(a.hostNamespaces, b.hostNamespaces),
    ownNamespaces: common(a.ownNamespaces, b.ownNamespaces),
    readonlyVolumes: a.readonlyVolumes && b.readonlyVolumes,
    nonRoot: a.nonRoot && b.nonRoot,
    network: networkRank(a.network) >= networkRank(b.network) ? a.network : b.network,
    ...given('egress', joinNetworkRules(a.egress, b.egress)),
    ...given('ingress', joinNetworkRules(a.ingress, b.ingress)),
    ...given('files', joinFiles(a.files, b.files)),
    ...given('mounts', joinMounts(a.mounts, b.mounts)),
    limits: joinLimits(a.limits, b.limits),
    resources: joinResources(a.resources, b.resources),
    sysctls: a.sysctls === 'any' ? 'any' : b.sysctls,
    writableSys: a.writableSys || b.writableSys,
    writableCgroups: a.writableCgroups || b.writableCgroups,
    readonlyRootfs: a.readonlyRootfs && b.readonlyRootfs,
    apparmor: a.apparmor === 'unconfined' ? 'unconfined' : b.apparmor,
  };
}

/** Returns a dimension that restricts nothing if it is absent. */
function given<K extends 'egress' | 'files' | 'ingress' | 'mounts'>(
  name: K,
  rules: Profile[K],
): Pick<Profile, K> | object {
  return rules === undefined ? {} : { [name]: rules };
}
