import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import manifest from '../../package.json' with { type: 'json' };
import { aptRepository } from '../../packaging/deb/apt-repository.ts';
import { signRelease } from '../../packaging/deb/sign-release.ts';
import { buildArtifacts, releaseTime } from '../../packaging/artifacts/artifacts.ts';
import { portcullis } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { makeKey } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { bootMachine, readInside, release, snapshot, whyNoMachine, writeInside } from './machine.ts';
import type { Machine } from './machine.ts';

const crictl = findTool('crictl');
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const unit = 'portcullisd.service';
const next = `${manifest.version}+1`;
const image = 'registry.example.com/team/app:1';
/** The files that apt, dpkg and systemd themselves write when packages are installed and removed. */
const ofTheSystem =
  /^\/(?:var\/(?:lib\/(?:apt|dpkg|systemd)|log|cache)(?:\/|$)|etc\/(?:ld\.so\.cache|apt\/sources\.list\.d|\.pwd\.lock)|srv|root|usr\/local\/bin|run\/(?!portcullis))/u;

describe(`the Debian package on a clean ${release.title}`, { skip: whyNoMachine() || crictl.skip }, () => {
  let folder = '';
  let machine: Machine;
  let clean: Map<string, string>;
  let installed: ReadonlySet<string>;
  /** Units of the system that cannot start in a container. */
  let failedBefore = '';
  const failedUnits = (): string => machine.run('systemctl', '--failed', '--no-legend').trim();
  const packages = (): ReadonlySet<string> =>
    new Set(machine.run('dpkg-query', '-W', '-f', '${Package}\n').trim().split('\n'));

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-deb-suite-'));
    machine = await bootMachine();
    await buildArtifacts(join(folder, 'built'), { types: false, architectures: [architecture] });
    process.env['GNUPGHOME'] = join(folder, 'gnupg');
    mkdirSync(process.env['GNUPGHOME'], { mode: 0o700 });
    const user = 'Release <release@example.com>';
    execFileSync('gpg', ['--batch', '--quiet', '--passphrase', '', '--quick-generate-key', user, 'ed25519']);
    await publishImage(folder);
    copyFileSync(crictl.path, join(machine.root, 'usr/local/bin/crictl'));
    for (const name of ['app.tar', 'cosign.pub'])
      copyFileSync(join(folder, name), join(machine.root, 'root', name));
    writeInside(
      machine,
      'root/pod.json',
      JSON.stringify({
        metadata: { name: 'web', namespace: 'default', uid: 'web-1', attempt: 0 },
        log_directory: '/var/log/pods/web',
        linux: {},
      }),
    );
    writeInside(
      machine,
      'root/container.json',
      JSON.stringify({
        metadata: { name: 'web', attempt: 0 },
        image: { image },
        command: ['sleep', '3600'],
        log_path: 'web.log',
        linux: {},
      }),
    );
    clean = snapshot(machine, ofTheSystem);
    failedBefore = failedUnits();
    installed = packages();
  });
  after(async () => {
    execFileSync('gpgconf', ['--kill', 'all']);
    await machine.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const active = (): string => machine.try('systemctl', 'is-active', unit).output.trim();
  const daemonPid = (): string => machine.run('systemctl', 'show', '--value', '-p', 'MainPID', unit).trim();
  const cri = (...words: string[]): string =>
    machine.run('crictl', '-r', 'unix:///run/portcullis/portcullis.sock', '-t', '60s', ...words);
  const containers = (): string => cri('ps', '--quiet').trim();
  /** The process in the container, also when no daemon runs. */
  const sleeping = (): string => machine.try('pgrep', '-x', 'sleep').output.trim();

  /** Offers packages in the signed repository of the machine. */
  async function offer(...debs: readonly string[]): Promise<void> {
    const files = await aptRepository(
      debs.map((path) => ({ name: path.split('/').at(-1) ?? '', bytes: readFileSync(path) })),
      releaseTime(),
    );
    rmSync(join(machine.root, 'srv/apt'), { recursive: true, force: true });
    for (const { path, content } of [...files, ...signRelease(files, 'release@example.com')]) {
      mkdirSync(dirname(join(machine.root, 'srv/apt', path)), { recursive: true });
      if ('bytes' in content) writeFileSync(join(machine.root, 'srv/apt', path), content.bytes);
    }
    writeInside(
      machine,
      'etc/apt/sources.list.d/portcullis.sources',
      'Types: deb\nURIs: file:/srv/apt\nSuites: stable\nComponents: main\nSigned-By: /srv/apt/portcullis-archive-keyring.asc\n',
    );
  }
  const update = (): { status: number | null; output: string } =>
    machine.try(
      ...['apt-get', '-q', '-o', 'Dir::Etc::sourcelist=sources.list.d/portcullis.sources'],
      ...['-o', 'Dir::Etc::sourceparts=-', '-o', 'APT::Get::List-Cleanup=0', 'update', '--error-on=any'],
    );
  const apt = (...words: string[]): string =>
    machine.run('apt-get', '-q', '-y', '--no-install-recommends', ...words);

  it('apt refuses the repository when one byte of its index differs', async () => {
    await offer(join(folder, `built/portcullis_${manifest.version}_${architecture}.deb`));
    const file = `srv/apt/dists/stable/InRelease`;
    const right = readInside(machine, file);
    writeInside(machine, file, right.replace('Label: Portcullis', 'Label: Portcullix'));
    const { status, output } = update();
    assert.notEqual(status, 0, output);
    assert.match(output, /BADSIG|signature/iu);
    writeInside(machine, file, right);
  });

  it('installs, and neither enables nor starts the service', () => {
    const { status, output } = update();
    assert.equal(status, 0, output);
    apt('install', 'portcullis');
    assert.equal(machine.run('portcullis', '--version').trim(), manifest.version);
    assert.equal(machine.try('systemctl', 'is-enabled', unit).output.trim(), 'disabled');
    assert.equal(active(), 'inactive');
    assert.equal(machine.run('dpkg', '--verify', 'portcullis'), '');
    assert.equal(machine.try('test', '-e', '/etc/portcullis').status, 1);
  });

  it('serves crictl, and runs a signed image, once the administrator enables it', () => {
    machine.run('portcullis', 'setup', '--images', 'registry.example.com/team/**', '--yes');
    machine.run('cp', '/root/cosign.pub', '/etc/portcullis/policy/cosign.pub');
    machine.run('systemctl', 'enable', '--now', unit);
    assert.equal(active(), 'active');
    assert.match(cri('version'), /RuntimeName: {2}portcullis/u);
    machine.run('systemctl', 'reload', unit);
    machine.run('portcullis', 'images', 'import', '/root/app.tar', image);
    cri('run', '--no-pull', '/root/container.json', '/root/pod.json');
    assert.match(containers(), /^[0-9a-f]{64}$/u);
    assert.match(sleeping(), /^\d+$/u);
  });

  it('an upgrade restarts the running daemon, and containers continue to run', async () => {
    const [before, container, process_] = [daemonPid(), containers(), sleeping()];
    const old = join(folder, `built/portcullis_${manifest.version}_${architecture}.deb`);
    await offer(old, repacked(old));
    assert.equal(update().status, 0);
    apt('install', 'portcullis');
    assert.equal(machine.run('dpkg-query', '-W', '-f', '${Version}', 'portcullis'), next);
    assert.equal(active(), 'active');
    assert.notEqual(daemonPid(), before);
    assert.equal(containers(), container);
    assert.equal(sleeping(), process_);
    assert.equal(machine.try('systemctl', 'is-enabled', unit).output.trim(), 'enabled');
  });

  it('an upgrade leaves a stopped service stopped', () => {
    machine.run('systemctl', 'stop', unit);
    apt('install', '--reinstall', 'portcullis');
    assert.equal(active(), 'inactive');
    machine.run('systemctl', 'start', unit);
  });

  it('a removal stops the daemon, and keeps data, configuration and containers', () => {
    const process_ = sleeping();
    apt('remove', 'portcullis');
    assert.notEqual(active(), 'active');
    assert.equal(machine.try('test', '-e', '/usr/bin/portcullis').status, 1);
    for (const path of ['/var/lib/portcullis/state.db', '/etc/portcullis/policy/policy.yaml'])
      assert.equal(machine.try('test', '-e', path).status, 0, path);
    assert.equal(sleeping(), process_);
  });

  it('an installation after a removal continues with the existing data', () => {
    apt('install', 'portcullis');
    machine.run('systemctl', 'start', unit);
    assert.match(containers(), /^[0-9a-f]{64}$/u);
  });

  it('a purge ends the remaining processes, and leaves nothing', () => {
    apt('purge', 'portcullis');
    assert.equal(sleeping(), '');
    assert.equal(machine.try('pgrep', '-x', 'conmon').output, '');
    // Removes its dependencies, but not the files that it left.
    apt('purge', ...[...packages()].filter((name) => !installed.has(name)));
    const left = snapshot(machine, ofTheSystem);
    assert.deepEqual(
      [...left].filter(([path, what]) => clean.get(path) !== what).map(([path]) => path),
      [],
    );
    assert.deepEqual(
      [...clean.keys()].filter((path) => !left.has(path)),
      [],
    );
    for (const path of ['/var/lib/portcullis', '/var/cache/portcullis', '/run/portcullis'])
      assert.equal(machine.try('test', '-e', path).status, 1, path);
    assert.doesNotMatch(readInside(machine, 'var/lib/dpkg/status'), /^Package: portcullis$/mu);
    assert.doesNotMatch(machine.run('cat', '/proc/1/mountinfo'), /portcullis/u);
    assert.equal(failedUnits(), failedBefore);
  });

  /** Returns the same package as a later version, made by Debian's own tool. */
  function repacked(deb: string): string {
    const tree = join(folder, 'repacked');
    execFileSync('dpkg-deb', ['-R', deb, tree]);
    const control = join(tree, 'DEBIAN/control');
    writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*$/mu, `Version: ${next}`));
    const file = join(folder, `portcullis_${next}_${architecture}.deb`);
    execFileSync('dpkg-deb', ['-Zgzip', '-z1', '--root-owner-group', '-b', tree, file], { stdio: 'ignore' });
    return file;
  }
});

/** Writes an image with its signature, as `images export` does, and the key that signed it. */
async function publishImage(folder: string): Promise<void> {
  const registry = await startRegistry();
  const client = createRegistryClient({ tagSettleMs: 0 });
  try {
    const [repository] = client.repositories({ registry: registry.host, repository: 'team/app' });
    assert.ok(repository);
    await pushImage(repository, await buildImage(), '1');
    await makeKey(join(folder, 'cosign.key'), join(folder, 'cosign.pub'));
    const there = `${registry.host}/team/app:1`;
    const identity = ['--identity', 'registry.example.com/team/app'];
    for (const words of [
      ['sign', there, '--key', join(folder, 'cosign.key'), ...identity],
      ['images', 'export', there, join(folder, 'app.tar')],
    ]) {
      const { code, output } = await portcullis(words);
      assert.equal(code, 0, output);
    }
  } finally {
    await client.close();
    await registry.close();
  }
}
