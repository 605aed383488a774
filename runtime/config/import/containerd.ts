import type { Mapped, Rule } from './findings.ts';
import { isTable } from './findings.ts';
import { importHosts } from './hosts.ts';
import { durationOf, levelOf } from './values.ts';

const inherent = (note: string) => (): Mapped => ({ inherent: note });
const left = (note: string) => (): Mapped => ({ left: note });
const set =
  (setting: string) =>
  (value: unknown): Mapped => ({ set: { [setting]: value } });
const folders =
  (setting: string) =>
  (value: unknown): Mapped => ({ set: { [setting]: Array.isArray(value) ? value : [value] } });

const credentials =
  'no credentials are kept in a configuration: a kubelet hands them on from imagePullSecrets and credential providers';
const ownSocket =
  'a kubelet finds us by --container-runtime-endpoint: keep `socket` apart from containerd’s while both are installed';
const verifier =
  'write a TrustPolicy instead (`portcullis policy init`): every pull and every container is decided by it, with credentials';

/** Allows the owner of containerd's socket to connect. Root may connect in any case. */
function peer(kind: 'uids' | 'gids', value: unknown): Mapped {
  return typeof value === 'number' && value > 0
    ? { set: { [`peers.${kind}`]: [value] } }
    : { inherent: 'root may connect' };
}

/**
 * An OCI runtime behind containerd's runc shim becomes a handler. A runtime that needs another shim does not.
 */
function runtimeTable(value: unknown, path: readonly string[]): Mapped {
  const name = path.at(-1) ?? '';
  if (!isTable(value)) return { left: 'it is not a table' };
  const options = isTable(value['options']) ? value['options'] : {};
  const type = value['runtime_type'];
  if (type !== undefined && type !== 'io.containerd.runc.v2')
    return {
      left: `its shim ${JSON.stringify(type)} is not used here; gVisor works as an OCI runtime: runtimes.${name}.path: /usr/local/bin/runsc`,
    };
  const binary = options['BinaryName'];
  const driver = options['SystemdCgroup'];
  const taken = {
    [`runtimes.${name}`]: { path: typeof binary === 'string' && binary !== '' ? binary : '/usr/sbin/runc' },
    ...(typeof driver === 'boolean' && { cgroupDriver: driver ? 'systemd' : 'cgroupfs' }),
  };
  return name.includes('.') ? { left: `a handler's name holds no dot here` } : { set: taken };
}

const mostNetworks = 16;

/** Each configuration file is a network of the pod: the first n by name, or all of them if n is 0. */
function networks(value: unknown): Mapped {
  const count = value === 0 ? mostNetworks : Number(value);
  if (count === 1) return { inherent: 'the first configuration by name is used' };
  if (!Number.isInteger(count) || count < 1 || count > mostNetworks)
    return { left: `a pod has 1 to ${mostNetworks} networks` };
  return { set: { 'network.maxConfigs': count } };
}

/** The deprecated list of mirrors of one registry: `endpoint`. */
function oldMirrors(value: unknown, path: readonly string[]): Mapped {
  const host = (path.at(-1) ?? '').toLowerCase();
  if (!isTable(value)) return { left: 'it is not a table' };
  if (host === '*') return { left: 'a mirror is named for each registry: registries.mirrors.HOST' };
  const listed: readonly unknown[] = Array.isArray(value['endpoint']) ? value['endpoint'] : [];
  const hosts = Object.fromEntries(listed.map((endpoint) => [String(endpoint), {}]));
  const { settings, findings } = importHosts({ host, folder: '/', table: { host: hosts } });
  const refused = findings.filter(({ outcome }) => outcome === 'left');
  if (refused.length > 0)
    return { left: `endpoint: ${refused.map(({ key, note }) => `${key}: ${note}`).join('; ')}` };
  const registries = isTable(settings['registries']) ? settings['registries'] : {};
  if (Object.keys(registries).length === 0) return { inherent: 'the registry itself is asked' };
  return {
    set: Object.fromEntries(
      Object.entries(registries).map(([name, setting]) => [`registries.${name}`, setting]),
    ),
  };
}

/**
 * containerd's config.toml of versions 2, 3 and 4. The plugins of each version are matched by the ends of
 * their keys.
 * Sources: containerd, docs/cri/config.md, docs/man/containerd-config.toml.5.md.
 */
export const containerdRules: readonly Rule[] = [
  { path: ['version'], map: inherent('the version of its own format') },
  {
    path: ['grpc', 'address'],
    map: left(ownSocket),
  },
  { path: ['root'], map: left('images are pulled and verified again, into `root`') },
  { path: ['state'], map: left('see `state`') },
  { path: ['debug', 'level'], map: (value) => levelOf(value) },
  { path: ['metrics', 'address'], map: set('metrics.address') },
  { path: ['containerd', 'default_runtime_name'], map: set('defaultRuntime') },
  { path: ['containerd', 'runtimes', '*'], map: runtimeTable },
  { path: ['containerd', 'snapshotter'], map: inherent('layers are overlays of the kernel') },
  { path: ['cni', 'conf_dir'], map: set('cni.confDir') },
  { path: ['cni', 'bin_dir'], map: folders('cni.binDirs') },
  { path: ['cni', 'bin_dirs'], map: folders('cni.binDirs') },
  { path: ['cni', 'max_conf_num'], map: networks },
  { path: ['sandbox_image'], map: inherent('a pod needs no pause container') },
  { path: ['sandbox'], map: inherent('a pod needs no pause container') },
  { path: ['registry', 'mirrors', '*'], map: oldMirrors },
  { path: ['registry', 'config_path'], map: inherent('its folders are read as well: see what follows') },
  {
    path: ['registry', 'configs'],
    map: left(`${credentials}; certificates: let the machine trust the authority`),
  },
  { path: ['registry', 'auths'], map: left(credentials) },
  { path: ['registry', 'headers'], map: left('requests carry no headers of an operator') },
  { path: ['stream_server_address'], map: set('streaming.address') },
  { path: ['stream_server_port'], map: (value) => ({ set: { 'streaming.port': Number(value) } }) },
  { path: ['stream_idle_timeout'], map: (value) => durationOf('streaming.idleTimeout', value) },
  {
    path: ['enable_tls_streaming'],
    map: inherent('streams are encrypted when streaming.tls names a certificate'),
  },
  { path: ['x509_key_pair_streaming', 'tls_cert_file'], map: set('streaming.tls.certFile') },
  { path: ['x509_key_pair_streaming', 'tls_key_file'], map: set('streaming.tls.keyFile') },
  { path: ['cdi_spec_dirs'], map: set('cdi.specDirs') },
  { path: ['enable_cdi'], map: inherent('CDI devices are served, under a ceiling that holds devices') },
  { path: ['device_ownership_from_security_context'], map: set('devices.ownedByUser') },
  {
    path: ['enable_selinux'],
    map: inherent('labels are set where the kernel has SELinux, and reported as degraded where it has not'),
  },
  {
    path: ['disable_apparmor'],
    map: inherent('AppArmor is used where the kernel has it, and its absence said'),
  },
  { path: ['restrict_oom_score_adj'], map: inherent('scores are raised to what the daemon may set') },
  { path: ['enable_unprivileged_ports'], map: inherent('low ports need no privilege in a pod') },
  { path: ['enable_unprivileged_icmp'], map: inherent('ping needs no privilege in a pod') },
  {
    path: ['tolerate_missing_hugetlb_controller'],
    map: inherent('limits of huge pages are set where the kernel counts them'),
  },
  {
    path: ['drain_exec_sync_io_timeout'],
    map: inherent('an answer waits 1 s for pipes that grandchildren hold'),
  },
  { path: ['image_pull_with_sync_fs'], map: inherent('every layer is on disk before it counts') },
  {
    path: ['privileged_without_host_devices'],
    map: left('a profile says which devices of the host a container has'),
  },
  // Version 4 lists its servers among the plugins.
  { path: ['io.containerd.server.v1.grpc', 'address'], map: left(ownSocket) },
  { path: ['io.containerd.server.v1.grpc', 'uid'], map: (value) => peer('uids', value) },
  { path: ['io.containerd.server.v1.grpc', 'gid'], map: (value) => peer('gids', value) },
  { path: ['io.containerd.server.v1.metrics', 'address'], map: set('metrics.address') },
  { path: ['grpc', 'uid'], map: (value) => peer('uids', value) },
  { path: ['grpc', 'gid'], map: (value) => peer('gids', value) },
  { path: ['imports'], map: left('import each of these files as well: there is one file here') },
  { path: ['disabled_plugins'], map: inherent('there are no plugins') },
  { path: ['required_plugins'], map: inherent('there are no plugins') },
  { path: ['proxy_plugins'], map: left('there are no plugins') },
  { path: ['oom_score'], map: left('OOMScoreAdjust= of the unit') },
  {
    path: ['io.containerd.tracing.processor.v1.otlp', 'endpoint'],
    map: left('set tracing.endpoint to the collector’s OTLP over HTTP, port 4318'),
  },
  { path: ['snapshotter'], map: inherent('layers are overlays of the kernel') },
  { path: ['disable_snapshot_annotations'], map: inherent('there is one way to pull') },
  { path: ['use_local_image_pull'], map: inherent('there is one way to pull') },
  { path: ['concurrent_layer_fetch_buffer'], map: inherent('there is one way to pull') },
  {
    path: ['max_concurrent_downloads'],
    map: left('layers are fetched side by side, without a limit of an operator'),
  },
  {
    path: ['image_pull_progress_timeout'],
    map: inherent('a pull ends when a registry sends nothing for 30 s'),
  },
  { path: ['discard_unpacked_layers'], map: left('blobs stay, so that files can be repaired from them') },
  { path: ['image_decryption'], map: left('encrypted layers are refused') },
  { path: ['stream_processors'], map: left('encrypted layers are refused') },
  { path: ['stats_collect_period'], map: inherent('figures come from a background sampler') },
  { path: ['stats_retention_period'], map: inherent('figures come from a background sampler') },
  { path: ['selinux_category_range'], map: left('labels are those that a pod asks for') },
  {
    path: ['max_container_log_line_size'],
    map: inherent('longer lines are written in parts, as the log format of the CRI has it'),
  },
  {
    path: ['disable_proc_mount'],
    map: left('procMount: Unmasked is taken from pods with a user namespace only'),
  },
  { path: ['unset_seccomp_profile'], map: left('a container that names none has the filter of its profile') },
  {
    path: ['disable_hugetlb_controller'],
    map: inherent('limits of huge pages are set where the kernel counts them'),
  },
  { path: ['ignore_image_defined_volumes'], map: left('a declared volume is a folder of the container') },
  { path: ['netns_mounts_under_state_dir'], map: inherent('always') },
  { path: ['enable_criu'], map: left('`checkpoint.enabled` enables checkpoints, and none is restored') },
  { path: ['cni', 'setup_serially'], map: inherent('the networks of a pod are attached one after another') },
  { path: ['cni', 'use_internal_loopback'], map: inherent('the daemon brings loopback up itself') },
  {
    path: ['cni', 'conf_template'],
    map: left('write the network’s file yourself: its folder is read at once'),
  },
  { path: ['cni', 'ip_pref'], map: left('addresses come in the order of the network’s ranges') },
  { path: ['max_recv_message_size'], map: inherent('messages have 16 MiB at most') },
  { path: ['max_send_message_size'], map: inherent('messages have 16 MiB at most') },
  { path: ['disable_tcp_service'], map: inherent('there is only the unix socket') },
  { path: ['bindir', 'bin_dir'], map: left(verifier) },
  { path: ['io.containerd.image-verifier.v1.bindir'], map: left(verifier) },
];
