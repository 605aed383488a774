import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { O_DIRECTORY, O_PATH, closeFd, openFile } from '../../base/kernel/index.ts';
import { hostPathsHere } from '../host-paths/in-process.fixture.ts';
import { cleanContainerPath, openContainerPaths } from './container-path.ts';
import type { ContainerPaths } from './container-path.ts';

describe('paths in a container that is about to be created', () => {
  const folder = mkdtempSync(join(tmpdir(), 'container-path-'));
  const [rootfs, volume] = [join(folder, 'rootfs'), join(folder, 'volume')];
  let fd = -1;
  before(() => {
    for (const name of ['rootfs/run/deep', 'rootfs/var', 'rootfs/etc', 'volume/inside', 'volume/v'])
      mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(rootfs, 'file'), '');
    for (const [name, target] of [
      ['var/run', '../run'],
      ['up', '../../../../run'],
      ['host', folder],
      ['dangling', 'no/such/../place'],
      ['loop', 'loop2'],
      ['loop2', 'loop'],
      ['todev', 'dev'],
      ['fds', '/proc/self/fd'],
      ['away', 'proc/../run'],
      ['nowhere', '/not/there'],
      ['twice', 'nowhere/below'],
    ] as const)
      symlinkSync(target, join(rootfs, name));
    symlinkSync('/run', join(volume, 'absolute'));
    symlinkSync('../var/run', join(volume, 'relative'));
    fd = openFile(rootfs, O_PATH | O_DIRECTORY);
  });
  after(() => {
    closeFd(fd);
    rmSync(folder, { recursive: true });
  });
  const open = (): ContainerPaths => openContainerPaths({ fd, path: rootfs }, hostPathsHere);

  for (const [path, leadsTo, through] of [
    ['/', '/', []],
    ['/run/deep', '/run/deep', []],
    ['//run/./deep/', '/run/deep', []],
    ['/var/run/deep', '/run/deep', []],
    ['/up/deep', '/run/deep', []],
    ['/dangling/x', '/no/place/x', []],
    ['/run/none/../deep', '/run/deep', []],
    ['/file/x', '/file/x', []],
    ['/fds/7', '/proc/self/fd/7', ['/proc']],
    ['/away', '/run', ['/proc']],
    ['/sys/../run', '/run', ['/sys']],
    ['/process/x', '/process/x', []],
  ] as const) {
    it(`${path} leads to ${leadsTo}`, async () => {
      const found = await open().resolve(path);
      assert.deepEqual([found.path, [...found.through], found.throughVolume], [leadsTo, through, false]);
    });
  }

  for (const [path, dangling] of [
    ['/nowhere', '/not/there'],
    ['/nowhere/x/y', '/not/there'],
    ['/twice/x', '/not/there/below'],
    ['/var/run/none', undefined],
    ['/none/x', undefined],
  ] as const)
    it(`links on the way to ${path} lead to a missing entry: ${dangling ?? 'none'}`, async () => {
      assert.equal((await open().resolve(path)).dangling, dangling);
    });

  it('a link to a path of the host stays in the container', async () => {
    assert.equal((await open().resolve('/host/x')).path, join(folder, 'x'));
  });

  it('a mount hides the image, and the last of several mounts hides the others', async () => {
    const paths = open();
    paths.place({ at: '/var', source: volume });
    assert.deepEqual((await paths.resolve('/var/run')).path, '/var/run');
    const inside = await paths.resolve('/var/inside/new');
    assert.deepEqual([inside.path, inside.throughVolume], ['/var/inside/new', true]);
    assert.equal((await paths.resolve('/var')).throughVolume, false);
    paths.place({ at: '/var/v' });
    assert.equal((await paths.resolve('/var/v/run')).path, '/var/v/run');
    paths.place({ at: '/var', source: rootfs });
    assert.equal((await paths.resolve('/var/todev/x')).path, '/var/dev/x');
  });

  it('links of a volume are followed in the container', async () => {
    const paths = open();
    paths.place({ at: '/data', source: volume });
    for (const name of ['absolute', 'relative']) {
      const found = await paths.resolve(`/data/${name}/deep`);
      assert.deepEqual(
        [found.path, found.throughVolume],
        ['/run/deep', name === 'absolute' || name === 'relative'],
      );
    }
  });

  it('a new /dev has the links that a runtime makes there', async () => {
    const paths = open();
    assert.equal((await paths.resolve('/todev/fd/7')).path, '/dev/fd/7');
    paths.place({ at: '/dev' });
    for (const [path, leadsTo] of [
      ['/todev/fd/7', '/proc/self/fd/7'],
      ['/dev/stdin', '/proc/self/fd/0'],
      ['/dev/core', '/proc/kcore'],
      ['/dev/null', '/dev/null'],
    ] as const)
      assert.equal((await paths.resolve(path)).path, leadsTo);
  });

  it('loops, and paths that the kernel would refuse as too long, are refused', async () => {
    await assert.rejects(open().resolve('/loop/x'), /more than 40 links/);
    await assert.rejects(open().resolve(`/${'x'.repeat(4096)}`), /longer than 4095 bytes/);
  });

  it('the total number of names in all paths of a container is limited', async () => {
    const paths = open();
    const path = `/var/run/${'x/'.repeat(1000)}`;
    await assert.rejects(async () => {
      for (let times = 0; times < 100; times += 1) await paths.resolve(path);
    }, /more than 16384/);
  });
});

describe('a normalized path of a container', () => {
  for (const [path, clean] of [
    ['/tmp/../etc', '/etc'],
    ['/tmp/../m', '/m'],
    ['//a/./b/', '/a/b'],
    ['/a/b/../../../../c', '/c'],
    ['/../..', '/'],
    ['/a/../proc/../proc/self', '/proc/self'],
    ['/..a/b..', '/..a/b..'],
    ['/', '/'],
  ] as const)
    it(`${path} is ${clean}`, () => assert.equal(cleanContainerPath(path), clean));
});
