import type { Mapped, Rule } from './findings.ts';
import { inherent, isTable, left, set } from './findings.ts';
import { importHosts, withScheme } from './hosts.ts';
import { containerdRuntime } from './runtime-tables.ts';
import { idleTimeoutOf, levelOf, nriRules, textOf } from './values.ts';

const folders =
  (setting: string) =>
  (value: unknown): Mapped => ({ set: { [setting]: Array.isArray(value) ? value : [value] } });

const credentials =
  'the configuration contains no credentials: a kubelet passes them on from imagePullSecrets and credential providers';
const ownSocket =
  'a kubelet connects to the socket in its --container-runtime-endpoint: use a different `socket` than containerd while both are installed';
const verifier =
  'write a TrustPolicy instead (`portcullis policy init`): it decides every pull and every container';

/** Allows the owner of containerd's socket to connect. Root may connect in any case. */
function peer(kind: 'uids' | 'gids', value: unknown): Mapped {
  return typeof value === 'number' && value > 0
    ? { set: { [`peers.${kind}`]: [value] } }
    : { inherent: 'root may connect' };
}

/** The certificates of one registry, from the deprecated section `registry.configs`. */
function certificatesOf(value: unknown, path: readonly string[]): Mapped {
  const host = (path.at(-2) ?? '').toLowerCase();
  if (!isTable(value)) return { left: 'it is not a table' };
  const verified = 'the certificate of a registry is always verified: add its authority to `registries.tls`';
  const isUnverified = value['insecure_skip_verify'] === true;
  const [ca, cert, key] = ['ca_file', 'cert_file', 'key_file'].map((name) => textOf(value[name]));
  if (ca === undefined && cert === undefined)
    return isUnverified ? { left: verified } : { inherent: 'the authorities of the system are trusted' };
  const tls = { ...(ca && { ca: [ca] }), ...(cert && { cert }), ...(key && { key }) };
  return {
    set: { 'registries.tls': { [host]: tls } },
    ...(isUnverified && { except: [[['insecure_skip_verify'], verified]] }),
  };
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
  if (host === '*')
    return { left: 'there is no mirror for all registries: set registries.mirrors.HOST for each one' };
  const listed: readonly unknown[] = Array.isArray(value['endpoint']) ? value['endpoint'] : [];
  // A path of an endpoint is the root of its API, without an option that says so.
  const hosts = Object.fromEntries(
    listed.map((endpoint) => [
      String(endpoint),
      { override_path: !['', '/'].includes(URL.parse(withScheme(String(endpoint)))?.pathname ?? '') },
    ]),
  );
  const { settings, findings } = importHosts({ host, folder: '/', table: { host: hosts } });
  const refused = findings.filter(({ outcome }) => outcome === 'left');
  if (refused.length > 0)
    return { left: `endpoint: ${refused.map(({ key, note }) => `${key}: ${note}`).join('; ')}` };
  const registries = isTable(settings['registries']) ? settings['registries'] : {};
  if (Object.keys(registries).length === 0) return { inherent: 'images come from the registry itself' };
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
  { path: ['version'], map: inherent('the version of the file format') },
  {
    path: ['grpc', 'address'],
    map: left(ownSocket),
  },
  { path: ['root'], map: left('images are pulled and verified again, into `root`') },
  { path: ['state'], map: left('see `state`') },
  { path: ['debug', 'level'], map: (value) => levelOf(value) },
  { path: ['metrics', 'address'], map: set('metrics.address') },
  { path: ['containerd', 'default_runtime_name'], map: set('defaultRuntime') },
  { path: ['containerd', 'runtimes', '*'], map: containerdRuntime },
  { path: ['containerd', 'snapshotter'], map: inherent('layers are mounted with overlayfs') },
  { path: ['cni', 'conf_dir'], map: set('cni.confDir') },
  { path: ['cni', 'bin_dir'], map: folders('cni.binDirs') },
  { path: ['cni', 'bin_dirs'], map: folders('cni.binDirs') },
  { path: ['cni', 'max_conf_num'], map: networks },
  { path: ['sandbox_image'], map: inherent('a pod needs no pause container') },
  { path: ['sandbox'], map: inherent('a pod needs no pause container') },
  { path: ['registry', 'mirrors', '*'], map: oldMirrors },
  { path: ['registry', 'config_path'], map: inherent('the folders that exist are imported, too') },
  { path: ['registry', 'configs', '*', 'tls'], map: certificatesOf },
  { path: ['registry', 'configs', '*', 'auth'], map: left(credentials) },
  { path: ['registry', 'auths'], map: left(credentials) },
  { path: ['registry', 'headers'], map: left('additional HTTP headers are not supported') },
  { path: ['stream_server_address'], map: set('streaming.address') },
  { path: ['stream_server_port'], map: (value) => ({ set: { 'streaming.port': Number(value) } }) },
  { path: ['stream_idle_timeout'], map: idleTimeoutOf },
  {
    path: ['enable_tls_streaming'],
    map: inherent('streams are encrypted if `streaming.tls` has a certificate'),
  },
  { path: ['x509_key_pair_streaming', 'tls_cert_file'], map: set('streaming.tls.certFile') },
  { path: ['x509_key_pair_streaming', 'tls_key_file'], map: set('streaming.tls.keyFile') },
  { path: ['cdi_spec_dirs'], map: set('cdi.specDirs') },
  { path: ['enable_cdi'], map: inherent('CDI is always enabled; a ceiling must allow the devices') },
  { path: ['device_ownership_from_security_context'], map: set('devices.ownedByUser') },
  {
    path: ['enable_selinux'],
    map: inherent(
      'labels are set if the kernel has SELinux; otherwise the container is reported as degraded',
    ),
  },
  {
    path: ['disable_apparmor'],
    map: (value) =>
      value === true
        ? { left: 'AppArmor is used if the kernel has it: to run without it, boot with apparmor=0' }
        : {
            inherent:
              'AppArmor is used if the kernel has it; otherwise a pod that asks for a profile is refused',
          },
  },
  {
    path: ['restrict_oom_score_adj'],
    map: inherent('an OOM score that the daemon may not set is raised to its own'),
  },
  { path: ['enable_unprivileged_ports'], map: inherent('pods may use low ports without a privilege') },
  { path: ['enable_unprivileged_icmp'], map: inherent('pods may use ping without a privilege') },
  {
    path: ['tolerate_missing_hugetlb_controller'],
    map: inherent('limits of huge pages are set if the kernel supports them'),
  },
  {
    path: ['drain_exec_sync_io_timeout'],
    map: inherent('the answer of ExecSync waits 1 s for processes that keep the output open'),
  },
  { path: ['image_pull_with_sync_fs'], map: inherent('a layer is always written to disk before it is used') },
  {
    path: ['privileged_without_host_devices'],
    map: left('an EntitlementProfile lists the devices of the host that a container has'),
  },
  // Version 4 lists its servers among the plugins.
  { path: ['io.containerd.server.v1.grpc', 'address'], map: left(ownSocket) },
  { path: ['io.containerd.server.v1.grpc', 'uid'], map: (value) => peer('uids', value) },
  { path: ['io.containerd.server.v1.grpc', 'gid'], map: (value) => peer('gids', value) },
  { path: ['io.containerd.server.v1.metrics', 'address'], map: set('metrics.address') },
  { path: ['grpc', 'uid'], map: (value) => peer('uids', value) },
  { path: ['grpc', 'gid'], map: (value) => peer('gids', value) },
  {
    path: ['io.containerd.nri.v1.nri', 'disable'],
    map: (value) => ({ set: { 'nri.enabled': value !== true } }),
  },
  ...nriRules({
    table: 'io.containerd.nri.v1.nri',
    socket: 'socket_path',
    plugins: 'plugin_path',
    pluginConfigs: 'plugin_config_path',
    registrationTimeout: 'plugin_registration_timeout',
    requestTimeout: 'plugin_request_timeout',
    closed: 'disable_connections',
  }),
  { path: ['imports'], map: inherent('the files that exist are imported, too') },
  { path: ['disabled_plugins'], map: inherent('Portcullis has no plugins of containerd') },
  { path: ['required_plugins'], map: inherent('Portcullis has no plugins of containerd') },
  { path: ['proxy_plugins'], map: left('Portcullis has no plugins of containerd') },
  { path: ['oom_score'], map: left('set OOMScoreAdjust= in the systemd unit') },
  {
    path: ['io.containerd.tracing.processor.v1.otlp', 'endpoint'],
    map: left('set `tracing.endpoint` to the OTLP/HTTP port of the collector (4318)'),
  },
  { path: ['snapshotter'], map: inherent('layers are mounted with overlayfs') },
  { path: ['disable_snapshot_annotations'], map: inherent('images are always pulled by the daemon itself') },
  { path: ['use_local_image_pull'], map: inherent('images are always pulled by the daemon itself') },
  { path: ['concurrent_layer_fetch_buffer'], map: inherent('images are always pulled by the daemon itself') },
  {
    path: ['max_concurrent_downloads'],
    map: left('layers are fetched in parallel, and the number cannot be configured'),
  },
  {
    path: ['image_pull_progress_timeout'],
    map: inherent('a pull fails if the registry sends nothing for 30 s'),
  },
  { path: ['discard_unpacked_layers'], map: left('blobs are kept, because files are repaired from them') },
  { path: ['image_decryption'], map: left('encrypted layers are refused') },
  { path: ['stream_processors', '*', '*'], map: left('encrypted layers are refused') },
  { path: ['stats_collect_period'], map: inherent('statistics are sampled in the background') },
  { path: ['stats_retention_period'], map: inherent('statistics are sampled in the background') },
  { path: ['selinux_category_range'], map: left('the labels are those in the request of the pod') },
  {
    path: ['max_container_log_line_size'],
    map: inherent('longer lines are written in parts, as in the log format of the CRI'),
  },
  {
    path: ['disable_proc_mount'],
    map: left('`procMount: Unmasked` needs a pod with a user namespace'),
  },
  {
    path: ['unset_seccomp_profile'],
    map: left('a container without a seccomp profile gets the filter of its EntitlementProfile'),
  },
  {
    path: ['disable_hugetlb_controller'],
    map: inherent('limits of huge pages are set if the kernel supports them'),
  },
  {
    path: ['ignore_image_defined_volumes'],
    map: left('a volume that an image declares is always a folder of the container'),
  },
  {
    path: ['netns_mounts_under_state_dir'],
    map: inherent('network namespaces are always in the state folder'),
  },
  {
    path: ['enable_criu'],
    map: left('`checkpoint.enabled` enables checkpoints, and `checkpoint.restore` their restore'),
  },
  { path: ['cni', 'setup_serially'], map: inherent('the networks of a pod are attached one after another') },
  {
    path: ['cni', 'use_internal_loopback'],
    map: inherent('the daemon configures the loopback interface itself'),
  },
  {
    path: ['cni', 'conf_template'],
    map: left('write the network configuration yourself; the daemon reads changes at once'),
  },
  { path: ['cni', 'ip_pref'], map: left('addresses are reported in the order of the ranges of the network') },
  { path: ['max_recv_message_size'], map: inherent('a message has at most 16 MiB') },
  { path: ['max_send_message_size'], map: inherent('a message has at most 16 MiB') },
  { path: ['disable_tcp_service'], map: inherent('the daemon listens only at a Unix socket') },
  { path: ['bindir', 'bin_dir'], map: left(verifier) },
  { path: ['io.containerd.image-verifier.v1.bindir'], map: left(verifier) },
];
