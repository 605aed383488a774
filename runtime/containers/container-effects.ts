import type { ContainerConfig, LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { Exit } from '../monitor/exits.ts';
import type { ExecResult } from '../oci/exec.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { SignalReception } from '../processes/signal-reception.ts';
import type { ContainerRecord } from './record.ts';

/** The result of the admission of an image for one container. */
export interface Admission {
  readonly imageId: string;
  readonly imageRef: string;
  readonly verdictId: string;
  /** The image of a checkpoint, from which the container is restored. */
  readonly restoredFrom?: ContainerRecord['restoredFrom'];
  /** Opaque to the service, which passes it back to {@link ContainerEffects.prepare}. */
  readonly token: unknown;
}

/** The part of a record that results from the confinement and the image. */
export type Prepared = Pick<
  ContainerRecord,
  | 'settingsDigest'
  | 'networkClass'
  | 'peers'
  | 'noNewPrivileges'
  | 'labels'
  | 'degraded'
  | 'held'
  | 'user'
  | 'stopSignal'
  | 'volumeImages'
  | 'volumeVerdicts'
>;

/** The side effects in the life of a container. Each effect succeeds if its work is already done. */
export interface ContainerEffects {
  /** Decides again, offline, for the namespace of this pod. Throws when the image is not admitted. */
  admit(config: ContainerConfig, sandbox: SandboxRecord): Promise<Admission>;
  /**
   * Checks the request against its ceilings, mounts the root file system, writes the bundle.
   * @param durable settles when the record is written: no process may be started for the container before
   * that
   */
  prepare(
    record: ContainerRecord,
    sandbox: SandboxRecord,
    admission: Admission,
    durable: Promise<void>,
  ): Promise<Prepared>;
  /** @param signal ends the OCI runtime at once, and rejects with its reason */
  create(
    record: ContainerRecord,
    signal?: AbortSignal,
  ): Promise<
    Required<Pick<ContainerRecord, 'init' | 'monitor'>> & Pick<ContainerRecord, 'task' | 'monitorLog'>
  >;
  /** Raises the link of the pod to the policy that its started containers need. */
  raiseNetwork(sandbox: SandboxRecord, containers: readonly ContainerRecord[]): Promise<void>;
  /** @param signal ends the OCI runtime at once, and rejects with its reason */
  start(record: ContainerRecord, signal?: AbortSignal): Promise<void>;
  /** Whether the process has passed from created to running, according to the runtime. */
  isStarted(record: ContainerRecord): Promise<boolean>;
  /** Sends a signal. If the process is gone, succeeds. Throws when the signal cannot be sent. */
  kill(record: ContainerRecord, signal: string): void;
  /** Returns what would happen now to this signal for the first process. */
  reception(record: ContainerRecord, signal: string): SignalReception;
  /** Kills the processes that outlive the first process (in a container that shares a PID namespace). */
  killLeftovers(record: ContainerRecord): Promise<void>;
  /**
   * Removes the task of an exited container from the shim of its pod: a shim with a task does not end with
   * its pod. Does nothing for an OCI runtime.
   */
  releaseTask(record: ContainerRecord): Promise<void>;
  /**
   * Ends the monitor and the processes; removes the bundle, cgroup, writable layer, runtime state and exit
   * file.
   */
  destroy(record: ContainerRecord): Promise<void>;
  /** @param monitorLost called once when the monitor is gone while the first process lives */
  watch(record: ContainerRecord, report: (exit: Exit) => void, monitorLost: () => void): () => void;
  forgetExit(id: string): Promise<void>;
  wasOutOfMemory(record: ContainerRecord): Promise<boolean>;
  exec(
    record: ContainerRecord,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  /**
   * @param checked called when the resources are found to be allowed, before they are applied
   * @param signal ends the OCI runtime at once, and rejects with its reason
   */
  update(
    record: ContainerRecord,
    resources: LinuxContainerResources,
    checked?: () => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void>;
  reopenLog(record: ContainerRecord): Promise<void>;
  /** Whether the first process lives. Throws when this cannot be determined. */
  isAlive(record: ContainerRecord): boolean;
  /**
   * Whether the monitor of the container lives. The monitor writes the exit code after the end of the first
   * process. Throws when this cannot be determined.
   */
  isMonitored(record: ContainerRecord): boolean;
  /** Returns the exit that the monitor has written. Throws when this cannot be determined. */
  recordedExit(id: string): Promise<Exit | undefined>;
  logPath(config: ContainerConfig, sandbox: SandboxRecord): string;
  digest(value: unknown): string;
  /**
   * Prepares in the background for a container of this pod, which is likely to be created soon. What it has
   * prepared is used or undone later.
   */
  expect(sandbox: SandboxRecord): void;
  /** Returns the id for a container. For an id that no container gets, call `forgetId`. */
  newId(intended: {
    readonly config: ContainerConfig;
    readonly sandbox: SandboxRecord;
    readonly logPath: string;
    readonly isRestored: boolean;
  }): string;
  forgetId(id: string): Promise<void>;
  /** Undoes what was prepared for no container. */
  close(): Promise<void>;
  /** Nanoseconds since 1970, decimal. */
  now(): string;
  /** A monotonic clock in milliseconds, and a timer on it. */
  readonly clock: { now(): number; sleep(ms: number): Promise<void> };
}
