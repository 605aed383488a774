import type { Settings } from '../../../entitlements/index.ts';
import type { Verdict } from '../../../trust/index.ts';
import type { ContainerPlan } from '../../container-mounts/created-container.ts';
import type { ImageRecord } from '../../images/types.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { ContainerRecord } from '../record.ts';

/** An admitted image that holds a checkpoint, and the admitted image on which its container ran. */
export interface AdmittedCheckpoint {
  readonly base: ImageRecord;
  readonly verdict: Verdict;
}

/** A container that is being created from a checkpoint. */
export interface Restore {
  /** Puts the files that the container had changed into its writable layer, before that is mounted. */
  fill(): Promise<void>;
  /**
   * Compares the checkpoint with the specification, and writes into the bundle what criu gets of it.
   * @returns the specification for the runtime
   * @throws PortcullisError RUNTIME_RESTORE_RIGHTS, RUNTIME_RESTORE_UNSUPPORTED, RUNTIME_RESTORE_ARCHIVE
   */
  accept(spec: OciSpec, settings: Settings): Promise<OciSpec>;
  /**
   * @param isLinked whether a link leads a mount into a read-only path: criu makes no mount read-only
   * @throws PortcullisError RUNTIME_RESTORE_UNSUPPORTED if so, or if a mount leads through a volume
   */
  checkPlan(plan: ContainerPlan, isLinked: boolean): void;
}

/** Creates containers from checkpoints. It decides what an archive may contain. */
export interface Restores {
  /**
   * Decides about an admitted image; undefined: it holds no checkpoint.
   * @param verdict on the image
   * @throws PortcullisError RUNTIME_RESTORE_UNSIGNED, RUNTIME_RESTORE_BASE, RUNTIME_RESTORE_ARCHIVE, and the
   * errors of the decision about the image on which the container ran
   */
  admit(image: ImageRecord, verdict: Verdict, namespace: string): Promise<AdmittedCheckpoint | undefined>;
  /**
   * @param index a number that no image volume of the container has
   * @throws PortcullisError RUNTIME_RESTORE_UNSUPPORTED, RUNTIME_RESTORE_ARCHIVE
   */
  begin(input: {
    readonly record: ContainerRecord;
    readonly sandbox: SandboxRecord;
    readonly handler: RuntimeHandler;
    readonly bundle: string;
    readonly checkpoint: ImageRecord;
    readonly base: ImageRecord;
    readonly index: number;
    /** Path of the cgroup, below each hierarchy. */
    readonly cgroup: string;
  }): Promise<Restore>;
  /**
   * Compares restored processes, which are stopped, with the specification in the bundle.
   * @param init the first process
   * @throws PortcullisError RUNTIME_RESTORED_OTHERWISE
   */
  verify(input: {
    readonly id: string;
    readonly bundle: string;
    readonly init: number;
    readonly cgroup: string;
  }): Promise<void>;
}
