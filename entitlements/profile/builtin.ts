import { CAPABILITIES, DEFAULT_CAPABILITIES, sortedCapabilities } from '../capabilities/capability-names.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { UNFILTERED } from '../seccomp/policy.ts';
import type { Capability } from '../types.ts';
import { parseDeviceGrants } from './devices.ts';
import type { Profile } from './model.ts';
import { pathRestrictions } from './paths.ts';
import { STANDARD_DEVICES } from './standard-devices.ts';

/**
 * containerd's masked paths and two more from docker: kernel memory, keys, timers, sensors, interrupt timing
 * (a side channel).
 */
export const MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/system/cpu/cpu*/thermal_throttle',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

export const READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** Grants everything: the top of the lattice, and the Pod Security level `privileged`. */
const PRIVILEGED: Profile = {
  capabilities: sortedCapabilities(CAPABILITIES),
  ambient: sortedCapabilities(CAPABILITIES),
  syscalls: UNFILTERED,
  noNewPrivileges: false,
  paths: pathRestrictions([], []),
  devices: parseDeviceGrants(['b *:* rwm', 'c *:* rwm']),
  hostDevices: true,
  hostPaths: true,
  hostPorts: true,
  hostNamespaces: ['ipc', 'network', 'pid'],
  ownNamespaces: [],
  readonlyVolumes: false,
  nonRoot: false,
  network: 'host',
  limits: {},
  resources: {},
  sysctls: 'any',
  writableSys: true,
  writableCgroups: true,
  readonlyRootfs: false,
  apparmor: 'unconfined',
};

function confinedTo(capabilities: readonly Capability[]): Profile {
  return {
    capabilities: sortedCapabilities(capabilities),
    ambient: [],
    syscalls: defaultPolicy(capabilities),
    noNewPrivileges: false,
    paths: pathRestrictions(MASKED_PATHS, READONLY_PATHS),
    devices: STANDARD_DEVICES,
    hostDevices: false,
    hostPaths: false,
    hostPorts: false,
    hostNamespaces: [],
    ownNamespaces: [],
    readonlyVolumes: false,
    nonRoot: false,
    network: 'user',
    limits: {},
    resources: {},
    sysctls: 'safe',
    writableSys: false,
    writableCgroups: false,
    readonlyRootfs: false,
    apparmor: 'default',
  };
}

/**
 * Pod Security Standards, baseline: "Adding additional capabilities beyond those listed below must be
 * disallowed": docker's 14 without NET_RAW.
 */
const BASELINE_CAPABILITIES = DEFAULT_CAPABILITIES.filter((name) => name !== 'NET_RAW');

// Making the filter of a profile takes some 5 ms, so a profile is made when it is first asked for.
const confined = once(() => confinedTo(DEFAULT_CAPABILITIES));

const BUILTIN: ReadonlyMap<string, () => Profile> = new Map([
  ['default', confined],
  ['privileged', () => PRIVILEGED],
  // A ceiling limits capabilities that survive an exec only through its capability list: baseline has no rule
  // about ambient capabilities.
  ['baseline', once(() => ({ ...confinedTo(BASELINE_CAPABILITIES), ambient: BASELINE_CAPABILITIES }))],
  [
    'restricted',
    once(() => ({
      ...confinedTo(['NET_BIND_SERVICE']),
      ambient: ['NET_BIND_SERVICE'],
      noNewPrivileges: true,
      nonRoot: true,
    })),
  ],
]);

function once(make: () => Profile): () => Profile {
  let made: Profile | undefined;
  return () => (made ??= make());
}

/**
 * Returns a profile that needs no document: `default` (what docker and containerd grant), or a level of the
 * Pod Security Standards as a ceiling: `privileged`, `baseline`, `restricted`
 * (https://kubernetes.io/docs/concepts/security/pod-security-standards/). `baseline` and `restricted` grant
 * no host port, as the standards say. Their rules about volume types are the task of admission, and are not
 * part of these profiles.
 */
export function builtinProfile(name: string): Profile | undefined {
  return BUILTIN.get(name)?.();
}

/** Returns the names of the profiles that {@link builtinProfile} knows. */
export function builtinNames(): string[] {
  return [...BUILTIN.keys()];
}

/** Returns the profile of a container that names none. */
export function defaultProfile(): Profile {
  return confined();
}

/** Returns the top of the lattice. */
export function topProfile(): Profile {
  return PRIVILEGED;
}
