import { createHash } from 'node:crypto';
import type { RuntimeBounds, Settings } from '../../entitlements/index.ts';
import type { Verdict } from '../../trust/index.ts';

/**
 * A summary of the settings that the kernel enforces for a container: kept in its record, shown in its
 * verbose status.
 */
export interface HeldSettings {
  /** The profile that the pod named; `default` when it named none. */
  readonly profile: string;
  readonly ceilings: readonly { readonly name: string; readonly rule: string }[];
  /**
   * Digests of the attestations in which the publisher signed what the image needs; each of them also limits
   * the container.
   */
  readonly signedEntitlements?: readonly string[];
  readonly capabilities: { readonly bounding: readonly string[]; readonly ambient: readonly string[] };
  /** Absent: no filter. */
  readonly seccomp?: {
    readonly digest: string;
    readonly instructions: number;
    readonly defaultAction: string;
  };
  readonly noNewPrivileges: boolean;
  readonly networkClass: string;
  readonly hostNamespaces: readonly string[];
  readonly hostDevices: boolean;
  readonly readonlyRootfs: boolean;
  readonly maskedPaths: number;
  readonly readonlyPaths: number;
  readonly apparmor?: string;
  /** How many file rules the launcher sets up; absent: none, or AppArmor enforces them. */
  readonly landlock?: number;
  /** Bounds of its cgroup, for updates of its resources. */
  readonly resources?: RuntimeBounds['resources'];
  readonly degraded: readonly string[];
  readonly digest: string;
}

/** @param profile the name that the pod gave. Pure. */
export function heldSettings(
  settings: Settings,
  { ceilings, requestedEntitlements }: Pick<Verdict, 'ceilings' | 'requestedEntitlements'>,
  profile: string | undefined,
): HeldSettings {
  const {
    capabilities,
    seccomp,
    apparmor,
    noNewPrivileges,
    networkClass,
    hostNamespaces,
    hostDevices,
    readonlyRootfs,
    degraded,
    digest,
  } = settings;
  return {
    profile: profile ?? 'default',
    ceilings: ceilings.map(({ ceiling, rule }) => ({ name: ceiling, rule })),
    ...(requestedEntitlements !== undefined && {
      signedEntitlements: requestedEntitlements.map(({ attestation }) => attestation),
    }),
    capabilities: { bounding: capabilities.bounding, ambient: capabilities.ambient },
    ...(seccomp !== undefined && {
      seccomp: {
        digest: `sha256:${createHash('sha256').update(seccomp.bpf).digest('hex')}`,
        instructions: seccomp.bpf.length / 8,
        defaultAction: seccomp.oci.defaultAction,
      },
    }),
    noNewPrivileges,
    networkClass,
    hostNamespaces,
    hostDevices,
    readonlyRootfs,
    maskedPaths: settings.maskedPaths.length,
    readonlyPaths: settings.readonlyPaths.length,
    ...(apparmor !== undefined && { apparmor: apparmor.name }),
    ...(settings.landlock !== undefined && { landlock: settings.landlock.length }),
    ...(settings.bounds !== undefined && { resources: settings.bounds.resources }),
    degraded,
    digest,
  };
}
