import type { ContainerConfig, LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { Exit } from '../monitor/exits.ts';
import type { ExecResult } from '../oci/exec.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { ContainerRecord } from './record.ts';

/** What the admission of an image for one container says. */
export interface Admission {
  readonly imageId: string;
  readonly imageRef: string;
  readonly verdictId: string;
  /** Opaque to the service: handed back to {@link ContainerEffects.prepare}. */
  readonly token: unknown;
}

/** What the confinement and the image made of a request. */
export type Prepared = Pick<
  ContainerRecord,
  'settingsDigest' | 'networkClass' | 'peers' | 'noNewPrivileges' | 'labels' | 'degraded' | 'held' | 'user' | 'stopSignal' | 'volumeImages'
>;

/** What a container's life does to the world. Each act that finds itself done succeeds. */
export interface ContainerEffects {
  /** Decides again, offline, for this pod's namespace. Throws when the answer is no. */
  admit(config: ContainerConfig, sandbox: SandboxRecord): Promise<Admission>;
  /**
   * Checks the request against its ceilings, mounts the root file system, writes the bundle.
   * @param durable settles with the record's own writing: before it no process may be started for the container
   */
  prepare(record: ContainerRecord, sandbox: SandboxRecord, admission: Admission, durable: Promise<void>): Promise<Prepared>;
  create(record: ContainerRecord): Promise<Required<Pick<ContainerRecord, 'init' | 'monitor'>>>;
  /** Raises the pod's link to what its started containers need. */
  raiseNetwork(sandbox: SandboxRecord, containers: readonly ContainerRecord[]): Promise<void>;
  start(record: ContainerRecord): Promise<void>;
  /** Whether the process has passed from created to running, as the runtime knows it. */
  isStarted(record: ContainerRecord): Promise<boolean>;
  /** A process that is gone: success. Throws when the signal cannot be sent. */
  kill(record: ContainerRecord, signal: string): void;
  /** Whether the first process would be reached by this signal now. */
  heeds(record: ContainerRecord, signal: string): boolean;
  /** Kills what outlives the first process (a container that shares a PID namespace). */
  killLeftovers(record: ContainerRecord): Promise<void>;
  /** Ends monitor and processes, removes bundle, cgroup, writable layer, runtime state and exit file. */
  destroy(record: ContainerRecord): Promise<void>;
  /** @param monitorLost called once when the monitor is gone while the first process lives */
  watch(record: ContainerRecord, tell: (exit: Exit) => void, monitorLost: () => void): () => void;
  forgetExit(id: string): Promise<void>;
  wasOutOfMemory(record: ContainerRecord): Promise<boolean>;
  exec(record: ContainerRecord, command: readonly string[], timeoutMs: number, signal?: AbortSignal): Promise<ExecResult>;
  update(record: ContainerRecord, resources: LinuxContainerResources): Promise<void>;
  reopenLog(record: ContainerRecord): Promise<void>;
  /** Whether the first process lives. Throws when that cannot be found out. */
  isAlive(record: ContainerRecord): boolean;
  /** Whether its monitor lives, which writes the exit code after the end of the first process. Throws when that cannot be found out. */
  isMonitored(record: ContainerRecord): boolean;
  /** The exit that the monitor has written. Throws when that cannot be found out. */
  recordedExit(id: string): Promise<Exit | undefined>;
  logPath(config: ContainerConfig, sandbox: SandboxRecord): string;
  digest(value: unknown): string;
  newId(): string;
  /** Nanoseconds since 1970, decimal. */
  now(): string;
  /** Milliseconds of a clock that only goes forward, and a timer on it. */
  readonly clock: { now(): number; sleep(ms: number): Promise<void> };
}
