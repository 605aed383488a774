import type { ProcessIdentity } from '../../base/process/index.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { NetworkClass, PeerRules } from '../../entitlements/index.ts';
import type { SecurityLabels } from '../oci/spec.ts';
import type { Keyed } from '../state/records.ts';
import type { Adjusted } from './adjusted.ts';
import type { HeldSettings } from './enforced-settings.ts';

/** creating → created → starting → running → exited → (gone); `removing` from created and exited. */
export type ContainerPhase = 'creating' | 'created' | 'starting' | 'running' | 'exited' | 'removing';

export interface ContainerRecord extends Keyed {
  readonly sandboxId: string;
  readonly phase: ContainerPhase;
  readonly config: ContainerConfig;
  /** The changes that plugins of the node made to the request. `config` contains them. Absent: none. */
  readonly adjusted?: Adjusted;
  /** The digest of the request as it was sent. */
  readonly requestDigest: string;
  readonly runtimeHandler: string;
  readonly imageId: string;
  /** The image in CRI terms: the id that ContainerStatus returns as `image_ref`. */
  readonly imageRef: string;
  /** The image of the checkpoint from which the container was restored. Absent: it was not restored. */
  readonly restoredFrom?: { readonly imageId: string; readonly imageRef: string; readonly verdictId: string };
  /** The verdict that admitted the image. */
  readonly verdictId: string;
  /** Digest of the settings that the kernel enforces. */
  readonly settingsDigest: string;
  readonly networkClass: NetworkClass;
  /** Peer rules within the class; absent: none. */
  readonly peers?: PeerRules;
  readonly noNewPrivileges: boolean;
  /** Labels of the kernel's security modules. */
  readonly labels?: SecurityLabels;
  /** Requirements of its profile that this node cannot enforce, one sentence each. */
  readonly degraded?: readonly string[];
  /** A summary of the settings that the kernel enforces, for status queries. Absent in older records. */
  readonly held?: HeldSettings;
  /** Digests of the images that are mounted as volumes, by their path in the container. */
  readonly volumeImages?: Readonly<Record<string, string>>;
  /** The verdicts that admitted these images, by the same paths. Absent in older records. */
  readonly volumeVerdicts?: Readonly<Record<string, string>>;
  /** Absolute; empty when the pod has no log folder. */
  readonly logPath: string;
  /** The path at which the monitor opens its log again. Absent: `logPath`. */
  readonly monitorLog?: string;
  readonly stopSignal: string;
  /** The user of the process, as resolved against the image. */
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  /** The first process, or the stand-in of a task (docs/decisions/0106). */
  readonly init?: ProcessIdentity;
  /** The first process of a task: a child of its shim. Absent: no task, or the node does not see it. */
  readonly task?: ProcessIdentity;
  readonly monitor?: ProcessIdentity;
  /**
   * The error of the OCI runtime when it refused to create the container. The container then has no process,
   * and its start fails (docs/decisions/0072).
   */
  readonly startFailure?: string;
  /** Nanoseconds since 1970, decimal; `'0'` when it has not happened. */
  readonly createdAt: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly exitCode: number;
  /** CamelCase: Completed, Error, OOMKilled, MonitorLost, StartError, Unknown. */
  readonly reason: string;
  readonly message: string;
  /**
   * False until a StartContainer was answered: until then, a retry after a crash succeeds, whatever happened
   * to the process.
   */
  readonly startAnswered: boolean;
}

/** Returns the number of the first process, as users and plugins use it. 0: the node does not see one. */
export function firstProcess({ init, task }: Pick<ContainerRecord, 'init' | 'task'>): number {
  return (task ?? init)?.pid ?? 0;
}
