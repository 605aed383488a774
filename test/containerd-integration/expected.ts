/**
 * The tests of containerd's integration suite that use only the CRI and NRI, in the order in which they run.
 * The others start containerd programs, call containerd's own API, look into containerd's folders, or need an
 * image or a configuration of their own.
 */
export const tests: readonly string[] = [
  ...['TestAdditionalGids', 'TestContainerEvents', 'TestContainerLogWithoutTailingNewLine'],
  ...['TestContainerRestart', 'TestFailedContainerRestart', 'TestContainerStats', 'TestContainerListStats'],
  ...['TestContainerListStatsWithIdFilter', 'TestContainerListStatsWithSandboxIdFilter'],
  ...['TestContainerListStatsWithIdSandboxIdFilter', 'TestContainerSysfsStatsWithPrivilegedPod'],
  ...['TestContainerStopSignals', 'TestDefaultContainerStopSignal', 'TestSharedPidMultiProcessContainerStop'],
  ...['TestContainerStopCancellation', 'TestUpdateContainerResources_StatusUpdated'],
  ...['TestContainerSymlinkVolumes', 'TestContainerLifecycleWithoutImageRef', 'TestDuplicateName'],
  ...['TestImageFSInfo', 'TestRunPodSandboxWithoutMetadata', 'TestCreateContainerWithoutMetadata'],
  ...['TestNriPluginSetup', 'TestNriPluginSynchronization', 'TestNriPluginNetworkingSynchronization'],
  ...['TestNriPluginNetworkingLifecycle', 'TestNriMountInjection', 'TestNriEnvironmentInjection'],
  ...['TestNriAnnotationInjection', 'TestNriLinuxDeviceInjection', 'TestNriLinuxCpusetAdjustment'],
  ...['TestNriLinuxCpusetAdjustmentUpdate', 'TestNriUpdatePodSandbox', 'TestPodDualStack', 'TestPodHostname'],
  ...['TestRuntimeHandler', 'TestTruncIndex'],
];

/** Tests, and parts of tests, that are expected to fail, each with the reason. */
export const expectedFailures: Readonly<Record<string, string>> = {
  'TestContainerSysfsStatsWithPrivilegedPod/sandbox_with_privileged=false,_and_container_with_privileged=true,_create_container_failed':
    'the request is refused as in containerd, and the test compares the text of containerd’s error',
  TestDuplicateName: 'a repeated request gets the same id (docs/decisions/0009)',
  TestNriUpdatePodSandbox:
    'without a parent cgroup the pod’s cgroup belongs to the daemon, which applies the limit of 15 bytes: the kernel refuses it',
  'TestPodHostname/host_network_pod_with_custom_hostname_should_fail':
    'the host name of a pod on the host’s network is accepted, and has no effect on the host',
  TestTruncIndex: 'ContainerStats of a container that has ended returns its last values',
};

const parts =
  'conmon logs each write without a line feed as a part (P) of a line, as under CRI-O; containerd waits for the line feed';
/** Parts of tests whose outcome depends on how quickly a container writes, each with the reason. */
export const eitherOutcome: Readonly<Record<string, string>> = {
  'TestPodHostname/regular_pod_with_custom_hostname': parts,
  'TestPodHostname/host_network_pod_without_custom_hostname': parts,
};
