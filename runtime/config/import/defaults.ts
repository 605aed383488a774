/**
 * Values that `containerd config default` (1.6 to 2.x) and `crio config --default` print for keys that have
 * no counterpart in Portcullis. With such a value nobody chose anything, so nothing is left out.
 */
const printed: readonly (readonly [path: string, value: unknown])[] = [
  ['root', '/var/lib/containerd'],
  ['state', '/run/containerd'],
  ['grpc address', '/run/containerd/containerd.sock'],
  ['io.containerd.server.v1.grpc address', '/run/containerd/containerd.sock'],
  [
    'io.containerd.image-verifier.v1.bindir',
    { bin_dir: '/opt/containerd/image-verifier/bin', max_verifiers: 10, per_verifier_timeout: '10s' },
  ],
  ...['tar', 'tar+gzip'].flatMap((kind) => {
    const layer = 'application/vnd.oci.image.layer.v1';
    const at = `stream_processors io.containerd.ocicrypt.decoder.v1.${kind.replace('+', '.')}`;
    const keys = '/etc/containerd/ocicrypt';
    return [
      [`${at} accepts`, [`${layer}.${kind}+encrypted`]],
      [`${at} returns`, `${layer}.${kind}`],
      [`${at} path`, 'ctd-decoder'],
      [`${at} args`, ['--decryption-keys-path', `${keys}/keys`]],
      [`${at} env`, [`OCICRYPT_KEYPROVIDER_CONFIG=${keys}/ocicrypt_keyprovider.conf`]],
    ] as const;
  }),
  ['io.containerd.gc.v1.scheduler pause_threshold', 0.02],
  ['io.containerd.gc.v1.scheduler mutation_threshold', 100],
  ['io.containerd.gc.v1.scheduler schedule_delay', '0s'],
  ['io.containerd.gc.v1.scheduler startup_delay', '100ms'],
  ['io.containerd.internal.v1.opt path', '/opt/containerd'],
  ['io.containerd.metadata.v1.bolt content_sharing_policy', 'shared'],
  ['io.containerd.monitor.container.v1.restart interval', '10s'],
  ['io.containerd.server.v1.ttrpc address', '/run/containerd/containerd.sock.ttrpc'],
  ['io.containerd.service.v1.diff-service default', ['walking']],
  ['io.containerd.transfer.v1.local max_concurrent_uploaded_layers', 3],
  ['io.containerd.transfer.v1.local max_concurrent_unpacks', 1],
  ['timeouts io.containerd.timeout.bolt.open', '0s'],
  ['timeouts io.containerd.timeout.cri.defercleanup', '1m0s'],
  ['timeouts io.containerd.timeout.metrics.shimstats', '2s'],
  ['timeouts io.containerd.timeout.shim.cleanup', '5s'],
  ['timeouts io.containerd.timeout.shim.load', '5s'],
  ['timeouts io.containerd.timeout.shim.shutdown', '3s'],
  ['timeouts io.containerd.timeout.task.state', '2s'],
  ['io.containerd.internal.v1.restart interval', '10s'],
  ['io.containerd.internal.v1.tracing sampling_ratio', 1],
  ['io.containerd.internal.v1.tracing service_name', 'containerd'],
  ['io.containerd.runtime.v1.linux runtime', 'runc'],
  ['io.containerd.runtime.v1.linux shim', 'containerd-shim'],
  ['io.containerd.runtime.v2.task platforms', ['linux/amd64']],
  ['io.containerd.runtime.v2.task platforms', ['linux/arm64/v8']],
  ['max_concurrent_downloads', 3],
  ['selinux_category_range', 1024],
  ['image_decryption', { key_model: 'node' }],
  ['enable_criu', true],
  ['sandbox_mode', 'podsandbox'],
  ['sandboxer', 'podsandbox'],
  ['runtime enable_criu_support', true],
  ['runtime pids_limit', -1],
  ['tracing tracing_endpoint', '127.0.0.1:4317'],
  ['runtime apparmor_profile', 'crio-default'],
  ['runtime decryption_keys_path', '/etc/crio/keys/'],
  ['runtime namespaces_dir', '/var/run'],
  ['runtime irqbalance_config_file', '/etc/sysconfig/irqbalance'],
  ['runtime irqbalance_config_restore_file', '/etc/sysconfig/orig_irq_banned_cpus'],
  ['runtime container_exits_dir', '/var/run/crio/exits'],
  ['runtime container_attach_socket_dir', '/var/run/crio'],
  ['runtime minimum_mappable_uid', -1],
  ['runtime minimum_mappable_gid', -1],
  ['container_min_memory', '500KiB'],
  ['monitor_env', ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']],
  ['hostnetwork_disable_selinux', true],
  ['network cni_status_grace_period', '0s'],
];

/** Whether a value is the default that the other runtime writes into its file. */
export function isPrintedDefault(path: readonly string[], value: unknown): boolean {
  const at = ` ${path.join(' ')}`;
  return printed.some(
    ([key, usual]) => at.endsWith(` ${key}`) && JSON.stringify(usual) === JSON.stringify(value),
  );
}
