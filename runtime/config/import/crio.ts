import type { Mapped, Rule } from './findings.ts';
import { isTable } from './findings.ts';
import { durationOf, levelOf } from './values.ts';

const inherent = (note: string) => (): Mapped => ({ inherent: note });
const left = (note: string) => (): Mapped => ({ left: note });
const set =
  (setting: string) =>
  (value: unknown): Mapped => ({ set: { [setting]: value } });
const policy =
  'write a TrustPolicy (`portcullis policy init`); the verdicts of a policy.json are not taken over unseen';

function runtimeTable(value: unknown, path: readonly string[]): Mapped {
  const name = path.at(-1) ?? '';
  if (!isTable(value)) return { left: 'it is not a table' };
  if ((value['runtime_type'] ?? 'oci') !== 'oci' && value['runtime_type'] !== '')
    return { left: 'only OCI runtimes are handlers here' };
  if (!/^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/.test(name))
    return { left: 'its name is not a valid name of a handler here' };
  const program = value['runtime_path'];
  return {
    set: {
      [`runtimes.${name}`]: {
        path: typeof program === 'string' && program !== '' ? program : `/usr/bin/${name}`,
      },
    },
  };
}

/** CRI-O's crio.conf and crio.conf.d. Source: crio.conf(5). */
export const crioRules: readonly Rule[] = [
  { path: ['crio', 'root'], map: left('images are pulled and verified again, into `root`') },
  { path: ['crio', 'runroot'], map: left('see `state`') },
  { path: ['crio', 'storage_driver'], map: inherent('layers are overlays of the kernel') },
  { path: ['crio', 'log_dir'], map: inherent('a kubelet names the folder of each pod’s logs') },
  { path: ['api', 'listen'], map: left('a kubelet finds us by --container-runtime-endpoint: see `socket`') },
  { path: ['api', 'stream_address'], map: set('streaming.address') },
  { path: ['api', 'stream_port'], map: (value) => ({ set: { 'streaming.port': Number(value) } }) },
  {
    path: ['api', 'stream_idle_timeout'],
    map: (value) =>
      value === '' ? { inherent: 'the default stands' } : durationOf('streaming.idleTimeout', value),
  },
  {
    path: ['api', 'stream_enable_tls'],
    map: inherent('streams are encrypted when streaming.tls names a certificate'),
  },
  { path: ['api', 'stream_tls_cert'], map: set('streaming.tls.certFile') },
  { path: ['api', 'stream_tls_key'], map: set('streaming.tls.keyFile') },
  { path: ['runtime', 'default_runtime'], map: set('defaultRuntime') },
  { path: ['runtime', 'runtimes', '*'], map: runtimeTable },
  { path: ['runtime', 'cgroup_manager'], map: set('cgroupDriver') },
  { path: ['runtime', 'conmon'], map: inherent('conmon is found where distributions put it') },
  { path: ['runtime', 'cdi_spec_dirs'], map: set('cdi.specDirs') },
  { path: ['runtime', 'device_ownership_from_security_context'], map: set('devices.ownedByUser') },
  { path: ['runtime', 'log_level'], map: levelOf },
  {
    path: ['runtime', 'log_size_max'],
    map: (value) =>
      Number(value) > 0
        ? { set: { 'logs.maxSize': String(value) } }
        : { inherent: 'no limit: a kubelet rotates' },
  },
  { path: ['runtime', 'drop_infra_ctr'], map: inherent('a pod needs no pause container') },
  { path: ['runtime', 'pinns_path'], map: inherent('the daemon pins namespaces itself') },
  { path: ['runtime', 'namespaces_dir'], map: left('see `state`') },
  {
    path: ['runtime', 'selinux'],
    map: inherent('labels are set where the kernel has SELinux, and reported as degraded where it has not'),
  },
  {
    path: ['runtime', 'apparmor_profile'],
    map: left(
      'the default profile is compiled from the container’s entitlements; another is named by the pod',
    ),
  },
  {
    path: ['runtime', 'seccomp_profile'],
    map: left('the filter is compiled from the container’s entitlements; write an EntitlementProfile'),
  },
  {
    path: ['runtime', 'default_capabilities'],
    map: left('write an EntitlementProfile and name it in the pod, or in the policy as a ceiling'),
  },
  {
    path: ['runtime', 'default_sysctls'],
    map: left('a pod names its sysctls; low ports and ping need no privilege as it is'),
  },
  { path: ['runtime', 'default_ulimits'], map: left('an EntitlementProfile says limits: resources') },
  {
    path: ['runtime', 'hooks_dir'],
    map: left('no program runs beside a container that no profile or CDI spec names'),
  },
  { path: ['runtime', 'pids_limit'], map: left('a kubelet sets it: podPidsLimit') },
  { path: ['image', 'pause_image'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'pause_command'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'pause_image_auth_file'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'insecure_registries'], map: set('registries.insecure') },
  { path: ['image', 'signature_policy'], map: left(policy) },
  { path: ['image', 'signature_policy_dir'], map: left(policy) },
  {
    path: ['image', 'global_auth_file'],
    map: left('no credentials are kept in a configuration: a kubelet hands them on'),
  },
  { path: ['network', 'network_dir'], map: set('cni.confDir') },
  { path: ['network', 'plugin_dirs'], map: set('cni.binDirs') },
  {
    path: ['metrics', 'enable_metrics'],
    map: (value) =>
      value === true
        ? { set: { 'metrics.address': '127.0.0.1:9090' } }
        : { inherent: 'metrics are off unless they have an address' },
  },
  {
    path: ['metrics', 'metrics_port'],
    map: (value, _path, whole): Mapped => {
      const crio = isTable(whole['crio']) ? whole['crio'] : {};
      const metrics = isTable(crio['metrics']) ? crio['metrics'] : {};
      if (metrics['enable_metrics'] !== true) return { inherent: 'metrics are off' };
      const host = typeof metrics['metrics_host'] === 'string' ? metrics['metrics_host'] : '127.0.0.1';
      return { set: { 'metrics.address': `${host}:${Number(value)}` } };
    },
  },
  { path: ['metrics', 'metrics_host'], map: inherent('it goes with metrics_port') },
  { path: ['tracing', 'enable_tracing'], map: inherent('traces are sent when tracing.endpoint is set') },
  {
    path: ['tracing', 'tracing_endpoint'],
    map: left('traces go over OTLP/HTTP here: set tracing.endpoint to the collector’s port 4318'),
  },
  { path: ['tracing', 'tracing_sampling_rate_per_million'], map: set('tracing.samplingRatePerMillion') },
  { path: ['crio', 'imagestore'], map: left('images are below `root`') },
  {
    path: ['crio', 'storage_option'],
    map: left('see `writableLayer.size` for a limit on what containers write'),
  },
  {
    path: ['crio', 'version_file'],
    map: inherent('after an unclean end files are checked and repaired; images are never wiped'),
  },
  {
    path: ['crio', 'version_file_persist'],
    map: inherent('after an unclean end files are checked and repaired; images are never wiped'),
  },
  {
    path: ['crio', 'clean_shutdown_file'],
    map: inherent('after an unclean end files are checked and repaired; images are never wiped'),
  },
  {
    path: ['crio', 'internal_wipe'],
    map: inherent('after an unclean end files are checked and repaired; images are never wiped'),
  },
  {
    path: ['crio', 'internal_repair'],
    map: inherent('after an unclean end files are checked and repaired; images are never wiped'),
  },
  {
    path: ['api', 'stream_tls_ca'],
    map: left('each URL of a stream is for one use within a minute; clients show no certificate'),
  },
  { path: ['api', 'tls_min_version'], map: inherent('TLS 1.2 and later') },
  { path: ['api', 'tls_cipher_suites'], map: inherent('those of TLS 1.2 and later that Node.js takes') },
  { path: ['api', 'grpc_max_send_msg_size'], map: inherent('messages have 16 MiB at most') },
  { path: ['api', 'grpc_max_recv_msg_size'], map: inherent('messages have 16 MiB at most') },
  { path: ['runtime', 'decryption_keys_path'], map: left('encrypted layers are refused') },
  { path: ['runtime', 'conmon_cgroup'], map: inherent('monitors are where they outlive the daemon') },
  { path: ['runtime', 'conmon_env'], map: left('monitors get no environment of an operator') },
  { path: ['runtime', 'default_env'], map: left('the pod says its environment') },
  { path: ['runtime', 'default_mounts_file'], map: left('the pod says its mounts') },
  { path: ['runtime', 'log_to_journald'], map: left('logs are the files of the CRI') },
  { path: ['runtime', 'log_filter'], map: left('see `logLevel`') },
  { path: ['runtime', 'privileged_seccomp_profile'], map: left('write an EntitlementProfile') },
  {
    path: ['runtime', 'allowed_devices'],
    map: left('devices come by CDI, or under a ceiling that holds host.devices.admin'),
  },
  {
    path: ['runtime', 'additional_devices'],
    map: left('devices come by CDI, or under a ceiling that holds host.devices.admin'),
  },
  { path: ['runtime', 'read_only'], map: left('name a profile with security.fs-read-only') },
  { path: ['runtime', 'ctr_stop_timeout'], map: inherent('the grace period of the pod') },
  { path: ['runtime', 'add_inheritable_capabilities'], map: left('capabilities are those of a profile') },
  { path: ['runtime', 'uid_mappings'], map: left('user namespaces are asked for by pods: hostUsers: false') },
  { path: ['runtime', 'gid_mappings'], map: left('user namespaces are asked for by pods: hostUsers: false') },
  { path: ['runtime', 'disable_hostport_mapping'], map: left('leave portmap out of the network’s file') },
  {
    path: ['runtime', 'enable_criu_support'],
    map: left('`checkpoint.enabled` enables checkpoints, and none is restored'),
  },
  { path: ['runtime', 'enable_pod_events'], map: inherent('events are always to be had') },
  {
    path: ['runtime', 'absent_mount_sources_to_reject'],
    map: left('a missing path of the host is made as a folder'),
  },
  { path: ['runtime', 'infra_ctr_cpuset'], map: inherent('a pod needs no pause container') },
  { path: ['runtime', 'hostnetwork_disable_selinux'], map: left('labels are those that a pod asks for') },
  { path: ['runtime', 'timezone'], map: left('the pod says its TZ') },
  { path: ['image', 'pinned_images'], map: set('images.pinned') },
  { path: ['image', 'default_transport'], map: inherent('images come from registries') },
  { path: ['image', 'image_volumes'], map: inherent('a declared volume is a folder of the container') },
  {
    path: ['image', 'pull_progress_timeout'],
    map: inherent('a pull ends when a registry sends nothing for 30 s'),
  },
  {
    path: ['image', 'namespaced_auth_dir'],
    map: left('no credentials are kept in a configuration: a kubelet hands them on'),
  },
  { path: ['image', 'short_name_mode'], map: left('a short name is of docker.io') },
  { path: ['network', 'cni_default_network'], map: left('the first file by name is the network') },
  { path: ['stats', '*'], map: inherent('figures come from a background sampler') },
  { path: ['metrics', 'metrics_collectors'], map: inherent('all metrics') },
  { path: ['metrics', 'metrics_socket'], map: left('metrics are served at HOST:PORT: metrics.address') },
  { path: ['metrics', 'metrics_cert'], map: left('metrics are served over plain HTTP: metrics.address') },
  { path: ['metrics', 'metrics_key'], map: left('metrics are served over plain HTTP: metrics.address') },
  { path: ['nri', '*'], map: left('there is no plugin interface beside CRI, CNI and CDI') },
];
