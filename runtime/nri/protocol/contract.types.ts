// Generated from contract.json by generate-types.ts. Do not edit.

export const ProfileType = {
  RUNTIME_DEFAULT: 0,
  UNCONFINED: 1,
  LOCALHOST: 2,
} as const;
export type ProfileType = (typeof ProfileType)[keyof typeof ProfileType];

export const Event = {
  UNKNOWN: 0,
  RUN_POD_SANDBOX: 1,
  STOP_POD_SANDBOX: 2,
  REMOVE_POD_SANDBOX: 3,
  CREATE_CONTAINER: 4,
  POST_CREATE_CONTAINER: 5,
  START_CONTAINER: 6,
  POST_START_CONTAINER: 7,
  UPDATE_CONTAINER: 8,
  POST_UPDATE_CONTAINER: 9,
  STOP_CONTAINER: 10,
  REMOVE_CONTAINER: 11,
  UPDATE_POD_SANDBOX: 12,
  POST_UPDATE_POD_SANDBOX: 13,
  VALIDATE_CONTAINER_ADJUSTMENT: 14,
  LAST: 15,
} as const;
export type Event = (typeof Event)[keyof typeof Event];

export const ContainerState = {
  CONTAINER_UNKNOWN: 0,
  CONTAINER_CREATED: 1,
  CONTAINER_PAUSED: 2,
  CONTAINER_RUNNING: 3,
  CONTAINER_STOPPED: 4,
} as const;
export type ContainerState = (typeof ContainerState)[keyof typeof ContainerState];

export const IOPrioClass = {
  IOPRIO_CLASS_NONE: 0,
  IOPRIO_CLASS_RT: 1,
  IOPRIO_CLASS_BE: 2,
  IOPRIO_CLASS_IDLE: 3,
} as const;
export type IOPrioClass = (typeof IOPrioClass)[keyof typeof IOPrioClass];

export const LinuxSchedulerPolicy = {
  SCHED_NONE: 0,
  SCHED_OTHER: 1,
  SCHED_FIFO: 2,
  SCHED_RR: 3,
  SCHED_BATCH: 4,
  SCHED_ISO: 5,
  SCHED_IDLE: 6,
  SCHED_DEADLINE: 7,
} as const;
export type LinuxSchedulerPolicy = (typeof LinuxSchedulerPolicy)[keyof typeof LinuxSchedulerPolicy];

export const LinuxSchedulerFlag = {
  SCHED_FLAG_RESET_ON_FORK: 0,
  SCHED_FLAG_RECLAIM: 1,
  SCHED_FLAG_DL_OVERRUN: 2,
  SCHED_FLAG_KEEP_POLICY: 3,
  SCHED_FLAG_KEEP_PARAMS: 4,
  SCHED_FLAG_UTIL_CLAMP_MIN: 5,
  SCHED_FLAG_UTIL_CLAMP_MAX: 6,
} as const;
export type LinuxSchedulerFlag = (typeof LinuxSchedulerFlag)[keyof typeof LinuxSchedulerFlag];

export const MpolMode = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
} as const;
export type MpolMode = (typeof MpolMode)[keyof typeof MpolMode];

export const MpolFlag = {
  MPOL_F_STATIC_NODES: 0,
  MPOL_F_RELATIVE_NODES: 1,
  MPOL_F_NUMA_BALANCING: 2,
} as const;
export type MpolFlag = (typeof MpolFlag)[keyof typeof MpolFlag];

export interface RegisterPluginRequest {
  readonly pluginName: string;
  readonly pluginIdx: string;
  readonly nriVersion: string;
}

export interface UpdateContainersRequest {
  readonly update: readonly ContainerUpdate[];
  readonly evict: readonly ContainerEviction[];
}

export interface UpdateContainersResponse {
  readonly failed: readonly ContainerUpdate[];
}

export interface ConfigureRequest {
  readonly config: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly registrationTimeout: number;
  readonly requestTimeout: number;
  readonly nriVersion: string;
}

export interface ConfigureResponse {
  readonly events: number;
}

export interface SynchronizeRequest {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
  readonly more: boolean;
}

export interface SynchronizeResponse {
  readonly update: readonly ContainerUpdate[];
  readonly more: boolean;
}

export interface RunPodSandboxRequest {
  readonly pod?: PodSandbox;
}

export type RunPodSandboxResponse = Readonly<Record<never, never>>;

export interface UpdatePodSandboxRequest {
  readonly pod?: PodSandbox;
  readonly overheadLinuxResources?: LinuxResources;
  readonly linuxResources?: LinuxResources;
}

export type UpdatePodSandboxResponse = Readonly<Record<never, never>>;

export interface PostUpdatePodSandboxRequest {
  readonly pod?: PodSandbox;
}

export type PostUpdatePodSandboxResponse = Readonly<Record<never, never>>;

export interface StopPodSandboxRequest {
  readonly pod?: PodSandbox;
}

export type StopPodSandboxResponse = Readonly<Record<never, never>>;

export interface RemovePodSandboxRequest {
  readonly pod?: PodSandbox;
}

export type RemovePodSandboxResponse = Readonly<Record<never, never>>;

export interface CreateContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export interface CreateContainerResponse {
  readonly adjust?: ContainerAdjustment;
  readonly update: readonly ContainerUpdate[];
  readonly evict: readonly ContainerEviction[];
}

export interface PostCreateContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export type PostCreateContainerResponse = Readonly<Record<never, never>>;

export interface StartContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export type StartContainerResponse = Readonly<Record<never, never>>;

export interface PostStartContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export type PostStartContainerResponse = Readonly<Record<never, never>>;

export interface UpdateContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
  readonly linuxResources?: LinuxResources;
}

export interface UpdateContainerResponse {
  readonly update: readonly ContainerUpdate[];
  readonly evict: readonly ContainerEviction[];
}

export interface PostUpdateContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export type PostUpdateContainerResponse = Readonly<Record<never, never>>;

export interface StopContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export interface StopContainerResponse {
  readonly update: readonly ContainerUpdate[];
}

export interface RemoveContainerRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export type RemoveContainerResponse = Readonly<Record<never, never>>;

export interface StateChangeEvent {
  readonly event: Event;
  readonly pod?: PodSandbox;
  readonly container?: Container;
}

export interface ValidateContainerAdjustmentRequest {
  readonly pod?: PodSandbox;
  readonly container?: Container;
  readonly adjust?: ContainerAdjustment;
  readonly update: readonly ContainerUpdate[];
  readonly owners?: OwningPlugins;
  readonly plugins: readonly PluginInstance[];
}

export interface PluginInstance {
  readonly name: string;
  readonly index: string;
}

export interface ValidateContainerAdjustmentResponse {
  readonly reject: boolean;
  readonly reason: string;
}

export type Empty = Readonly<Record<never, never>>;

export interface PodSandbox {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly linux?: LinuxPodSandbox;
  readonly pid: number;
  readonly ips: readonly string[];
}

export interface LinuxPodSandbox {
  readonly podOverhead?: LinuxResources;
  readonly podResources?: LinuxResources;
  readonly cgroupParent: string;
  readonly cgroupsPath: string;
  readonly namespaces: readonly LinuxNamespace[];
  readonly resources?: LinuxResources;
}

export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly name: string;
  readonly state: ContainerState;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly mounts: readonly Mount[];
  readonly hooks?: Hooks;
  readonly linux?: LinuxContainer;
  readonly pid: number;
  readonly rlimits: readonly POSIXRlimit[];
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  readonly statusReason: string;
  readonly statusMessage: string;
  readonly cdiDevices: readonly CDIDevice[];
  readonly user?: User;
  readonly image?: Image;
}

export interface Image {
  readonly name: string;
  readonly digest: string;
  readonly configDigest: string;
}

export interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface Hooks {
  readonly prestart: readonly Hook[];
  readonly createRuntime: readonly Hook[];
  readonly createContainer: readonly Hook[];
  readonly startContainer: readonly Hook[];
  readonly poststart: readonly Hook[];
  readonly poststop: readonly Hook[];
}

export interface Hook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly timeout?: OptionalInt;
}

export interface LinuxContainer {
  readonly namespaces: readonly LinuxNamespace[];
  readonly devices: readonly LinuxDevice[];
  readonly resources?: LinuxResources;
  readonly oomScoreAdj?: OptionalInt;
  readonly cgroupsPath: string;
  readonly ioPriority?: LinuxIOPriority;
  readonly seccompProfile?: SecurityProfile;
  readonly seccompPolicy?: LinuxSeccomp;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly netDevices: Readonly<Record<string, LinuxNetDevice>>;
  readonly scheduler?: LinuxScheduler;
  readonly rdt?: LinuxRdt;
}

export interface LinuxNamespace {
  readonly type: string;
  readonly path: string;
}

export interface LinuxDevice {
  readonly path: string;
  readonly type: string;
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: OptionalFileMode;
  readonly uid?: OptionalUInt32;
  readonly gid?: OptionalUInt32;
}

export interface LinuxDeviceCgroup {
  readonly allow: boolean;
  readonly type: string;
  readonly major?: OptionalInt64;
  readonly minor?: OptionalInt64;
  readonly access: string;
}

export interface CDIDevice {
  readonly name: string;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface LinuxResources {
  readonly memory?: LinuxMemory;
  readonly cpu?: LinuxCPU;
  readonly hugepageLimits: readonly HugepageLimit[];
  readonly blockioClass?: OptionalString;
  readonly rdtClass?: OptionalString;
  readonly unified: Readonly<Record<string, string>>;
  readonly devices: readonly LinuxDeviceCgroup[];
  readonly pids?: LinuxPids;
}

export interface LinuxMemory {
  readonly limit?: OptionalInt64;
  readonly reservation?: OptionalInt64;
  readonly swap?: OptionalInt64;
  readonly kernel?: OptionalInt64;
  readonly kernelTcp?: OptionalInt64;
  readonly swappiness?: OptionalUInt64;
  readonly disableOomKiller?: OptionalBool;
  readonly useHierarchy?: OptionalBool;
}

export interface LinuxCPU {
  readonly shares?: OptionalUInt64;
  readonly quota?: OptionalInt64;
  readonly period?: OptionalUInt64;
  readonly realtimeRuntime?: OptionalInt64;
  readonly realtimePeriod?: OptionalUInt64;
  readonly cpus: string;
  readonly mems: string;
}

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limit: number;
}

export interface SecurityProfile {
  readonly profileType: ProfileType;
  readonly localhostRef: string;
}

export interface POSIXRlimit {
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

export interface LinuxPids {
  readonly limit: number;
}

export interface LinuxIOPriority {
  readonly class: IOPrioClass;
  readonly priority: number;
}

export interface LinuxNetDevice {
  readonly name: string;
}

export interface LinuxScheduler {
  readonly policy: LinuxSchedulerPolicy;
  readonly nice: number;
  readonly priority: number;
  readonly flags: readonly LinuxSchedulerFlag[];
  readonly runtime: number;
  readonly deadline: number;
  readonly period: number;
}

export interface ContainerAdjustment {
  readonly annotations: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly env: readonly KeyValue[];
  readonly hooks?: Hooks;
  readonly linux?: LinuxContainerAdjustment;
  readonly rlimits: readonly POSIXRlimit[];
  readonly cdiDevices: readonly CDIDevice[];
  readonly args: readonly string[];
}

export interface LinuxContainerAdjustment {
  readonly devices: readonly LinuxDevice[];
  readonly resources?: LinuxResources;
  readonly cgroupsPath: string;
  readonly oomScoreAdj?: OptionalInt;
  readonly ioPriority?: LinuxIOPriority;
  readonly seccompPolicy?: LinuxSeccomp;
  readonly namespaces: readonly LinuxNamespace[];
  readonly sysctl: Readonly<Record<string, string>>;
  readonly netDevices: Readonly<Record<string, LinuxNetDevice>>;
  readonly scheduler?: LinuxScheduler;
  readonly rdt?: LinuxRdt;
  readonly memoryPolicy?: LinuxMemoryPolicy;
}

export interface LinuxSeccomp {
  readonly defaultAction: string;
  readonly defaultErrno?: OptionalUInt32;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly listenerPath: string;
  readonly listenerMetadata: string;
  readonly syscalls: readonly LinuxSyscall[];
}

export interface LinuxSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: OptionalUInt32;
  readonly args: readonly LinuxSeccompArg[];
}

export interface LinuxSeccompArg {
  readonly index: number;
  readonly value: number;
  readonly valueTwo: number;
  readonly op: string;
}

export interface LinuxMemoryPolicy {
  readonly mode: MpolMode;
  readonly nodes: string;
  readonly flags: readonly MpolFlag[];
}

export interface ContainerUpdate {
  readonly containerId: string;
  readonly linux?: LinuxContainerUpdate;
  readonly ignoreFailure: boolean;
}

export interface LinuxContainerUpdate {
  readonly resources?: LinuxResources;
}

export interface ContainerEviction {
  readonly containerId: string;
  readonly reason: string;
}

export interface LinuxRdt {
  readonly closId?: OptionalString;
  readonly schemata?: OptionalRepeatedString;
  readonly enableMonitoring?: OptionalBool;
  readonly remove: boolean;
}

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

export interface OptionalString {
  readonly value: string;
}

export interface OptionalRepeatedString {
  readonly value: readonly string[];
}

export interface OptionalInt {
  readonly value: number;
}

export interface OptionalUInt32 {
  readonly value: number;
}

export interface OptionalInt64 {
  readonly value: number;
}

export interface OptionalUInt64 {
  readonly value: number;
}

export interface OptionalBool {
  readonly value: boolean;
}

export interface OptionalFileMode {
  readonly value: number;
}

export interface CompoundFieldOwners {
  readonly owners: Readonly<Record<string, string>>;
}

export interface FieldOwners {
  readonly simple: readonly SimpleOwner[];
  readonly compound: readonly CompoundOwner[];
}

export interface OwningPlugins {
  readonly owners: Readonly<Record<string, FieldOwners>>;
}

export interface SimpleOwner {
  readonly key: number;
  readonly value: string;
}

export interface CompoundOwner {
  readonly key: number;
  readonly value?: CompoundFieldOwners;
}

export interface Runtime {
  registerPlugin: { request: RegisterPluginRequest; response: Empty; stream: false };
  updateContainers: { request: UpdateContainersRequest; response: UpdateContainersResponse; stream: false };
}

export interface Plugin {
  configure: { request: ConfigureRequest; response: ConfigureResponse; stream: false };
  synchronize: { request: SynchronizeRequest; response: SynchronizeResponse; stream: false };
  shutdown: { request: Empty; response: Empty; stream: false };
  runPodSandbox: { request: RunPodSandboxRequest; response: RunPodSandboxResponse; stream: false };
  updatePodSandbox: { request: UpdatePodSandboxRequest; response: UpdatePodSandboxResponse; stream: false };
  postUpdatePodSandbox: { request: PostUpdatePodSandboxRequest; response: PostUpdatePodSandboxResponse; stream: false };
  stopPodSandbox: { request: StopPodSandboxRequest; response: StopPodSandboxResponse; stream: false };
  removePodSandbox: { request: RemovePodSandboxRequest; response: RemovePodSandboxResponse; stream: false };
  createContainer: { request: CreateContainerRequest; response: CreateContainerResponse; stream: false };
  postCreateContainer: { request: PostCreateContainerRequest; response: PostCreateContainerResponse; stream: false };
  startContainer: { request: StartContainerRequest; response: StartContainerResponse; stream: false };
  postStartContainer: { request: PostStartContainerRequest; response: PostStartContainerResponse; stream: false };
  updateContainer: { request: UpdateContainerRequest; response: UpdateContainerResponse; stream: false };
  postUpdateContainer: { request: PostUpdateContainerRequest; response: PostUpdateContainerResponse; stream: false };
  stopContainer: { request: StopContainerRequest; response: StopContainerResponse; stream: false };
  removeContainer: { request: RemoveContainerRequest; response: RemoveContainerResponse; stream: false };
  stateChange: { request: StateChangeEvent; response: Empty; stream: false };
  validateContainerAdjustment: { request: ValidateContainerAdjustmentRequest; response: ValidateContainerAdjustmentResponse; stream: false };
}
