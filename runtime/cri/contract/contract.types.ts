// Generated from contract.json by generate-types.ts. Do not edit.

export const Protocol = {
  TCP: 0,
  UDP: 1,
  SCTP: 2,
} as const;
export type Protocol = (typeof Protocol)[keyof typeof Protocol];

export const MountPropagation = {
  PROPAGATION_PRIVATE: 0,
  PROPAGATION_HOST_TO_CONTAINER: 1,
  PROPAGATION_BIDIRECTIONAL: 2,
} as const;
export type MountPropagation = (typeof MountPropagation)[keyof typeof MountPropagation];

export const NamespaceMode = {
  POD: 0,
  CONTAINER: 1,
  NODE: 2,
  TARGET: 3,
} as const;
export type NamespaceMode = (typeof NamespaceMode)[keyof typeof NamespaceMode];

export const CgroupMountMode = {
  CGROUP_MOUNT_MODE_UNSPECIFIED: 0,
  CGROUP_MOUNT_MODE_READ_ONLY: 1,
  CGROUP_MOUNT_MODE_READ_WRITE: 2,
} as const;
export type CgroupMountMode = (typeof CgroupMountMode)[keyof typeof CgroupMountMode];

export const SupplementalGroupsPolicy = {
  Merge: 0,
  Strict: 1,
} as const;
export type SupplementalGroupsPolicy = (typeof SupplementalGroupsPolicy)[keyof typeof SupplementalGroupsPolicy];

export const ProfileType = {
  RuntimeDefault: 0,
  Unconfined: 1,
  Localhost: 2,
} as const;
export type ProfileType = (typeof ProfileType)[keyof typeof ProfileType];

export const PodSandboxState = {
  SANDBOX_READY: 0,
  SANDBOX_NOTREADY: 1,
} as const;
export type PodSandboxState = (typeof PodSandboxState)[keyof typeof PodSandboxState];

export const Signal = {
  SIGNAL_RUNTIME_DEFAULT: 0,
  SIGNAL_SIGABRT: 1,
  SIGNAL_SIGALRM: 2,
  SIGNAL_SIGBUS: 3,
  SIGNAL_SIGCHLD: 4,
  SIGNAL_SIGCLD: 5,
  SIGNAL_SIGCONT: 6,
  SIGNAL_SIGFPE: 7,
  SIGNAL_SIGHUP: 8,
  SIGNAL_SIGILL: 9,
  SIGNAL_SIGINT: 10,
  SIGNAL_SIGIO: 11,
  SIGNAL_SIGIOT: 12,
  SIGNAL_SIGKILL: 13,
  SIGNAL_SIGPIPE: 14,
  SIGNAL_SIGPOLL: 15,
  SIGNAL_SIGPROF: 16,
  SIGNAL_SIGPWR: 17,
  SIGNAL_SIGQUIT: 18,
  SIGNAL_SIGSEGV: 19,
  SIGNAL_SIGSTKFLT: 20,
  SIGNAL_SIGSTOP: 21,
  SIGNAL_SIGSYS: 22,
  SIGNAL_SIGTERM: 23,
  SIGNAL_SIGTRAP: 24,
  SIGNAL_SIGTSTP: 25,
  SIGNAL_SIGTTIN: 26,
  SIGNAL_SIGTTOU: 27,
  SIGNAL_SIGURG: 28,
  SIGNAL_SIGUSR1: 29,
  SIGNAL_SIGUSR2: 30,
  SIGNAL_SIGVTALRM: 31,
  SIGNAL_SIGWINCH: 32,
  SIGNAL_SIGXCPU: 33,
  SIGNAL_SIGXFSZ: 34,
  SIGNAL_SIGRTMIN: 35,
  SIGNAL_SIGRTMINPLUS1: 36,
  SIGNAL_SIGRTMINPLUS2: 37,
  SIGNAL_SIGRTMINPLUS3: 38,
  SIGNAL_SIGRTMINPLUS4: 39,
  SIGNAL_SIGRTMINPLUS5: 40,
  SIGNAL_SIGRTMINPLUS6: 41,
  SIGNAL_SIGRTMINPLUS7: 42,
  SIGNAL_SIGRTMINPLUS8: 43,
  SIGNAL_SIGRTMINPLUS9: 44,
  SIGNAL_SIGRTMINPLUS10: 45,
  SIGNAL_SIGRTMINPLUS11: 46,
  SIGNAL_SIGRTMINPLUS12: 47,
  SIGNAL_SIGRTMINPLUS13: 48,
  SIGNAL_SIGRTMINPLUS14: 49,
  SIGNAL_SIGRTMINPLUS15: 50,
  SIGNAL_SIGRTMAXMINUS14: 51,
  SIGNAL_SIGRTMAXMINUS13: 52,
  SIGNAL_SIGRTMAXMINUS12: 53,
  SIGNAL_SIGRTMAXMINUS11: 54,
  SIGNAL_SIGRTMAXMINUS10: 55,
  SIGNAL_SIGRTMAXMINUS9: 56,
  SIGNAL_SIGRTMAXMINUS8: 57,
  SIGNAL_SIGRTMAXMINUS7: 58,
  SIGNAL_SIGRTMAXMINUS6: 59,
  SIGNAL_SIGRTMAXMINUS5: 60,
  SIGNAL_SIGRTMAXMINUS4: 61,
  SIGNAL_SIGRTMAXMINUS3: 62,
  SIGNAL_SIGRTMAXMINUS2: 63,
  SIGNAL_SIGRTMAXMINUS1: 64,
  SIGNAL_SIGRTMAX: 65,
} as const;
export type Signal = (typeof Signal)[keyof typeof Signal];

export const ContainerState = {
  CONTAINER_CREATED: 0,
  CONTAINER_RUNNING: 1,
  CONTAINER_EXITED: 2,
  CONTAINER_UNKNOWN: 3,
} as const;
export type ContainerState = (typeof ContainerState)[keyof typeof ContainerState];

export const ContainerEventType = {
  CONTAINER_CREATED_EVENT: 0,
  CONTAINER_STARTED_EVENT: 1,
  CONTAINER_STOPPED_EVENT: 2,
  CONTAINER_DELETED_EVENT: 3,
} as const;
export type ContainerEventType = (typeof ContainerEventType)[keyof typeof ContainerEventType];

export const MetricType = {
  COUNTER: 0,
  GAUGE: 1,
} as const;
export type MetricType = (typeof MetricType)[keyof typeof MetricType];

export const CgroupDriver = {
  SYSTEMD: 0,
  CGROUPFS: 1,
} as const;
export type CgroupDriver = (typeof CgroupDriver)[keyof typeof CgroupDriver];

export interface VersionRequest {
  readonly version: string;
}

export interface VersionResponse {
  readonly version: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly runtimeApiVersion: string;
}

export interface DNSConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface PortMapping {
  readonly protocol: Protocol;
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

export interface Mount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly selinuxRelabel: boolean;
  readonly propagation: MountPropagation;
  readonly uidMappings: readonly IDMapping[];
  readonly gidMappings: readonly IDMapping[];
  readonly recursiveReadOnly: boolean;
  readonly image?: ImageSpec;
  readonly imageSubPath: string;
  readonly mountOptions: readonly string[];
}

export interface IDMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

export interface UserNamespace {
  readonly mode: NamespaceMode;
  readonly uids: readonly IDMapping[];
  readonly gids: readonly IDMapping[];
}

export interface NamespaceOption {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
  readonly targetId: string;
  readonly usernsOptions?: UserNamespace;
  readonly cgroupnsOptions?: CgroupNamespace;
}

export interface CgroupNamespace {
  readonly mode: NamespaceMode;
}

export interface Int64Value {
  readonly value: number;
}

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions?: NamespaceOption;
  readonly selinuxOptions?: SELinuxOption;
  readonly runAsUser?: Int64Value;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly number[];
  readonly privileged: boolean;
  readonly seccompProfilePath: string;
  readonly runAsGroup?: Int64Value;
  readonly seccomp?: SecurityProfile;
  readonly apparmor?: SecurityProfile;
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
}

export interface SecurityProfile {
  readonly profileType: ProfileType;
  readonly localhostRef: string;
}

export interface LinuxPodSandboxConfig {
  readonly cgroupParent: string;
  readonly securityContext?: LinuxSandboxSecurityContext;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly overhead?: LinuxContainerResources;
  readonly resources?: LinuxContainerResources;
}

export interface PodSandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

export interface PodSandboxConfig {
  readonly metadata?: PodSandboxMetadata;
  readonly hostname: string;
  readonly logDirectory: string;
  readonly dnsConfig?: DNSConfig;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux?: LinuxPodSandboxConfig;
  readonly windows?: WindowsPodSandboxConfig;
}

export interface RunPodSandboxRequest {
  readonly config?: PodSandboxConfig;
  readonly runtimeHandler: string;
}

export interface RunPodSandboxResponse {
  readonly podSandboxId: string;
}

export interface StopPodSandboxRequest {
  readonly podSandboxId: string;
}

export type StopPodSandboxResponse = Readonly<Record<never, never>>;

export interface RemovePodSandboxRequest {
  readonly podSandboxId: string;
}

export type RemovePodSandboxResponse = Readonly<Record<never, never>>;

export interface PodSandboxStatusRequest {
  readonly podSandboxId: string;
  readonly verbose: boolean;
}

export interface PodIP {
  readonly ip: string;
}

export interface PodSandboxNetworkStatus {
  readonly ip: string;
  readonly additionalIps: readonly PodIP[];
}

export interface Namespace {
  readonly options?: NamespaceOption;
}

export interface LinuxPodSandboxStatus {
  readonly namespaces?: Namespace;
}

export interface PodSandboxStatus {
  readonly id: string;
  readonly metadata?: PodSandboxMetadata;
  readonly state: PodSandboxState;
  readonly createdAt: bigint;
  readonly network?: PodSandboxNetworkStatus;
  readonly linux?: LinuxPodSandboxStatus;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
}

export interface PodSandboxStatusResponse {
  readonly status?: PodSandboxStatus;
  readonly info: Readonly<Record<string, string>>;
  readonly containersStatuses: readonly ContainerStatus[];
  readonly timestamp: bigint;
}

export interface PodSandboxStateValue {
  readonly state: PodSandboxState;
}

export interface PodSandboxFilter {
  readonly id: string;
  readonly state?: PodSandboxStateValue;
  readonly labelSelector: Readonly<Record<string, string>>;
}

export interface ListPodSandboxRequest {
  readonly filter?: PodSandboxFilter;
}

export interface PodSandbox {
  readonly id: string;
  readonly metadata?: PodSandboxMetadata;
  readonly state: PodSandboxState;
  readonly createdAt: bigint;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
}

export interface ListPodSandboxResponse {
  readonly items: readonly PodSandbox[];
}

export interface StreamPodSandboxesRequest {
  readonly filter?: PodSandboxFilter;
}

export interface StreamPodSandboxesResponse {
  readonly podSandboxes: readonly PodSandbox[];
}

export interface PodSandboxStatsRequest {
  readonly podSandboxId: string;
}

export interface PodSandboxStatsResponse {
  readonly stats?: PodSandboxStats;
}

export interface PodSandboxStatsFilter {
  readonly id: string;
  readonly labelSelector: Readonly<Record<string, string>>;
}

export interface ListPodSandboxStatsRequest {
  readonly filter?: PodSandboxStatsFilter;
}

export interface ListPodSandboxStatsResponse {
  readonly stats: readonly PodSandboxStats[];
}

export interface StreamPodSandboxStatsRequest {
  readonly filter?: PodSandboxStatsFilter;
}

export interface StreamPodSandboxStatsResponse {
  readonly podSandboxStats: readonly PodSandboxStats[];
}

export interface PodSandboxAttributes {
  readonly id: string;
  readonly metadata?: PodSandboxMetadata;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface PodSandboxStats {
  readonly attributes?: PodSandboxAttributes;
  readonly linux?: LinuxPodSandboxStats;
  readonly windows?: WindowsPodSandboxStats;
}

export interface LinuxPodSandboxStats {
  readonly cpu?: CpuUsage;
  readonly memory?: MemoryUsage;
  readonly network?: NetworkUsage;
  readonly process?: ProcessUsage;
  readonly containers: readonly ContainerStats[];
  readonly io?: IoUsage;
}

export interface WindowsPodSandboxStats {
  readonly cpu?: WindowsCpuUsage;
  readonly memory?: WindowsMemoryUsage;
  readonly network?: WindowsNetworkUsage;
  readonly process?: WindowsProcessUsage;
  readonly containers: readonly WindowsContainerStats[];
}

export interface NetworkUsage {
  readonly timestamp: bigint;
  readonly defaultInterface?: NetworkInterfaceUsage;
  readonly interfaces: readonly NetworkInterfaceUsage[];
}

export interface WindowsNetworkUsage {
  readonly timestamp: bigint;
  readonly defaultInterface?: WindowsNetworkInterfaceUsage;
  readonly interfaces: readonly WindowsNetworkInterfaceUsage[];
}

export interface NetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes?: UInt64Value;
  readonly rxErrors?: UInt64Value;
  readonly txBytes?: UInt64Value;
  readonly txErrors?: UInt64Value;
}

export interface WindowsNetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes?: UInt64Value;
  readonly rxPacketsDropped?: UInt64Value;
  readonly txBytes?: UInt64Value;
  readonly txPacketsDropped?: UInt64Value;
}

export interface ProcessUsage {
  readonly timestamp: bigint;
  readonly processCount?: UInt64Value;
}

export interface WindowsProcessUsage {
  readonly timestamp: bigint;
  readonly processCount?: UInt64Value;
}

export interface ImageSpec {
  readonly image: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly userSpecifiedImage: string;
  readonly runtimeHandler: string;
  readonly imageRef: string;
}

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
}

export interface LinuxContainerResources {
  readonly cpuPeriod: number;
  readonly cpuQuota: number;
  readonly cpuShares: number;
  readonly memoryLimitInBytes: number;
  readonly oomScoreAdj: number;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly hugepageLimits: readonly HugepageLimit[];
  readonly unified: Readonly<Record<string, string>>;
  readonly memorySwapLimitInBytes: number;
}

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limit: number;
}

export interface SELinuxOption {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}

export interface Capability {
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly addAmbientCapabilities: readonly string[];
}

export interface LinuxContainerSecurityContext {
  readonly capabilities?: Capability;
  readonly privileged: boolean;
  readonly namespaceOptions?: NamespaceOption;
  readonly selinuxOptions?: SELinuxOption;
  readonly runAsUser?: Int64Value;
  readonly runAsUsername: string;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly number[];
  readonly apparmorProfile: string;
  readonly seccompProfilePath: string;
  readonly noNewPrivs: boolean;
  readonly runAsGroup?: Int64Value;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly seccomp?: SecurityProfile;
  readonly apparmor?: SecurityProfile;
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
  readonly cgroupMountMode: CgroupMountMode;
}

export interface LinuxContainerConfig {
  readonly resources?: LinuxContainerResources;
  readonly securityContext?: LinuxContainerSecurityContext;
}

export interface LinuxContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly supplementalGroups: readonly number[];
}

export interface WindowsNamespaceOption {
  readonly network: NamespaceMode;
}

export interface WindowsSandboxSecurityContext {
  readonly runAsUsername: string;
  readonly credentialSpec: string;
  readonly hostProcess: boolean;
  readonly namespaceOptions?: WindowsNamespaceOption;
}

export interface WindowsPodSandboxConfig {
  readonly securityContext?: WindowsSandboxSecurityContext;
}

export interface WindowsContainerSecurityContext {
  readonly runAsUsername: string;
  readonly credentialSpec: string;
  readonly hostProcess: boolean;
}

export interface WindowsContainerConfig {
  readonly resources?: WindowsContainerResources;
  readonly securityContext?: WindowsContainerSecurityContext;
}

export interface WindowsContainerResources {
  readonly cpuShares: number;
  readonly cpuCount: number;
  readonly cpuMaximum: number;
  readonly memoryLimitInBytes: number;
  readonly rootfsSizeInBytes: number;
  readonly affinityCpus: readonly WindowsCpuGroupAffinity[];
}

export interface WindowsCpuGroupAffinity {
  readonly cpuMask: number;
  readonly cpuGroup: number;
}

export interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

export interface Device {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly permissions: string;
}

export interface CDIDevice {
  readonly name: string;
}

export interface ContainerConfig {
  readonly metadata?: ContainerMetadata;
  readonly image?: ImageSpec;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly envs: readonly KeyValue[];
  readonly mounts: readonly Mount[];
  readonly devices: readonly Device[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly linux?: LinuxContainerConfig;
  readonly windows?: WindowsContainerConfig;
  readonly CDIDevices: readonly CDIDevice[];
  readonly stopSignal: Signal;
}

export interface CreateContainerRequest {
  readonly podSandboxId: string;
  readonly config?: ContainerConfig;
  readonly sandboxConfig?: PodSandboxConfig;
}

export interface CreateContainerResponse {
  readonly containerId: string;
}

export interface StartContainerRequest {
  readonly containerId: string;
}

export type StartContainerResponse = Readonly<Record<never, never>>;

export interface StopContainerRequest {
  readonly containerId: string;
  readonly timeout: number;
}

export type StopContainerResponse = Readonly<Record<never, never>>;

export interface RemoveContainerRequest {
  readonly containerId: string;
}

export type RemoveContainerResponse = Readonly<Record<never, never>>;

export interface ContainerStateValue {
  readonly state: ContainerState;
}

export interface ContainerFilter {
  readonly id: string;
  readonly state?: ContainerStateValue;
  readonly podSandboxId: string;
  readonly labelSelector: Readonly<Record<string, string>>;
}

export interface ListContainersRequest {
  readonly filter?: ContainerFilter;
}

export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata?: ContainerMetadata;
  readonly image?: ImageSpec;
  readonly imageRef: string;
  readonly state: ContainerState;
  readonly createdAt: bigint;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly imageId: string;
}

export interface ListContainersResponse {
  readonly containers: readonly Container[];
}

export interface StreamContainersRequest {
  readonly filter?: ContainerFilter;
}

export interface StreamContainersResponse {
  readonly containers: readonly Container[];
}

export interface ContainerStatusRequest {
  readonly containerId: string;
  readonly verbose: boolean;
}

export interface ContainerStatus {
  readonly id: string;
  readonly metadata?: ContainerMetadata;
  readonly state: ContainerState;
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  readonly image?: ImageSpec;
  readonly imageRef: string;
  readonly reason: string;
  readonly message: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly logPath: string;
  readonly resources?: ContainerResources;
  readonly imageId: string;
  readonly user?: ContainerUser;
  readonly stopSignal: Signal;
}

export interface ContainerStatusResponse {
  readonly status?: ContainerStatus;
  readonly info: Readonly<Record<string, string>>;
}

export interface ContainerResources {
  readonly linux?: LinuxContainerResources;
  readonly windows?: WindowsContainerResources;
}

export interface ContainerUser {
  readonly linux?: LinuxContainerUser;
}

export interface UpdateContainerResourcesRequest {
  readonly containerId: string;
  readonly linux?: LinuxContainerResources;
  readonly windows?: WindowsContainerResources;
  readonly annotations: Readonly<Record<string, string>>;
}

export type UpdateContainerResourcesResponse = Readonly<Record<never, never>>;

export interface ExecSyncRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  readonly timeout: number;
}

export interface ExecSyncResponse {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

export interface ExecRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface ExecResponse {
  readonly url: string;
}

export interface AttachRequest {
  readonly containerId: string;
  readonly stdin: boolean;
  readonly tty: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface AttachResponse {
  readonly url: string;
}

export interface PortForwardRequest {
  readonly podSandboxId: string;
  readonly port: readonly number[];
}

export interface PortForwardResponse {
  readonly url: string;
}

export interface ImageFilter {
  readonly image?: ImageSpec;
}

export interface ListImagesRequest {
  readonly filter?: ImageFilter;
}

export interface Image {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: number;
  readonly uid?: Int64Value;
  readonly username: string;
  readonly spec?: ImageSpec;
  readonly pinned: boolean;
}

export interface ListImagesResponse {
  readonly images: readonly Image[];
}

export interface StreamImagesRequest {
  readonly filter?: ImageFilter;
}

export interface StreamImagesResponse {
  readonly images: readonly Image[];
}

export interface ImageStatusRequest {
  readonly image?: ImageSpec;
  readonly verbose: boolean;
}

export interface ImageStatusResponse {
  readonly image?: Image;
  readonly info: Readonly<Record<string, string>>;
}

export interface AuthConfig {
  readonly username: string;
  readonly password: string;
  readonly auth: string;
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

export interface PullImageRequest {
  readonly image?: ImageSpec;
  readonly auth?: AuthConfig;
  readonly sandboxConfig?: PodSandboxConfig;
}

export interface PullImageResponse {
  readonly imageRef: string;
}

export interface RemoveImageRequest {
  readonly image?: ImageSpec;
}

export type RemoveImageResponse = Readonly<Record<never, never>>;

export interface NetworkConfig {
  readonly podCidr: string;
}

export interface RuntimeConfig {
  readonly networkConfig?: NetworkConfig;
}

export interface UpdateRuntimeConfigRequest {
  readonly runtimeConfig?: RuntimeConfig;
}

export type UpdateRuntimeConfigResponse = Readonly<Record<never, never>>;

export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface RuntimeStatus {
  readonly conditions: readonly RuntimeCondition[];
}

export interface StatusRequest {
  readonly verbose: boolean;
}

export interface RuntimeHandlerFeatures {
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

export interface RuntimeHandler {
  readonly name: string;
  readonly features?: RuntimeHandlerFeatures;
}

export interface RuntimeFeatures {
  readonly supplementalGroupsPolicy: boolean;
  readonly userNamespacesHostNetwork: boolean;
  readonly mountOptions: boolean;
  readonly cgroupMountMode: boolean;
}

export interface StatusResponse {
  readonly status?: RuntimeStatus;
  readonly info: Readonly<Record<string, string>>;
  readonly runtimeHandlers: readonly RuntimeHandler[];
  readonly features?: RuntimeFeatures;
}

export type ImageFsInfoRequest = Readonly<Record<never, never>>;

export interface UInt64Value {
  readonly value: number;
}

export interface FilesystemIdentifier {
  readonly mountpoint: string;
}

export interface FilesystemUsage {
  readonly timestamp: bigint;
  readonly fsId?: FilesystemIdentifier;
  readonly usedBytes?: UInt64Value;
  readonly inodesUsed?: UInt64Value;
}

export interface WindowsFilesystemUsage {
  readonly timestamp: bigint;
  readonly fsId?: FilesystemIdentifier;
  readonly usedBytes?: UInt64Value;
}

export interface ImageFsInfoResponse {
  readonly imageFilesystems: readonly FilesystemUsage[];
  readonly containerFilesystems: readonly FilesystemUsage[];
}

export interface ContainerStatsRequest {
  readonly containerId: string;
}

export interface ContainerStatsResponse {
  readonly stats?: ContainerStats;
}

export interface ListContainerStatsRequest {
  readonly filter?: ContainerStatsFilter;
}

export interface ContainerStatsFilter {
  readonly id: string;
  readonly podSandboxId: string;
  readonly labelSelector: Readonly<Record<string, string>>;
}

export interface ListContainerStatsResponse {
  readonly stats: readonly ContainerStats[];
}

export interface StreamContainerStatsRequest {
  readonly filter?: ContainerStatsFilter;
}

export interface StreamContainerStatsResponse {
  readonly containerStats: readonly ContainerStats[];
}

export interface ContainerAttributes {
  readonly id: string;
  readonly metadata?: ContainerMetadata;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ContainerStats {
  readonly attributes?: ContainerAttributes;
  readonly cpu?: CpuUsage;
  readonly memory?: MemoryUsage;
  readonly writableLayer?: FilesystemUsage;
  readonly swap?: SwapUsage;
  readonly io?: IoUsage;
}

export interface WindowsContainerStats {
  readonly attributes?: ContainerAttributes;
  readonly cpu?: WindowsCpuUsage;
  readonly memory?: WindowsMemoryUsage;
  readonly writableLayer?: WindowsFilesystemUsage;
}

export interface PsiStats {
  readonly Full?: PsiData;
  readonly Some?: PsiData;
}

export interface PsiData {
  readonly Total: number;
  readonly Avg10: number;
  readonly Avg60: number;
  readonly Avg300: number;
}

export interface CpuUsage {
  readonly timestamp: bigint;
  readonly usageCoreNanoSeconds?: UInt64Value;
  readonly usageNanoCores?: UInt64Value;
  readonly psi?: PsiStats;
}

export interface WindowsCpuUsage {
  readonly timestamp: bigint;
  readonly usageCoreNanoSeconds?: UInt64Value;
  readonly usageNanoCores?: UInt64Value;
}

export interface MemoryUsage {
  readonly timestamp: bigint;
  readonly workingSetBytes?: UInt64Value;
  readonly availableBytes?: UInt64Value;
  readonly usageBytes?: UInt64Value;
  readonly rssBytes?: UInt64Value;
  readonly pageFaults?: UInt64Value;
  readonly majorPageFaults?: UInt64Value;
  readonly psi?: PsiStats;
}

export interface IoUsage {
  readonly timestamp: bigint;
  readonly psi?: PsiStats;
}

export interface SwapUsage {
  readonly timestamp: bigint;
  readonly swapAvailableBytes?: UInt64Value;
  readonly swapUsageBytes?: UInt64Value;
}

export interface WindowsMemoryUsage {
  readonly timestamp: bigint;
  readonly workingSetBytes?: UInt64Value;
  readonly availableBytes?: UInt64Value;
  readonly pageFaults?: UInt64Value;
  readonly commitMemoryBytes?: UInt64Value;
}

export interface ReopenContainerLogRequest {
  readonly containerId: string;
}

export type ReopenContainerLogResponse = Readonly<Record<never, never>>;

export interface CheckpointContainerRequest {
  readonly containerId: string;
  readonly location: string;
  readonly timeout: number;
}

export type CheckpointContainerResponse = Readonly<Record<never, never>>;

export interface CheckpointPodRequest {
  readonly podSandboxId: string;
  readonly outputPath: string;
  readonly containerIds: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

export type CheckpointPodResponse = Readonly<Record<never, never>>;

export interface RestorePodRequest {
  readonly checkpointPath: string;
  readonly config?: PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly options: Readonly<Record<string, string>>;
  readonly containerConfigs: readonly ContainerConfig[];
}

export interface RestoredContainer {
  readonly name: string;
  readonly containerId: string;
}

export interface RestorePodResponse {
  readonly podSandboxId: string;
  readonly restoredContainers: readonly RestoredContainer[];
}

export type GetEventsRequest = Readonly<Record<never, never>>;

export interface ContainerEventResponse {
  readonly containerId: string;
  readonly containerEventType: ContainerEventType;
  readonly createdAt: bigint;
  readonly podSandboxStatus?: PodSandboxStatus;
  readonly containersStatuses: readonly ContainerStatus[];
}

export type ListMetricDescriptorsRequest = Readonly<Record<never, never>>;

export interface ListMetricDescriptorsResponse {
  readonly descriptors: readonly MetricDescriptor[];
}

export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly labelKeys: readonly string[];
}

export type ListPodSandboxMetricsRequest = Readonly<Record<never, never>>;

export interface ListPodSandboxMetricsResponse {
  readonly podMetrics: readonly PodSandboxMetrics[];
}

export type StreamPodSandboxMetricsRequest = Readonly<Record<never, never>>;

export interface StreamPodSandboxMetricsResponse {
  readonly podSandboxMetrics: readonly PodSandboxMetrics[];
}

export interface PodSandboxMetrics {
  readonly podSandboxId: string;
  readonly metrics: readonly Metric[];
  readonly containerMetrics: readonly ContainerMetrics[];
}

export interface ContainerMetrics {
  readonly containerId: string;
  readonly metrics: readonly Metric[];
}

export interface Metric {
  readonly name: string;
  readonly timestamp: bigint;
  readonly metricType: MetricType;
  readonly labelValues: readonly string[];
  readonly value?: UInt64Value;
  readonly doubleValue?: DoubleValue;
}

export interface DoubleValue {
  readonly value: number;
}

export type RuntimeConfigRequest = Readonly<Record<never, never>>;

export interface RuntimeConfigResponse {
  readonly linux?: LinuxRuntimeConfiguration;
}

export interface LinuxRuntimeConfiguration {
  readonly cgroupDriver: CgroupDriver;
}

export interface UpdatePodSandboxResourcesRequest {
  readonly podSandboxId: string;
  readonly overhead?: LinuxContainerResources;
  readonly resources?: LinuxContainerResources;
}

export type UpdatePodSandboxResourcesResponse = Readonly<Record<never, never>>;

export interface RuntimeService {
  version: { request: VersionRequest; response: VersionResponse; stream: false };
  runPodSandbox: { request: RunPodSandboxRequest; response: RunPodSandboxResponse; stream: false };
  stopPodSandbox: { request: StopPodSandboxRequest; response: StopPodSandboxResponse; stream: false };
  removePodSandbox: { request: RemovePodSandboxRequest; response: RemovePodSandboxResponse; stream: false };
  podSandboxStatus: { request: PodSandboxStatusRequest; response: PodSandboxStatusResponse; stream: false };
  listPodSandbox: { request: ListPodSandboxRequest; response: ListPodSandboxResponse; stream: false };
  streamPodSandboxes: { request: StreamPodSandboxesRequest; response: StreamPodSandboxesResponse; stream: true };
  createContainer: { request: CreateContainerRequest; response: CreateContainerResponse; stream: false };
  startContainer: { request: StartContainerRequest; response: StartContainerResponse; stream: false };
  stopContainer: { request: StopContainerRequest; response: StopContainerResponse; stream: false };
  removeContainer: { request: RemoveContainerRequest; response: RemoveContainerResponse; stream: false };
  listContainers: { request: ListContainersRequest; response: ListContainersResponse; stream: false };
  streamContainers: { request: StreamContainersRequest; response: StreamContainersResponse; stream: true };
  containerStatus: { request: ContainerStatusRequest; response: ContainerStatusResponse; stream: false };
  updateContainerResources: { request: UpdateContainerResourcesRequest; response: UpdateContainerResourcesResponse; stream: false };
  reopenContainerLog: { request: ReopenContainerLogRequest; response: ReopenContainerLogResponse; stream: false };
  execSync: { request: ExecSyncRequest; response: ExecSyncResponse; stream: false };
  exec: { request: ExecRequest; response: ExecResponse; stream: false };
  attach: { request: AttachRequest; response: AttachResponse; stream: false };
  portForward: { request: PortForwardRequest; response: PortForwardResponse; stream: false };
  containerStats: { request: ContainerStatsRequest; response: ContainerStatsResponse; stream: false };
  listContainerStats: { request: ListContainerStatsRequest; response: ListContainerStatsResponse; stream: false };
  streamContainerStats: { request: StreamContainerStatsRequest; response: StreamContainerStatsResponse; stream: true };
  podSandboxStats: { request: PodSandboxStatsRequest; response: PodSandboxStatsResponse; stream: false };
  listPodSandboxStats: { request: ListPodSandboxStatsRequest; response: ListPodSandboxStatsResponse; stream: false };
  streamPodSandboxStats: { request: StreamPodSandboxStatsRequest; response: StreamPodSandboxStatsResponse; stream: true };
  updateRuntimeConfig: { request: UpdateRuntimeConfigRequest; response: UpdateRuntimeConfigResponse; stream: false };
  status: { request: StatusRequest; response: StatusResponse; stream: false };
  checkpointContainer: { request: CheckpointContainerRequest; response: CheckpointContainerResponse; stream: false };
  checkpointPod: { request: CheckpointPodRequest; response: CheckpointPodResponse; stream: false };
  restorePod: { request: RestorePodRequest; response: RestorePodResponse; stream: false };
  getContainerEvents: { request: GetEventsRequest; response: ContainerEventResponse; stream: true };
  listMetricDescriptors: { request: ListMetricDescriptorsRequest; response: ListMetricDescriptorsResponse; stream: false };
  listPodSandboxMetrics: { request: ListPodSandboxMetricsRequest; response: ListPodSandboxMetricsResponse; stream: false };
  streamPodSandboxMetrics: { request: StreamPodSandboxMetricsRequest; response: StreamPodSandboxMetricsResponse; stream: true };
  runtimeConfig: { request: RuntimeConfigRequest; response: RuntimeConfigResponse; stream: false };
  updatePodSandboxResources: { request: UpdatePodSandboxResourcesRequest; response: UpdatePodSandboxResourcesResponse; stream: false };
}

export interface ImageService {
  listImages: { request: ListImagesRequest; response: ListImagesResponse; stream: false };
  streamImages: { request: StreamImagesRequest; response: StreamImagesResponse; stream: true };
  imageStatus: { request: ImageStatusRequest; response: ImageStatusResponse; stream: false };
  pullImage: { request: PullImageRequest; response: PullImageResponse; stream: false };
  removeImage: { request: RemoveImageRequest; response: RemoveImageResponse; stream: false };
  imageFsInfo: { request: ImageFsInfoRequest; response: ImageFsInfoResponse; stream: false };
}
