import type { Mapped, Rule } from './findings.ts';
import { inherent, isTable, left, set } from './findings.ts';
import { crioRuntime } from './runtime-tables.ts';
import { idleTimeoutOf, levelOf, nriRules } from './values.ts';

const policy =
  'write a TrustPolicy (`portcullis policy init`), or convert the policy.json with `portcullis policy import`';

/** Sysctls of every pod: a list of `name=value`. */
function sysctlsOf(value: unknown): Mapped {
  const texts = (Array.isArray(value) ? value : []).map(String).filter((text) => text.trim() !== '');
  const pairs = texts.map((text) => /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(text));
  const wrong = texts.find((_, index) => pairs[index] === null);
  if (wrong !== undefined) return { left: `${JSON.stringify(wrong)} is not NAME=VALUE` };
  if (texts.length === 0) return { inherent: 'no sysctls are set; low ports and ping need no privilege' };
  return { set: { sysctls: Object.fromEntries(pairs.map((pair) => [pair?.[1], pair?.[2]])) } };
}

/** Registries over plain HTTP; CRI-O also accepts subnets. */
function insecureHosts(value: unknown): Mapped {
  const hosts = (Array.isArray(value) ? value : [value]).map(String);
  const subnets = hosts.filter((host) => host.includes('/'));
  if (subnets.length === 0) return { set: { 'registries.insecure': value } };
  const why = `a subnet cannot be named: write each registry of ${subnets.join(', ')} as HOST[:PORT]`;
  if (subnets.length === hosts.length) return { left: why };
  return {
    set: { 'registries.insecure': hosts.filter((host) => !subnets.includes(host)) },
    except: [[[], why]],
  };
}

/** CRI-O's crio.conf and crio.conf.d. Source: crio.conf(5). */
export const crioRules: readonly Rule[] = [
  { path: ['crio', 'root'], map: left('images are pulled and verified again, into `root`') },
  { path: ['crio', 'runroot'], map: left('see `state`') },
  { path: ['crio', 'storage_driver'], map: inherent('layers are mounted with overlayfs') },
  { path: ['crio', 'log_dir'], map: inherent('the kubelet chooses the folder for the logs of each pod') },
  {
    path: ['api', 'listen'],
    map: left('a kubelet connects to the socket in its --container-runtime-endpoint: see `socket`'),
  },
  { path: ['api', 'stream_address'], map: set('streaming.address') },
  { path: ['api', 'stream_port'], map: (value) => ({ set: { 'streaming.port': Number(value) } }) },
  {
    path: ['api', 'stream_idle_timeout'],
    map: (value) => (value === '' ? { inherent: 'the default applies' } : idleTimeoutOf(value)),
  },
  {
    path: ['api', 'stream_enable_tls'],
    map: inherent('streams are encrypted if `streaming.tls` has a certificate'),
  },
  { path: ['api', 'stream_tls_cert'], map: set('streaming.tls.certFile') },
  { path: ['api', 'stream_tls_key'], map: set('streaming.tls.keyFile') },
  { path: ['runtime', 'default_runtime'], map: set('defaultRuntime') },
  { path: ['runtime', 'runtimes', '*'], map: crioRuntime },
  { path: ['runtime', 'cgroup_manager'], map: set('cgroupDriver') },
  {
    path: ['runtime', 'conmon'],
    map: inherent('the daemon finds conmon in the folders that distributions use'),
  },
  { path: ['runtime', 'cdi_spec_dirs'], map: set('cdi.specDirs') },
  { path: ['runtime', 'device_ownership_from_security_context'], map: set('devices.ownedByUser') },
  { path: ['runtime', 'log_level'], map: levelOf },
  {
    path: ['runtime', 'log_size_max'],
    map: (value) =>
      Number(value) > 0
        ? { set: { 'logs.maxSize': String(value) } }
        : { inherent: 'there is no limit: the kubelet rotates logs' },
  },
  { path: ['runtime', 'drop_infra_ctr'], map: inherent('a pod needs no pause container') },
  {
    path: ['image', 'oci_artifact_mount_support'],
    map: inherent('an image volume can be an artifact: each titled layer is one file'),
  },
  { path: ['runtime', 'pinns_path'], map: inherent('the daemon pins namespaces itself') },
  { path: ['runtime', 'namespaces_dir'], map: left('see `state`') },
  {
    path: ['runtime', 'selinux'],
    map: inherent(
      'labels are set if the kernel has SELinux; otherwise the container is reported as degraded',
    ),
  },
  {
    path: ['runtime', 'apparmor_profile'],
    map: left(
      'the default profile is compiled from the entitlements of the container; a pod may request another one',
    ),
  },
  {
    path: ['runtime', 'seccomp_profile'],
    map: left('the filter is compiled from the entitlements of the container: write an EntitlementProfile'),
  },
  {
    path: ['runtime', 'default_capabilities'],
    map: left('write an EntitlementProfile, and use it in the pod, or as a ceiling in the policy'),
  },
  {
    path: ['runtime', 'default_sysctls'],
    map: sysctlsOf,
  },
  { path: ['runtime', 'default_ulimits'], map: left('set limits in an EntitlementProfile: `resources`') },
  {
    path: ['runtime', 'hooks_dir'],
    map: left('OCI hooks come only from CDI, or from NRI plugins: `nri.allowHooks`'),
  },
  { path: ['runtime', 'pids_limit'], map: left('set `podPidsLimit` of the kubelet') },
  { path: ['image', 'pause_image'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'pause_command'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'pause_image_auth_file'], map: inherent('a pod needs no pause container') },
  { path: ['image', 'insecure_registries'], map: insecureHosts },
  { path: ['image', 'signature_policy'], map: left(policy) },
  { path: ['image', 'signature_policy_dir'], map: left(policy) },
  {
    path: ['image', 'global_auth_file'],
    map: left('the configuration contains no credentials: a kubelet passes them on'),
  },
  { path: ['network', 'network_dir'], map: set('cni.confDir') },
  { path: ['network', 'plugin_dirs'], map: set('cni.binDirs') },
  {
    path: ['metrics', 'enable_metrics'],
    map: (value) =>
      value === true
        ? { set: { 'metrics.address': '127.0.0.1:9090' } }
        : { inherent: 'metrics are served only if `metrics.address` is set' },
  },
  {
    path: ['metrics', 'metrics_port'],
    map: (value, _path, whole): Mapped => {
      const crio = isTable(whole['crio']) ? whole['crio'] : {};
      const metrics = isTable(crio['metrics']) ? crio['metrics'] : {};
      if (metrics['enable_metrics'] !== true) return { inherent: 'metrics are not enabled' };
      const host = typeof metrics['metrics_host'] === 'string' ? metrics['metrics_host'] : '127.0.0.1';
      return { set: { 'metrics.address': `${host}:${Number(value)}` } };
    },
  },
  { path: ['metrics', 'metrics_host'], map: inherent('it is imported with metrics_port') },
  { path: ['tracing', 'enable_tracing'], map: inherent('traces are sent if `tracing.endpoint` is set') },
  {
    path: ['tracing', 'tracing_endpoint'],
    map: left('set `tracing.endpoint` to the OTLP/HTTP port of the collector (4318)'),
  },
  { path: ['tracing', 'tracing_sampling_rate_per_million'], map: set('tracing.samplingRatePerMillion') },
  { path: ['crio', 'imagestore'], map: left('images are stored below `root`') },
  {
    path: ['crio', 'storage_option'],
    map: left('see `writableLayer.size` for a limit of the writable layers'),
  },
  {
    path: ['crio', 'version_file'],
    map: inherent('after an unclean end, files are checked and repaired; images are not removed'),
  },
  {
    path: ['crio', 'version_file_persist'],
    map: inherent('after an unclean end, files are checked and repaired; images are not removed'),
  },
  {
    path: ['crio', 'clean_shutdown_file'],
    map: inherent('after an unclean end, files are checked and repaired; images are not removed'),
  },
  {
    path: ['crio', 'internal_wipe'],
    map: inherent('after an unclean end, files are checked and repaired; images are not removed'),
  },
  {
    path: ['crio', 'internal_repair'],
    map: inherent('after an unclean end, files are checked and repaired; images are not removed'),
  },
  {
    path: ['api', 'stream_tls_ca'],
    map: left('clients need no certificate: the URL of a stream is valid once, within a minute'),
  },
  { path: ['api', 'tls_min_version'], map: inherent('the minimum is TLS 1.2') },
  { path: ['api', 'tls_cipher_suites'], map: inherent('the defaults of Node.js for TLS 1.2 and later') },
  { path: ['api', 'grpc_max_send_msg_size'], map: inherent('a message has at most 16 MiB') },
  { path: ['api', 'grpc_max_recv_msg_size'], map: inherent('a message has at most 16 MiB') },
  { path: ['runtime', 'decryption_keys_path'], map: left('encrypted layers are refused') },
  {
    path: ['runtime', 'conmon_cgroup'],
    map: inherent('monitors are in a cgroup in which they outlive the daemon'),
  },
  { path: ['runtime', 'conmon_env'], map: left('the environment of monitors cannot be configured') },
  { path: ['runtime', 'default_env'], map: left('the pod sets its environment variables') },
  { path: ['runtime', 'default_mounts_file'], map: left('the pod sets its mounts') },
  { path: ['runtime', 'log_to_journald'], map: left('container logs are written as files of the CRI') },
  { path: ['runtime', 'log_filter'], map: left('see `logLevel`') },
  { path: ['runtime', 'privileged_seccomp_profile'], map: left('write an EntitlementProfile') },
  {
    path: ['runtime', 'allowed_devices'],
    map: left('use CDI for devices, or a ceiling with host.devices.admin'),
  },
  {
    path: ['runtime', 'additional_devices'],
    map: left('use CDI for devices, or a ceiling with host.devices.admin'),
  },
  { path: ['runtime', 'read_only'], map: left('use a profile with security.fs-read-only') },
  { path: ['runtime', 'ctr_stop_timeout'], map: inherent('the grace period of the pod applies') },
  {
    path: ['runtime', 'add_inheritable_capabilities'],
    map: left('the profile of a container sets its capabilities'),
  },
  { path: ['runtime', 'uid_mappings'], map: left('a pod requests a user namespace with `hostUsers: false`') },
  { path: ['runtime', 'gid_mappings'], map: left('a pod requests a user namespace with `hostUsers: false`') },
  {
    path: ['runtime', 'disable_hostport_mapping'],
    map: left('remove portmap from the network configuration'),
  },
  {
    path: ['runtime', 'enable_criu_support'],
    map: left('`checkpoint.enabled` enables checkpoints, and `checkpoint.restore` their restore'),
  },
  { path: ['runtime', 'enable_pod_events'], map: inherent('events are always enabled') },
  {
    path: ['runtime', 'absent_mount_sources_to_reject'],
    map: left('a missing path of the host is created as a folder'),
  },
  { path: ['runtime', 'infra_ctr_cpuset'], map: inherent('a pod needs no pause container') },
  {
    path: ['runtime', 'hostnetwork_disable_selinux'],
    map: left('the labels are those in the request of the pod'),
  },
  { path: ['runtime', 'timezone'], map: left('the pod sets `TZ`') },
  { path: ['image', 'pinned_images'], map: set('images.pinned') },
  { path: ['image', 'default_transport'], map: inherent('images come from registries') },
  {
    path: ['image', 'image_volumes'],
    map: inherent('a volume that an image declares is a folder of the container'),
  },
  {
    path: ['image', 'pull_progress_timeout'],
    map: inherent('a pull fails if the registry sends nothing for 30 s'),
  },
  {
    path: ['image', 'namespaced_auth_dir'],
    map: left('the configuration contains no credentials: a kubelet passes them on'),
  },
  {
    path: ['image', 'short_name_mode'],
    map: inherent('a short name has only one meaning, so there is no choice'),
  },
  { path: ['network', 'cni_default_network'], map: left('the first configuration by file name is used') },
  { path: ['stats', '*'], map: inherent('statistics are sampled in the background') },
  { path: ['metrics', 'metrics_collectors'], map: inherent('all metrics are served') },
  {
    path: ['metrics', 'metrics_socket'],
    map: left('metrics are served at a TCP address: `metrics.address`'),
  },
  { path: ['metrics', 'metrics_cert'], map: left('metrics are served over plain HTTP: `metrics.address`') },
  { path: ['metrics', 'metrics_key'], map: left('metrics are served over plain HTTP: `metrics.address`') },
  { path: ['nri', 'enable_nri'], map: set('nri.enabled') },
  ...nriRules({
    table: 'nri',
    socket: 'nri_listen',
    plugins: 'nri_plugin_dir',
    pluginConfigs: 'nri_plugin_config_dir',
    registrationTimeout: 'nri_plugin_registration_timeout',
    requestTimeout: 'nri_plugin_request_timeout',
    closed: 'nri_disable_connections',
  }),
];
