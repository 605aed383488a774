import type { FileRule, HostNamespace, Limit, LimitName, MountRule, OwnNamespace, ResourceName } from '../profile/model.ts';
import type { NetworkRule } from '../types.ts';
import type { CompatArchitecture } from '../seccomp/policy.ts';
import type { Capability, NetworkClass } from '../types.ts';

/** A condition on one argument, compared in the bits that the kernel reads. Texts are names of the kernel's headers: `AF_UNIX`. */
export type Condition =
  | { readonly argument: number; readonly equals: bigint | string }
  | { readonly argument: number; readonly mask: bigint | string; readonly value: bigint | string };

/** A system call: whole, with certain arguments (`when`, all of them), or without them (`unless`). */
export interface NamedCall {
  readonly call: string;
  readonly when?: readonly Condition[];
  readonly unless?: readonly Condition[];
}

/** What an entitlement gives, mechanism by mechanism, on top of the default profile. */
export interface Grants {
  readonly capabilities?: readonly Capability[];
  /** Those that a pod may ask to survive an exec by a user other than root. */
  readonly ambient?: readonly Capability[];
  readonly syscalls?: readonly (string | NamedCall)[];
  /** Programs of these architectures run, too. */
  readonly architectures?: readonly CompatArchitecture[];
  readonly hostNamespaces?: readonly HostNamespace[];
  /** `c 10:232 rw`; `*` for any number. */
  readonly devices?: readonly string[];
  /** All devices of the host, readable and writable. */
  readonly hostDevices?: true;
  /** Paths of the host as volumes. */
  readonly hostPaths?: true;
  /** Ports of the host lead to its pod. */
  readonly hostPorts?: true;
  /** Nothing is masked. */
  readonly unmasked?: true;
  /** Nothing is read-only. */
  readonly writablePaths?: true;
  /** Any namespaced sysctl. */
  readonly anySysctl?: true;
}

/** What an entitlement takes away. Another entitlement that grants it is a conflict, not a question of order. */
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
  /** No process is started as user 0 of the host. */
  readonly root?: true;
  /** Namespaces that it does not share with the host: it must have its own. */
  readonly sharedNamespaces?: readonly OwnNamespace[];
  /** What goes beyond these. Of several bounds the lowest counts. */
  readonly limits?: Readonly<Partial<Record<LimitName, Limit>>>;
  readonly resources?: Readonly<Partial<Record<ResourceName, bigint>>>;
}

/**
 * Lists that restrict as soon as one says something: then what any of them allows is allowed, and nothing else. As with Kubernetes'
 * NetworkPolicies, whom none selects is not restricted, and several add up.
 */
export interface Rules {
  readonly egress?: readonly NetworkRule[];
  readonly ingress?: readonly NetworkRule[];
  readonly mounts?: readonly MountRule[];
  /** By kind of access, patterns of paths. */
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly execute?: readonly string[];
  /** Wins over what allows. */
  readonly deny?: readonly FileRule[];
}

/** What an entitlement means, apart from its words. */
export interface Effects {
  /** The network class it stands for; two classes in one profile conflict. */
  readonly network?: NetworkClass;
  readonly grants: Grants;
  readonly excludes: Excludes;
  readonly rules?: Rules;
}

export interface Entitlement extends Effects {
  /** `domain.subdomain.identifier`, with `=argument` where it takes one. */
  readonly name: string;
  readonly title: string;
  readonly risk: 'low' | 'medium' | 'high' | 'critical';
  /** For one that takes an argument: its form for people, an example, and its meaning, or what is wrong with it. */
  readonly argument?: {
    readonly form: string;
    readonly example: string;
    readonly read: (text: string) => Effects | { readonly problem: string };
  };
  /**
   * Questions with their answers in a profile of this entitlement alone: `CAP_NET_RAW`, `socket(AF_INET)`, `device c 1:3 r`,
   * `host pid`. The catalog's own test asks them.
   */
  readonly tests: { readonly allows?: readonly string[]; readonly denies?: readonly string[] };
}
