import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Attachment } from '../../cni-plugins/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { Keyed } from '../state/records.ts';

/**
 * creating → ready → stopping → stopped → (gone). A crash leaves one of these phases, and the next start
 * continues from it.
 */
export type SandboxPhase = 'creating' | 'ready' | 'stopping' | 'stopped';

export interface SandboxRecord extends Keyed {
  readonly phase: SandboxPhase;
  readonly config: PodSandboxConfig;
  /** sha256 of the request, to distinguish a retry from another pod of the same name. */
  readonly requestDigest: string;
  /** The requested handler; empty is the default one. */
  readonly runtimeHandler: string;
  /** The folder of pinned namespaces; absent when the pod shares all of the host's. */
  readonly namespacesDir?: string;
  readonly attachment?: Attachment;
  /**
   * The process that holds the PID namespace which its containers share; without `process` it is about to be
   * started. Absent: they share none.
   */
  readonly infra?: { readonly process?: ProcessIdentity };
  /**
   * The boot in which the pod was created: only this record survives the end of that boot. Absent in older
   * records.
   */
  readonly bootId?: string;
  /** Cgroup that contains the pod's containers, from the root of the hierarchy. */
  readonly cgroupParent: string;
  /** Names of its sysctls that the node sets in every pod, and that no ceiling restricts. Absent: none. */
  readonly nodeSysctls?: readonly string[];
  /** Cgroups that did not exist before this pod: they are removed with it, deepest last. */
  readonly ownedCgroups: readonly string[];
  /** Nanoseconds since 1970, decimal. */
  readonly createdAt: string;
}
