import type { Capability, NetworkClass } from '../types.ts';
import type { HostNamespace } from '../profile/model.ts';

/** A condition on one argument, compared in the bits that the kernel reads. */
export interface Condition {
  readonly argument: number;
  readonly equals: bigint;
}

/** A system call that an entitlement takes away: whole, with certain arguments (`when`, all of them), or without them (`unless`). */
export interface ExcludedCall {
  readonly call: string;
  readonly when?: readonly Condition[];
  readonly unless?: readonly Condition[];
}

/** What an entitlement gives, mechanism by mechanism, on top of the default profile. */
export interface Grants {
  readonly capabilities?: readonly Capability[];
  readonly syscalls?: readonly string[];
  readonly hostNamespaces?: readonly HostNamespace[];
  /** All devices of the host, readable and writable. */
  readonly hostDevices?: true;
  /** Paths of the host as volumes. */
  readonly hostPaths?: true;
  /** Nothing is masked. */
  readonly unmasked?: true;
  /** Nothing is read-only. */
  readonly writablePaths?: true;
}

/** What an entitlement takes away. Another entitlement that grants it is a conflict, not a question of order. */
export interface Excludes {
  readonly capabilities?: readonly Capability[];
  readonly syscalls?: readonly ExcludedCall[];
  readonly hostNamespaces?: readonly HostNamespace[];
  readonly hostDevices?: true;
  readonly maskedPaths?: readonly string[];
  /** No program gains privileges by exec (no_new_privs). */
  readonly privilegeGain?: true;
  /** The root file system is read-only. */
  readonly rootfsWrites?: true;
}

export interface Entitlement {
  /** `domain.subdomain.identifier`. */
  readonly name: string;
  readonly title: string;
  readonly risk: 'low' | 'medium' | 'high' | 'critical';
  /** The network class it stands for; two classes in one profile conflict. */
  readonly network?: NetworkClass;
  readonly grants: Grants;
  readonly excludes: Excludes;
  /** Why this version refuses it. */
  readonly refused?: string;
}
