import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'smol-toml';
import { loadDaemonConfig } from '../load.ts';
import { hostFoldersOf, importConfiguration } from './import.ts';

const containerd = `version = 3
root = '/mnt/containerd'
[grpc]
  address = '/run/k3s/containerd/containerd.sock'
[metrics]
  address = '127.0.0.1:1338'
[debug]
  level = 'loud'
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'
[plugins.'io.containerd.cri.v1.images'.registry.configs.'a.test'.auth]
  password = 'geheim'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.k8s.io/pause:3.10'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  cgroup_writable = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = '/opt/runc'
    SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]
  runtime_type = 'io.containerd.kata.v2'
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin', '/usr/lib/cni']
  conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_port = '10010'
  stream_idle_timeout = '4h0m0s'
  some_future_key = 1
`;

const crio = `[crio]
root = "/var/lib/containers/storage"
[crio.api]
listen = "/var/run/crio/crio.sock"
stream_port = "0"
[crio.runtime]
default_runtime = "crun"
cgroup_manager = "systemd"
hooks_dir = ["/usr/share/containers/oci/hooks.d"]
default_sysctls = ["net.ipv4.ping_group_range=0 0", "kernel.shmmax = 1000"]
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_type = "oci"
[crio.image]
insecure_registries = ["localhost:5000"]
signature_policy = "/etc/containers/policy.json"
[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/opt/cni/bin/"]
[crio.metrics]
enable_metrics = true
metrics_port = 9537
`;

async function load(settings: object): ReturnType<typeof loadDaemonConfig> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-import-'));
  try {
    writeFileSync(join(folder, 'config.yaml'), JSON.stringify(settings));
    return await loadDaemonConfig({ file: join(folder, 'config.yaml') });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the configuration of another runtime', () => {
  for (const [given, wanted] of [
    [1, undefined],
    [2, 2],
    [0, 16],
    [17, undefined],
  ] as const)
    it(`of containerd with max_conf_num = ${given}`, () => {
      const text = `version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nmax_conf_num = ${given}\n`;
      const { settings, findings } = importConfiguration([{ kind: 'containerd', file: 'config.toml', text }]);
      assert.deepEqual(settings['network'], wanted === undefined ? undefined : { maxConfigs: wanted });
      const outcome = findings.find(({ key }) => key.endsWith('max_conf_num'))?.outcome;
      assert.equal(outcome, { 1: 'inherent', 17: 'left' }[given as number] ?? 'taken');
    });
  it('of containerd', async () => {
    const { settings, findings } = importConfiguration([
      { kind: 'containerd', file: 'config.toml', text: containerd },
    ]);
    assert.deepEqual(settings, {
      metrics: { address: '127.0.0.1:1338' },
      defaultRuntime: 'runc',
      runtimes: {
        runc: { path: '/opt/runc', writableCgroups: true },
        kata: { type: 'shim', path: '/usr/local/bin/containerd-shim-kata-v2' },
      },
      cgroupDriver: 'systemd',
      cni: { binDirs: ['/opt/cni/bin', '/usr/lib/cni'], confDir: '/etc/cni/net.d' },
      streaming: { port: 10010, idleTimeout: 14400 },
    });
    assert.equal((await load(settings)).runtimes['runc']?.path, '/opt/runc');
    const left = findings.filter(({ outcome }) => outcome === 'left').map(({ key }) => key);
    for (const key of ['root', 'grpc.address', 'some_future_key', 'debug.level'])
      assert.ok(
        left.some((one) => one.endsWith(key)),
        key,
      );
    assert.ok(!JSON.stringify({ settings, findings }).includes('geheim'), 'no password is repeated');
    assert.deepEqual(hostFoldersOf(containerd, 'config.toml'), [
      '/etc/containerd/certs.d',
      '/etc/docker/certs.d',
    ]);
  });

  it('of CRI-O', async () => {
    const { settings, findings } = importConfiguration([{ kind: 'crio', file: 'crio.conf', text: crio }]);
    const loaded = await load(settings);
    assert.deepEqual(
      [loaded.defaultRuntime, loaded.cgroupDriver, loaded.metrics.address, loaded.registries.insecure],
      ['crun', 'systemd', '127.0.0.1:9537', ['localhost:5000']],
    );
    assert.deepEqual(loaded.sysctls, { 'net.ipv4.ping_group_range': '0 0', 'kernel.shmmax': '1000' });
    const policy = findings.find(({ key }) => key === 'crio.image.signature_policy');
    assert.equal(policy?.outcome, 'left', 'a policy is never imported without review');
  });

  it('of containerd and CRI-O: shims, plugins of the node, and certificates of registries', async () => {
    const nri = { enabled: true, socket: '/run/nri.sock', registrationTimeout: 5000, requestTimeout: 2500 };
    const shim = { type: 'shim', path: '/opt/kata/shim', configPath: '/opt/kata.toml' };
    const containerdText = `version = 3
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  disable_connections = false
  socket_path = '/run/nri.sock'
  plugin_registration_timeout = '5s'
  plugin_request_timeout = '2500ms'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]
  runtime_type = 'io.containerd.kata.v2'
  runtime_path = '/opt/kata/shim'
  options = { ConfigPath = '/opt/kata.toml' }
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gvisor]
  runtime_type = 'io.containerd.runsc.v1'
  options = { BinaryName = '/opt/runsc' }
[plugins.'io.containerd.cri.v1.images'.registry.configs.'a.test:5000'.tls]
  ca_file = '/etc/a.pem'
[plugins.'io.containerd.cri.v1.images'.registry.configs.'b.test'.tls]
  insecure_skip_verify = true
`;
    const fromContainerd = importConfiguration([{ kind: 'containerd', file: 'c', text: containerdText }]);
    assert.deepEqual(fromContainerd.settings, {
      nri,
      runtimes: {
        runc: { path: '/usr/sbin/runc' },
        kata: shim,
        gvisor: {
          type: 'shim',
          path: '/usr/local/bin/containerd-shim-runsc-v1',
          runtimePath: '/opt/runsc',
        },
      },
      defaultRuntime: 'runc',
      registries: { tls: { 'a.test:5000': { ca: ['/etc/a.pem'] } } },
    });
    assert.deepEqual(
      fromContainerd.findings.filter(({ outcome }) => outcome === 'left').map(({ note }) => note),
      ['the certificate of a registry is always verified: add its authority to `registries.tls`'],
    );
    const crioText = `[crio.nri]
enable_nri = true
nri_disable_connections = true
nri_listen = "/run/nri.sock"
nri_plugin_registration_timeout = "5s"
[crio.runtime.runtimes.kata]
runtime_type = "vm"
runtime_path = "/opt/kata/shim"
runtime_config_path = "/opt/kata.toml"
[crio.runtime.runtimes.other]
runtime_type = "vm"
`;
    const fromCrio = importConfiguration([{ kind: 'crio', file: 'c', text: crioText }]);
    assert.deepEqual(fromCrio.settings['nri'], { enabled: true, socket: '', registrationTimeout: 5000 });
    assert.deepEqual(fromCrio.settings['runtimes'], { crun: { path: '/usr/bin/crun' }, kata: shim });
    assert.equal((await load(fromCrio.settings)).runtimes['kata']?.path, '/opt/kata/shim');
  });

  it('of containerd and CRI-O: each key of a runtime that has no setting is reported with its path', () => {
    const containerdText = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  base_runtime_spec = ''
  cni_max_conf_num = 0
  pod_annotations = []
  container_annotations = ['run.oci.handler']
  privileged_without_host_devices = true
  some_future_key = 'x'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = '/opt/runc'
    NoPivotRoot = true
    Root = '/run/other'
    CriuImagePath = ''
`;
    const crioText = `[crio.runtime.runtimes.crun]
runtime_path = "/opt/crun"
allowed_annotations = ["io.kubernetes.cri-o.Devices"]
privileged_without_host_devices = false
monitor_env = ["PATH=/bin"]
`;
    const left = (kind: 'containerd' | 'crio', text: string): readonly (readonly [string, string])[] =>
      importConfiguration([{ kind, file: 'c', text }])
        .findings.filter(({ outcome }) => outcome === 'left')
        .map(({ key, note }) => [key.replace(/^.*runtimes\./u, ''), note] as const);
    const annotations = 'a pod cannot change its handler by annotations; requests that do so have no effect';
    const none = 'Portcullis has no such setting';
    assert.deepEqual(left('containerd', containerdText), [
      ['runc.container_annotations', annotations],
      [
        'runc.privileged_without_host_devices',
        'an EntitlementProfile lists the devices of the host that a container has',
      ],
      ['runc.some_future_key', none],
      ['runc.options.NoPivotRoot', none],
      ['runc.options.Root', 'the state of a runtime is in the folder `state`'],
    ]);
    assert.deepEqual(left('crio', crioText), [
      ['crun.allowed_annotations', annotations],
      ['crun.monitor_env', none],
    ]);
  });

  it('with values that are not valid in Portcullis: they are omitted and reported, and the rest loads', async () => {
    const text =
      '[plugins.cri]\nstream_server_port = "many"\nstream_server_address = "127.0.0.1"\n[metrics]\naddress = 7\n';
    const { settings, findings } = importConfiguration([{ kind: 'containerd', file: 'c', text }]);
    assert.deepEqual(settings, { streaming: { address: '127.0.0.1' } });
    assert.equal(findings.filter(({ file }) => file === 'config.yaml').length, 2);
    await load(settings);
  });

  it('of containerd: the owner of the socket may connect, and other differences are reported', () => {
    const text =
      "version = 4\n[grpc]\nuid = 0\ngid = 1000\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n" +
      "image_pull_progress_timeout = '5m0s'\ndiscard_unpacked_layers = true\n[plugins.'io.containerd.server.v1.metrics']\naddress = '127.0.0.1:1338'\n";
    const { settings, findings } = importConfiguration([{ kind: 'containerd', file: 'c', text }]);
    assert.deepEqual(settings, { peers: { gids: [1000] }, metrics: { address: '127.0.0.1:1338' } });
    const outcomes: Record<string, string> = Object.fromEntries(
      findings.map(({ key, outcome }) => [key.split('.').at(-1) ?? '', outcome]),
    );
    assert.deepEqual(outcomes, {
      version: 'inherent',
      uid: 'inherent',
      gid: 'taken',
      snapshotter: 'inherent',
      image_pull_progress_timeout: 'inherent',
      discard_unpacked_layers: 'left',
      address: 'taken',
    });
  });

  for (const [what, kind, text, runtimes, defaultRuntime] of [
    [
      'the default of containerd, which the file does not contain',
      'containerd',
      table('runc', 'BinaryName = "/opt/runc"'),
      ['runc'],
      'runc',
    ],
    [
      'the default of containerd beside another handler',
      'containerd',
      table('crun', '') + table('runc', ''),
      ['crun', 'runc'],
      'runc',
    ],
    [
      'a handler that was not imported',
      'containerd',
      'plugins.x.containerd.default_runtime_name = "kata"\n' + table('one', ''),
      ['one', 'runc'],
      'runc',
    ],
    [
      'no handler at all',
      'containerd',
      'plugins.x.containerd.default_runtime_name = "kata"\n',
      ['crun', 'runc'],
      'crun',
    ],
    [
      'the default of CRI-O, which is also our default',
      'crio',
      '[crio.runtime.runtimes.crun]\nruntime_path = "/opt/crun"\n',
      ['crun'],
      'crun',
    ],
    ['another alone', 'crio', '[crio.runtime.runtimes.runc]\nruntime_path = "/opt/runc"\n', ['runc'], 'runc'],
  ] as const)
    it(`has a default handler that exists: ${what}`, async () => {
      const { settings } = importConfiguration([{ kind, file: 'c', text }]);
      const loaded = await load(settings);
      assert.deepEqual(
        [Object.keys(loaded.runtimes).sort(), loaded.defaultRuntime],
        [runtimes, defaultRuntime],
      );
    });

  it('with a password in an address: no finding contains it', () => {
    const address = 'https://user:hunter2@m.test';
    const { settings, findings } = importConfiguration([
      {
        file: 'config.toml',
        kind: 'containerd',
        text: `[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["${address}"]\n`,
      },
      { file: 'hosts.toml', kind: 'hosts', host: 'r.test', text: `[host."${address}"]\n` },
    ]);
    const printed = JSON.stringify([settings, findings]);
    assert.doesNotMatch(printed, /hunter2/u);
    assert.equal(printed.split('https://…@m.test').length, 3, printed);
  });

  it('that is not TOML', () => {
    assert.throws(() => importConfiguration([{ kind: 'crio', file: 'x', text: 'a = 1\n[crio' }]), {
      code: 'CONFIG_IMPORT_UNREADABLE',
      message: /x:2:\d+: /u,
    });
  });

  it('reports every key, whatever the file contains', () => {
    const leaf = fc.oneof(
      fc.string(),
      fc.integer({ min: -1000, max: 1000 }),
      fc.boolean(),
      fc.array(fc.string(), { maxLength: 3 }),
    );
    const name = fc.oneof(
      fc.constantFrom(
        'cni',
        'crio',
        'runtime',
        'conf_dir',
        'runtimes',
        'metrics',
        '__proto__',
        'constructor',
      ),
      fc.string({ minLength: 1 }),
    );
    const table = fc.letrec((tie) => ({
      node: fc.dictionary(name, fc.oneof({ maxDepth: 3 }, leaf, tie('node')), { maxKeys: 4 }),
    })).node;
    fc.assert(
      fc.property(table, fc.constantFrom('containerd', 'crio', 'hosts', 'registries'), (value, kind) => {
        const { findings, settings } = importConfiguration([
          { kind: kind, file: 'f', text: stringify(value), host: 'h' },
        ]);
        assert.equal(Object.getPrototypeOf(settings), Object.prototype);
        assert.ok(
          findings.length >= leaves(value) ||
            Object.keys(settings).length > 0 ||
            findings.some(({ outcome }) => outcome !== 'taken'),
        );
      }),
      { numRuns: 200 },
    );
  });
});

function table(handler: string, options: string): string {
  const path = `plugins.x.containerd.runtimes.${handler}`;
  return `[${path}]\nruntime_type = "io.containerd.runc.v2"\n[${path}.options]\n${options}\n`;
}

function leaves(value: unknown): number {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 1;
  return Object.values(value).reduce((sum: number, one) => sum + leaves(one), 0);
}
