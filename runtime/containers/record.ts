import type { ProcessIdentity } from '../../base/process/index.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { NetworkClass, PeerRules } from '../../entitlements/index.ts';
import type { SecurityLabels } from '../oci/spec.ts';
import type { Keyed } from '../state/records.ts';
import type { HeldSettings } from './held-settings.ts';

/** creating → created → starting → running → exited → (gone); `removing` from created and exited. */
export type ContainerPhase = 'creating' | 'created' | 'starting' | 'running' | 'exited' | 'removing';

export interface ContainerRecord extends Keyed {
  readonly sandboxId: string;
  readonly phase: ContainerPhase;
  readonly config: ContainerConfig;
  readonly requestDigest: string;
  readonly runtimeHandler: string;
  readonly imageId: string;
  /** The image as the CRI says it: an id that ContainerStatus gives as `image_ref`. */
  readonly imageRef: string;
  /** The decision that let it run. */
  readonly verdictId: string;
  /** Digest of the settings that the kernel was told. */
  readonly settingsDigest: string;
  readonly networkClass: NetworkClass;
  /** Rules of peers within the class; absent: none. */
  readonly peers?: PeerRules;
  readonly noNewPrivileges: boolean;
  /** Labels of the kernel's security modules. */
  readonly labels?: SecurityLabels;
  /** What its profile demands and this node can not enforce, each a sentence. */
  readonly degraded?: readonly string[];
  /** What the kernel was told, for whoever asks. Absent in records of before. */
  readonly held?: HeldSettings;
  /** Digests of the images that are mounted as volumes, by their place in the container. */
  readonly volumeImages?: Readonly<Record<string, string>>;
  /** Absolute, empty when the pod has no log folder. */
  readonly logPath: string;
  readonly stopSignal: string;
  /** The user that runs, as resolved against the image. */
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  readonly init?: ProcessIdentity;
  readonly monitor?: ProcessIdentity;
  /** What the OCI runtime said when it refused to make the container, which then has no process: its start fails (docs/decisions/0072). */
  readonly startFailure?: string;
  /** Nanoseconds since 1970, decimal; `'0'` when it has not happened. */
  readonly createdAt: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly exitCode: number;
  /** CamelCase: Completed, Error, OOMKilled, MonitorLost, StartError, Unknown. */
  readonly reason: string;
  readonly message: string;
  /** False until a StartContainer was answered: a retry after a crash is then a success whatever became of the process. */
  readonly startAnswered: boolean;
}
