import assert from 'node:assert/strict';
import { it } from 'node:test';
import { importConfiguration } from './import.ts';
import type { Imported } from './import.ts';

const converted = (text: string): Imported =>
  importConfiguration([{ kind: 'containerd', file: 'config.toml', text }]);
const leftOf = ({ findings }: Imported): readonly string[] =>
  findings.filter(({ outcome }) => outcome === 'left').map(({ key }) => key);

const runtimes = (text: string): string =>
  `[plugins.cri.containerd]\n${text}`.replaceAll('[runtimes', '[plugins.cri.containerd.runtimes');

it('a file that only adds a handler keeps the default handler of containerd', () => {
  const imported = converted(runtimes('[runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n'));
  assert.deepEqual(imported.settings, {
    defaultRuntime: 'runc',
    runtimes: {
      runc: { path: '/usr/sbin/runc' },
      kata: { type: 'shim', path: '/usr/local/bin/containerd-shim-kata-v2' },
    },
  });
  assert.deepEqual(leftOf(imported), []);
});

for (const [what, given, driver] of [
  ['runc, which is the default of containerd', '', 'systemd'],
  ['the default in the file', 'default_runtime_name = "nvidia"\n', 'cgroupfs'],
] as const)
  it(`of two handlers with different cgroup drivers, the default handler decides: ${what}`, () => {
    const text = `${given}[runtimes.runc.options]\nSystemdCgroup = true\n[runtimes.nvidia.options]\nBinaryName = "/opt/nvidia"\nSystemdCgroup = false\n`;
    const imported = converted(runtimes(text));
    assert.equal(imported.settings['cgroupDriver'], driver);
    const other = driver === 'systemd' ? 'nvidia' : 'runc';
    assert.deepEqual(leftOf(imported), [`plugins.cri.containerd.runtimes.${other}.options.SystemdCgroup`]);
  });

it('a program that containerd finds in PATH gets an absolute path, which is to be checked', () => {
  const imported = converted(
    runtimes(
      '[runtimes.runc.options]\nBinaryName = "crun"\n[runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\noptions = { BinaryName = "kata-runtime" }\n',
    ),
  );
  assert.deepEqual(imported.settings['runtimes'], {
    runc: { path: '/usr/bin/crun' },
    kata: {
      type: 'shim',
      path: '/usr/local/bin/containerd-shim-kata-v2',
      runtimePath: '/usr/bin/kata-runtime',
    },
  });
  assert.deepEqual(
    leftOf(imported),
    ['runc', 'kata'].map((name) => `plugins.cri.containerd.runtimes.${name}.options.BinaryName`),
  );
});

it('the path of a deprecated endpoint is the root of its API, as of a proxy cache', () => {
  const text =
    '[plugins.cri.registry.mirrors."docker.io"]\nendpoint = ["https://harbor.test/v2/hub", "https://registry-1.docker.io"]\n';
  const imported = converted(text);
  assert.deepEqual(imported.settings, {
    registries: { mirrors: { 'docker.io': { url: 'https://harbor.test/hub', origin: true } } },
  });
  assert.deepEqual(leftOf(imported), []);
});

it('the authority of a registry is imported even if its certificate was not verified', () => {
  const imported = converted(
    '[plugins.cri.registry.configs."a.test".tls]\ninsecure_skip_verify = true\nca_file = "/etc/a.pem"\n',
  );
  assert.deepEqual(imported.settings, { registries: { tls: { 'a.test': { ca: ['/etc/a.pem'] } } } });
  assert.deepEqual(leftOf(imported), ['plugins.cri.registry.configs."a.test".tls.insecure_skip_verify']);
});

it('the import reports that Portcullis uses AppArmor on a node that turned it off', () => {
  const text = (off: boolean): string =>
    `version = 3\n[plugins.'io.containerd.cri.v1.runtime']\ndisable_apparmor = ${off}\n`;
  assert.deepEqual(leftOf(converted(text(true))), [
    `plugins."io.containerd.cri.v1.runtime".disable_apparmor`,
  ]);
  assert.deepEqual(leftOf(converted(text(false))), []);
});

it('both names of the level warn are known', () => {
  for (const level of ['warn', 'warning'])
    assert.deepEqual(converted(`version = 3\n[debug]\nlevel = '${level}'\n`).settings, { logLevel: 'warn' });
});
