import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { layOut } from '../../packaging/package.ts';

/**
 * The node installer with a real systemd and a real daemon. systemd and this file are in one mount namespace
 * that ends with them (test/vm/systemd-here), so nothing of this machine is changed.
 */
const root = join(import.meta.dirname, '../..');
const unit = 'portcullisd.service';
const isApart = process.env['SYSTEMD_HERE'] !== undefined;

describe(
  'the node installer asks systemd only for what its options name',
  { skip: !isApart && 'no systemd' },
  () => {
    let folder = '';
    const host = (): string => join(folder, 'host');
    const payload = (): string => join(folder, 'payload');
    const installer = (...words: readonly string[]) =>
      spawnSync(
        process.execPath,
        [
          join(root, 'packaging/oci/installer/main.ts'),
          ...[...words, '--host', host(), '--payload', payload()],
        ],
        { encoding: 'utf8' },
      );
    const succeeds = (...words: readonly string[]): string => {
      const { status, stdout, stderr } = installer(...words);
      assert.equal(status, 0, `${stdout}${stderr}${log()}`);
      return stdout;
    };
    const systemctl = (...words: readonly string[]): string =>
      spawnSync('systemctl', words, { encoding: 'utf8' }).stdout.trim();
    const log = (): string => systemctl('status', '--full', '--lines=20', unit);
    const pid = (): string => systemctl('show', '--value', '--property=MainPID', unit);
    const versions = (): readonly string[] => readdirSync('/opt/portcullis/versions');
    /** Another version of the payload. */
    function change(version: string): void {
      const file = join(payload(), 'package.json');
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as object;
      writeFileSync(file, JSON.stringify({ ...manifest, version }));
    }

    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'pc-installer-systemd-'));
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]);
      for (const path of ['etc', 'opt', 'usr/local', 'var/lib']) {
        const [upper, work] = ['upper', 'work'].map((name) => join(folder, name, path));
        for (const one of [upper, work]) mkdirSync(one ?? '', { recursive: true });
        const options = `lowerdir=/${path},upperdir=${upper},workdir=${work}`;
        execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, `/${path}`]);
      }
      await layOut(payload(), { types: false, isWhole: true });
      for (const name of readdirSync(join(root, 'node_modules')).filter((one) =>
        one.startsWith('node-linux-'),
      ))
        cpSync(join(root, 'node_modules', name, 'bin'), join(payload(), 'node_modules', name, 'bin'), {
          recursive: true,
          dereference: true,
        });
      cpSync(join(root, 'node_modules/@koromix'), join(payload(), 'node_modules/@koromix'), {
        recursive: true,
        dereference: true,
      });
      mkdirSync(host());
      execFileSync('mount', ['--rbind', '/', host()]);
    });

    it('puts the unit in place, and neither enables nor starts it', () => {
      assert.match(succeeds('install'), /^installed /u);
      assert.equal(systemctl('is-enabled', unit), 'disabled');
      assert.equal(systemctl('is-active', unit), 'inactive');
      assert.equal(systemctl('show', '--value', '--property=LoadState', unit), 'loaded');
    });

    it('enables and starts the daemon once, when both are requested', () => {
      succeeds('install', '--enable', '--start');
      assert.equal(systemctl('is-enabled', unit), 'enabled');
      assert.equal(systemctl('is-active', unit), 'active', log());
      const before = pid();
      assert.match(succeeds('install', '--enable', '--start', '--restart'), /is installed already/u);
      assert.equal(pid(), before);
    });

    it('leaves a running daemon on its version, which stays on the disk', () => {
      const before = pid();
      change('9.0.0');
      succeeds('install');
      assert.equal(pid(), before);
      assert.equal(versions().length, 2);
    });

    it('restarts a running daemon for new files, and then removes the old ones', () => {
      const before = pid();
      change('9.0.1');
      succeeds('install', '--restart');
      assert.notEqual(pid(), before);
      assert.equal(systemctl('is-active', unit), 'active', log());
      succeeds('install');
      assert.equal(versions().length, 1);
      assert.match(versions()[0] ?? '', /^9\.0\.1-/u);
    });

    it('refuses the removal while the daemon runs, and removes everything after a stop', () => {
      const { status, stderr } = installer('remove');
      assert.equal(status, 4);
      assert.match(stderr, /NODE_INSTALL_RUNNING/u);
      assert.equal(systemctl('is-active', unit), 'active');
      assert.match(succeeds('remove', '--stop'), /removed/u);
      assert.equal(systemctl('show', '--value', '--property=LoadState', unit), 'not-found');
      for (const path of ['/opt/portcullis', `/etc/systemd/system/${unit}`, '/usr/local/bin/portcullisd'])
        assert.ok(!existsSync(path), path);
      assert.ok(!existsSync(`/etc/systemd/system/multi-user.target.wants/${unit}`));
      assert.equal(succeeds('remove'), 'nothing is installed\n');
    });
  },
);
