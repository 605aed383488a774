import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { builtBundle } from '../../test/fixtures/built-bundle.ts';
import { runElsewhere } from '../../test/fixtures/other-checkout.ts';
import { buildArtifacts } from './artifacts.ts';

const root = join(import.meta.dirname, '../..');
const skip = process.getuid?.() === 0 ? false : 'needs root, for a separate mount and host name';
const lacks = (program: string): string | false =>
  spawnSync(program, ['--version']).error === undefined ? false : `no ${program}: apt-get install ${program}`;

function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

describe('the packages of a release', { skip }, () => {
  let folder = '';
  let names: readonly string[] = [];
  const built = (name: string): string => join(folder, 'first', name);
  const deb = (architecture: string): string => built(`portcullis_${manifest.version}_${architecture}.deb`);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-artifacts-'));
    process.env['SOURCE_DATE_EPOCH'] = '1700000000';
    names = await buildArtifacts(join(folder, 'first'), { types: false, level: 1, built: builtBundle() });
  });
  after(() => {
    delete process.env['SOURCE_DATE_EPOCH'];
    rmSync(folder, { recursive: true, force: true });
  });

  /**
   * Builds in a copy of the sources at another path, as a user with other settings on another host. Leaves
   * out the package of one architecture, because each takes long. `npm run test:release` compares all files
   * of a release.
   */
  function buildElsewhere(): void {
    const program = `const { buildArtifacts } = await import(process.argv[1]); await buildArtifacts(process.argv[2], { types: false, level: 1, architectures: ['arm64'] });`;
    const copy = join(folder, 'a/longer path/to the/copy');
    runElsewhere(copy, program, [join(copy, 'packaging/artifacts/artifacts.ts'), join(folder, 'second')]);
  }

  it('have the same bytes from another checkout, path, umask, time zone, locale and host', () => {
    buildElsewhere();
    const compared = names.filter((name) => !name.includes('_amd64'));
    const sums = (which: string): string[] =>
      compared.map((name) => {
        const digest = createHash('sha256')
          .update(readFileSync(join(folder, which, name)))
          .digest('hex');
        return `${digest}  ${name}`;
      });
    assert.equal(names.length, 9);
    assert.equal(compared.length, 6);
    assert.deepEqual(sums('second'), sums('first'));
  });

  for (const architecture of ['amd64', 'arm64'])
    it(`dpkg-deb reads the package for ${architecture}: all files belong to root, and none can be written by others`, (t) => {
      const missing = lacks('dpkg-deb');
      if (missing !== false) return t.skip(missing);
      assert.match(
        run('dpkg-deb', '--field', deb(architecture)),
        new RegExp(`^Architecture: ${architecture}$`, 'mu'),
      );
      const lines = run('dpkg-deb', '--contents', deb(architecture)).trim().split('\n');
      for (const line of lines) assert.match(line, /^(?:[d-]rwxr-xr-x|-rw-r--r--|lrwxrwxrwx) root\/root /u);
      const paths = lines.map((line) => line.split(/\s+/u)[5]);
      for (const path of [
        './usr/bin/portcullisd',
        './lib/systemd/system/portcullisd.service',
        './lib/systemd/system-preset/60-portcullis.preset',
        './usr/share/man/man1/portcullis-verify.1.gz',
        './usr/share/man/man5/portcullis-config.5.gz',
        './usr/share/bash-completion/completions/portcullis',
        './usr/share/doc/portcullis/sbom.spdx.json',
        './usr/lib/portcullis/dist/daemon.whole.js',
      ])
        assert.ok(paths.includes(path), path);
      // Nothing enables the service, and no file of /etc is ours.
      assert.deepEqual(
        paths.filter((path) => /\.wants\/|^\.\/etc\//u.test(path ?? '')),
        [],
      );
      return undefined;
    });

  it('the package of npm runs the daemon without the programs of one file, which it lacks', () => {
    const list = run('tar', '-tzf', built(`portcullis-${manifest.version}.tgz`))
      .trim()
      .split('\n');
    assert.ok(list.includes('package/dist/portcullis.js'));
    assert.deepEqual(
      list.filter((path) => path.includes('whole')),
      [],
    );
    run('tar', '-xzf', built(`portcullis-${manifest.version}.tgz`), '-C', folder);
    const daemon = join(folder, 'package/dist/portcullisd.js');
    assert.match(run(process.execPath, daemon, '--help'), /^Usage: portcullis daemon/mu);
    // As when it executes itself again.
    assert.match(run(process.execPath, daemon, 'daemon', '--print-config'), /^socket:/mu);
  });

  it('lintian finds nothing', (t) => {
    const missing = lacks('lintian');
    if (missing !== false) return t.skip(missing);
    const { stdout } = spawnSync('lintian', ['--allow-root', '--no-cfg', deb('amd64')], { encoding: 'utf8' });
    assert.equal(stdout, '');
    return undefined;
  });

  it('the unpacked package runs, and its checksums are correct', (t) => {
    const missing = lacks('dpkg-deb');
    if (missing !== false) return t.skip(missing);
    const here = join(folder, 'unpacked');
    run('dpkg-deb', '-x', deb(process.arch === 'arm64' ? 'arm64' : 'amd64'), here);
    assert.equal(run(join(here, 'usr/bin/portcullis'), '--version').trim(), manifest.version);
    const sums = run('sh', '-c', 'dpkg-deb --ctrl-tarfile "$1" | tar -xO ./md5sums', 'sh', deb('amd64'));
    if (process.arch === 'x64')
      assert.equal(spawnSync('md5sum', ['--check', '--quiet'], { cwd: here, input: sums }).status, 0);
    return undefined;
  });

  it('the maintainer scripts accept every call that changes nothing, and refuse unknown calls', () => {
    const scripts = join(root, 'packaging/deb/scripts');
    const call = (script: string, word: string): number | null =>
      spawnSync('sh', ['-e', join(scripts, script), word, manifest.version]).status;
    for (const script of ['postinst', 'prerm', 'postrm']) assert.equal(call(script, 'unknown'), 1, script);
    assert.equal(call('prerm', 'failed-upgrade'), 0);
    for (const word of ['upgrade', 'failed-upgrade', 'abort-install', 'abort-upgrade', 'disappear'])
      assert.equal(call('postrm', word), 0, word);
  });
});
