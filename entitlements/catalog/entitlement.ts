import type {
  FileRule,
  HostNamespace,
  Limit,
  LimitName,
  MountRule,
  OwnNamespace,
  ResourceName,
} from '../profile/model.ts';
import type { NetworkRule } from '../types.ts';
import type { CompatArchitecture } from '../seccomp/policy.ts';
import type { Capability, NetworkClass } from '../types.ts';

/**
 * A condition on one argument, compared in the bits that the kernel reads. Texts are names of the kernel's
 * headers: `AF_UNIX`.
 */
export type Condition =
  | { readonly argument: number; readonly equals: bigint | string }
  | { readonly argument: number; readonly mask: bigint | string; readonly value: bigint | string };

/**
 * A system call: with any arguments, only with certain arguments (`when`, all of them), or except with them
 * (`unless`).
 */
export interface NamedCall {
  readonly call: string;
  readonly when?: readonly Condition[];
  readonly unless?: readonly Condition[];
}

/** The grants of an entitlement, by mechanism, in addition to the default profile. */
export interface Grants {
  readonly capabilities?: readonly Capability[];
  /** Capabilities that a pod may request to survive an exec by a user other than root. */
  readonly ambient?: readonly Capability[];
  readonly syscalls?: readonly (string | NamedCall)[];
  /** Programs of these architectures may run too. */
  readonly architectures?: readonly CompatArchitecture[];
  readonly hostNamespaces?: readonly HostNamespace[];
  /** `c 10:232 rw`; `*` for any number. */
  readonly devices?: readonly string[];
  /** All devices of the host, readable and writable. */
  readonly hostDevices?: true;
  /** Paths of the host may be mounted as volumes. */
  readonly hostPaths?: true;
  /** Ports of the host may lead to its pod. */
  readonly hostPorts?: true;
  /** No path is masked. */
  readonly unmasked?: true;
  /** No path is read-only. */
  readonly writablePaths?: true;
  /** Any namespaced sysctl may be set. */
  readonly anySysctl?: true;
  /** Cgroups may be created below its own. */
  readonly writableCgroups?: true;
}

/**
 * The exclusions of an entitlement. Another entitlement that grants an excluded item is a conflict,
 * regardless of order.
 */
export interface Excludes {
  readonly capabilities?: readonly Capability[];
  readonly syscalls?: readonly (string | NamedCall)[];
  readonly hostNamespaces?: readonly HostNamespace[];
  readonly devices?: readonly string[];
  readonly hostDevices?: true;
  readonly hostPaths?: true;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  /** No program gains privileges by exec (no_new_privs). */
  readonly privilegeGain?: true;
  /** The root file system is read-only. */
  readonly rootfsWrites?: true;
  readonly volumeWrites?: true;
  /** No process starts as user 0 of the host. */
  readonly root?: true;
  /** Namespaces that the container must not share with the host: it must have its own. */
  readonly sharedNamespaces?: readonly OwnNamespace[];
  /** Anything beyond these limits is excluded. The lowest of several limits counts. */
  readonly limits?: Readonly<Partial<Record<LimitName, Limit>>>;
  readonly resources?: Readonly<Partial<Record<ResourceName, bigint>>>;
}

/**
 * Lists that restrict as soon as one of them has an entry. Then everything that any of them allows is
 * allowed, and nothing else. The model is Kubernetes' NetworkPolicy: without a policy there is no
 * restriction, and several policies add up.
 */
export interface Rules {
  readonly egress?: readonly NetworkRule[];
  readonly ingress?: readonly NetworkRule[];
  readonly mounts?: readonly MountRule[];
  /** Patterns of paths by type of access. */
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly execute?: readonly string[];
  /** Takes precedence over the allow lists. */
  readonly deny?: readonly FileRule[];
}

/** The effects of an entitlement, without its texts. */
export interface Effects {
  /** The network class of the entitlement. Two classes in one profile conflict. */
  readonly network?: NetworkClass;
  readonly grants: Grants;
  readonly excludes?: Excludes;
  readonly rules?: Rules;
}

export interface Entitlement extends Effects {
  /** `domain.subdomain.identifier`, with `=argument` if it takes an argument. */
  readonly name: string;
  readonly title: string;
  readonly risk: 'low' | 'medium' | 'high' | 'critical';
  /**
   * For an entitlement with an argument: its form for people, an example, and a function that returns its
   * meaning or what is wrong with it.
   */
  readonly argument?: {
    readonly form: string;
    readonly example: string;
    readonly read: (text: string) => Effects | { readonly problem: string };
  };
  /**
   * Questions with their answers for a profile that has only this entitlement: `CAP_NET_RAW`,
   * `socket(AF_INET)`, `device c 1:3 r`, `host pid`. The catalog's own test asks them.
   */
  readonly tests: { readonly allows?: readonly string[]; readonly denies?: readonly string[] };
}
