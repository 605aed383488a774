import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { parse } from 'yaml';
import { portcullis } from '../test/fixtures/command.ts';

/** Writes these files into a folder, and imports the first one. */
async function importFirst(
  t: TestContext,
  files: (folder: string) => Readonly<Record<string, string>>,
): Promise<{ readonly folder: string; readonly code: number | null; readonly config: unknown }> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-config-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files(folder))) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const [first = ''] = Object.keys(files(folder));
  const { code, stdout } = await portcullis(['config', 'import', join(folder, first)]);
  return { folder, code, config: parse(stdout) };
}

const withRoots = (...roots: readonly string[]): string =>
  `version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '${roots.join(':')}'\n`;

it('config import: the certificates of a registry without a hosts.toml are imported', async (t) => {
  const { folder, code, config } = await importFirst(t, (root) => ({
    'config.toml': withRoots(`${root}/certs.d`),
    'certs.d/a.test/ca.crt': '',
    'certs.d/a.test/own.cert': '',
    'certs.d/a.test/own.key': '',
    'certs.d/b.test_5000_/hosts.toml': '',
    'certs.d/b.test_5000_/ca.crt': '',
    'certs.d/c.test/README': '',
  }));
  const at = join(folder, 'certs.d');
  assert.deepEqual(config, {
    registries: {
      tls: {
        'a.test': { ca: [`${at}/a.test/ca.crt`], cert: `${at}/a.test/own.cert`, key: `${at}/a.test/own.key` },
        'b.test:5000': { ca: [`${at}/b.test_5000_/ca.crt`] },
      },
    },
  });
  assert.equal(code, 0);
});

it('config import: the first folder with a registry has its settings, as for containerd', async (t) => {
  const { config } = await importFirst(t, (root) => ({
    'config.toml': withRoots(`${root}/one`, `${root}/two`),
    'one/a.test/hosts.toml': '[host."https://first.test"]\n',
    'two/a.test/hosts.toml': '[host."https://second.test"]\n',
    'two/b.test/hosts.toml': '[host."https://second.test"]\n',
  }));
  assert.deepEqual(config, {
    registries: {
      mirrors: {
        'a.test': { url: 'https://first.test', origin: true },
        'b.test': { url: 'https://second.test', origin: true },
      },
    },
  });
});

it('config import: the imports of a config.toml are imported after it', async (t) => {
  const options = "[plugins.'io.containerd.cri.v1.runtime'.cni]\n";
  const { code, config } = await importFirst(t, () => ({
    'config.toml': `version = 3\nimports = ['conf.d/*.toml']\n${options}conf_dir = '/first'\nbin_dirs = ['/bin']\n`,
    'conf.d/1.toml': `version = 3\nimports = ['../more.toml']\n${options}conf_dir = '/second'\n`,
    'conf.d/2.txt': 'not TOML',
    'more.toml': `version = 3\nimports = ['config.toml']\n${options}conf_dir = '/third'\n`,
  }));
  assert.deepEqual(config, { cni: { confDir: '/third', binDirs: ['/bin'] } });
  assert.equal(code, 0);
});

it('config import: an import that matches no file is reported', async (t) => {
  const { folder } = await importFirst(t, () => ({
    'config.toml': "version = 3\nimports = ['conf.d/*.toml']\n",
  }));
  const { code, stdout } = await portcullis(['config', 'import', join(folder, 'config.toml')]);
  assert.equal(code, 0);
  assert.ok(stdout.includes(`imports: no file matches ${folder}/conf.d/*.toml\n`), stdout);
});

it('config import: the folder crio.conf.d beside a crio.conf is imported after it', async (t) => {
  const { code, config } = await importFirst(t, () => ({
    'crio.conf': '[crio.runtime]\ncgroup_manager = "systemd"\nlog_level = "debug"\n',
    'crio.conf.d/10-driver': '[crio.runtime]\ncgroup_manager = "cgroupfs"\n',
    'crio.conf.d/20-empty.conf': '# nothing\n',
    'crio.conf.d/30-kata.conf':
      '[crio.runtime.runtimes.kata]\nruntime_type = "vm"\nruntime_path = "/opt/kata"\n',
  }));
  assert.deepEqual(config, {
    cgroupDriver: 'cgroupfs',
    logLevel: 'debug',
    defaultRuntime: 'crun',
    runtimes: { crun: { path: '/usr/bin/crun' }, kata: { type: 'shim', path: '/opt/kata' } },
  });
  assert.equal(code, 0);
});

it('config import: a folder whose settings are in another folder is refused', async (t) => {
  const { folder } = await importFirst(t, () => ({
    'crio.conf.d/10-crio.conf': '[crio.runtime]\ncgroup_manager = "systemd"\n',
    'policy.json': '{}',
  }));
  const { code, stderr } = await portcullis(['config', 'import', folder]);
  assert.equal(code, 2);
  assert.match(stderr, /crio\.conf\.d.*CONFIG_IMPORT_UNREADABLE/su);
});

it('config import: a folder of hosts.toml that this machine lacks is named', async (t) => {
  const { folder } = await importFirst(t, (root) => ({ 'config.toml': withRoots(`${root}/certs.d`) }));
  const { code, stdout } = await portcullis(['config', 'import', join(folder, 'config.toml')]);
  assert.equal(code, 0);
  assert.ok(stdout.includes(`${folder}/certs.d does not exist on this machine`), stdout);
});

it('config import: an empty folder beside other paths is named, and alone it is refused', async (t) => {
  const { folder } = await importFirst(t, () => ({ 'config.toml': 'version = 3\n' }));
  const hosts = join(folder, 'certs.d');
  mkdirSync(hosts);
  const both = await portcullis(['config', 'import', join(folder, 'config.toml'), hosts]);
  assert.equal(both.code, 0);
  assert.ok(both.stdout.includes(`${hosts}: the folder is empty\n`), both.stdout);
  assert.equal((await portcullis(['config', 'import', hosts])).code, 2);
});

it('config import: a configuration that sets nothing is answered by a comment, not by silence', async (t) => {
  const { folder } = await importFirst(t, () => ({ 'crio.conf': '[crio]\n' }));
  const { code, stdout } = await portcullis(['config', 'import', join(folder, 'crio.conf')]);
  assert.deepEqual([code, stdout], [0, '# Nothing to import: the defaults of Portcullis apply.\n']);
});
