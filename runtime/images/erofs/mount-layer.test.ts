import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  attachMount,
  kernelRelease,
  mountOverlay,
  startKernelWorker,
  umount,
} from '../../../base/kernel/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { rawTar } from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import { codeIs, range } from '../unpack/unpack.fixture.ts';
import { openLayerFile } from './check-layer.ts';
import { encode, listTree } from './erofs.fixture.ts';
import { decodeHead, headBytes } from './format.ts';
import { mountable, mountableFromFile } from './layers.fixture.ts';
import { mountLayer, mountWay, mountWayOf } from './mount-layer.ts';
import { probeLayerMounts } from './probe.ts';

let kernel: Kernel;
let folder = '';
before(async () => {
  kernel = await startKernelWorker();
});
after(() => kernel.close());
beforeEach(() => {
  folder = mkdtempSync('/var/tmp/portcullis-erofs-mount-');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const tar = rawTar(
  range(30, (index) => ({ name: `d/f${index}`, body: Buffer.alloc(index * 997, String(index)) })),
);

async function openLayer(name: string): Promise<number> {
  return openLayerFile(`${folder}/${name}`, await encode(`${folder}/${name}`, tar));
}

const ext4 = 0xef53;
const overlayfs = 0x794c7630;

describe('the way of a mount', () => {
  const rows: readonly (readonly [string, number, string])[] = [
    ['6.3.0', ext4, 'none'],
    ['5.15.0-101-generic', ext4, 'none'],
    ['6.6.30', ext4, 'loop'],
    ['6.12.4', ext4, 'loop'],
    ['6.12.99', ext4, 'file'],
    ['6.12.99', overlayfs, 'loop'],
    ['6.17.13', ext4, 'loop'],
    ['6.18.44-amd64', ext4, 'file'],
    ['6.18.44-amd64', overlayfs, 'loop'],
    ['7.1.9', ext4, 'loop'],
    ['7.2.0', ext4, 'file'],
    ['8.0.0', ext4, 'file'],
  ];
  for (const [release, type, kind] of rows) {
    it(`of Linux ${release} on ${type === ext4 ? 'ext4' : 'overlayfs'} is ${kind}`, () => {
      const [major = 0, minor = 0] = release.split('.').map(Number);
      assert.equal(mountWay({ major, minor, release }, type).kind, kind);
    });
  }
});

for (const kind of ['file', 'loop'] as const) {
  for (const direct of [true, false]) {
    describe(
      `mounted by ${kind}${direct ? ', read directly' : ''}`,
      kind === 'file' ? mountableFromFile : mountable,
      () => {
        it('shows its tree, read-only, and disappears with its descriptor', async () => {
          const fd = await openLayer('layer');
          const mount = await mountLayer(kernel, fd, { kind, direct });
          closeSync(fd);
          const root = `/proc/self/fd/${mount}`;
          assert.equal(listTree(`${root}/.`).length, 32);
          assert.equal(readFileSync(`${root}/d/f29`, 'utf8'), '29'.repeat(15_000).slice(0, 29 * 997));
          assert.throws(() => writeFileSync(`${root}/new`, ''), { code: 'EROFS' });
          closeSync(mount);
          assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), / erofs /);
        });

        it('works as a lower layer of overlayfs, detached or attached, after its name and descriptor are gone', async () => {
          const fd = await openLayer('layer');
          const mount = await mountLayer(kernel, fd, { kind, direct });
          closeSync(fd);
          rmSync(`${folder}/layer`);
          mkdirSync(`${folder}/attached`);
          const overlay = (lower: string, name: string): string => {
            const make = { uid: 0, gid: 0, mode: 0o755 };
            const target = `${folder}/${name}/merged`;
            mountOverlay({
              lower: [lower],
              upper: `${folder}/${name}/upper`,
              work: `${folder}/${name}/work`,
              target,
              make,
            });
            return target;
          };
          const targets = [overlay(`/proc/self/fd/${mount}/.`, 'detached')];
          attachMount(mount, `${folder}/attached`);
          targets.push(overlay(`${folder}/attached`, 'by-path'));
          closeSync(mount);
          umount(`${folder}/attached`);
          for (const target of targets) {
            writeFileSync(`${target}/d/f1`, 'changed');
            rmSync(`${target}/d/f2`);
            assert.equal(readFileSync(`${target}/d/f1`, 'utf8'), 'changed');
            assert.equal(readdirSync(`${target}/d`).length, 29);
            assert.equal(readFileSync(`${target}/d/f3`, 'utf8').length, 3 * 997);
            umount(target);
          }
        });
      },
    );
  }
}

it(
  'shows other owners in an idmapped bind, for containers with a user namespace',
  mountableFromFile,
  async (t) => {
    const child = spawn('unshare', ['--user', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    child.stdin.write('.');
    await once(child.stdout, 'data');
    for (const map of ['uid_map', 'gid_map'])
      writeFileSync(`/proc/${child.pid ?? 0}/${map}`, '0 50000 1000\n');
    const fd = await openLayer('layer');
    const mount = await mountLayer(kernel, fd, { kind: 'file', direct: true });
    closeSync(fd);
    mkdirSync(`${folder}/mapped`);
    await kernel.bindMount(`/proc/self/fd/${mount}/.`, `${folder}/mapped`, {
      idmap: `/proc/${child.pid ?? 0}/ns/user`,
      readonly: true,
    });
    closeSync(mount);
    const { uid, gid } = statSync(`${folder}/mapped/d/f1`);
    assert.deepEqual([uid, gid], [50_000, 50_000]);
    assert.equal(readFileSync(`${folder}/mapped/d/f1`).length, 997);
    await kernel.umount(`${folder}/mapped`);
  },
);

it('the kernel reads without an error all metadata that the check accepts', mountable, async () => {
  const path = `${folder}/layer`;
  const entries: readonly RawEntry[] = [
    { name: 'd/', type: '5', pax: { 'SCHILY.xattr.user.a': 'value' } },
    ...range(25, (index) => ({
      name: `d/f${index}`,
      body: 'x'.repeat(index * 100),
      pax: { 'SCHILY.xattr.user.b': 'c' },
    })),
    { name: 'short', type: '2', link: 'd/f1' },
    { name: 'long', type: '2', link: 'x'.repeat(600) },
    { name: 'link', type: '1', link: 'd/f2' },
    { name: 'o/.wh..wh..opq' },
    { name: 'o/.wh.gone' },
  ];
  const layer = await encode(path, rawTar(entries));
  const whole = readFileSync(path);
  const regions = decodeHead(whole.subarray(0, headBytes));
  assert.ok(regions !== undefined);
  const { metadataAt, archiveBytes } = regions;
  let accepted = 0;
  const anyChanges = fc.array(fc.tuple(fc.nat(whole.length - metadataAt - 1), fc.nat(255)), {
    minLength: 1,
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(anyChanges, async (changes) => {
      const changed = Buffer.from(whole);
      for (const [at, value] of changes) changed[metadataAt + at] = value;
      writeFileSync(path, changed);
      const digest = createHash('sha256')
        .update(changed.subarray(headBytes + archiveBytes))
        .update(changed.subarray(0, headBytes));
      let fd: number;
      try {
        fd = openLayerFile(path, { ...layer, metadataSha256: digest.digest('hex') });
      } catch {
        return;
      }
      accepted++;
      const mount = await mountLayer(kernel, fd, { kind: 'file', direct: true });
      closeSync(fd);
      try {
        assert.ok(listTree(`/proc/self/fd/${mount}/.`).length > 30);
      } finally {
        closeSync(mount);
      }
    }),
    { numRuns: 400 },
  );
  assert.ok(accepted > 20, `${accepted} of 400 were accepted`);
});

describe('the probe', mountable, () => {
  it('finds how this machine mounts layer files, and leaves nothing', async () => {
    const way = await probeLayerMounts(kernel, folder);
    assert.deepEqual(way, mountWayOf(folder));
    assert.deepEqual(readdirSync(folder), []);
  });

  it('uses a loop device if the kernel does not mount from a file', async () => {
    const refusing: Pick<Kernel, 'openDetachedMount'> = {
      openDetachedMount: (type, file) =>
        file?.by === 'file'
          ? Promise.reject(new Error('no such device'))
          : kernel.openDetachedMount(type, file),
    };
    assert.equal(
      (await probeLayerMounts(refusing, folder)).kind,
      kernelRelease().major === 0 ? 'none' : 'loop',
    );
  });

  it('reports why neither is possible', async () => {
    const refusing = { openDetachedMount: () => Promise.reject(new Error('no such device')) };
    const way = await probeLayerMounts(refusing, folder);
    assert.ok(way.kind === 'none');
    assert.match(way.why, /loop: .*no such device/);
  });
});

it(
  'a loop device is used on tmpfs, which EROFS cannot read, even if the plan is to mount the file',
  mountable,
  async () => {
    const place = `${folder}/tmpfs`;
    mkdirSync(place);
    execFileSync('mount', ['-t', 'tmpfs', 'none', place]);
    try {
      const fd = await openLayer('tmpfs/layer');
      assert.equal((await probeLayerMounts(kernel, place)).kind, 'loop');
      closeSync(await mountLayer(kernel, fd, { kind: 'file', direct: true }));
      closeSync(fd);
    } finally {
      execFileSync('umount', ['--lazy', place]);
    }
  },
);

it('a file that is not a layer is not mounted', async () => {
  const fd = await openLayer('layer');
  writeFileSync(`${folder}/layer`, Buffer.alloc(8192));
  for (const kind of ['file', 'loop'] as const)
    await assert.rejects(mountLayer(kernel, fd, { kind, direct: false }), codeIs('KERNEL_EINVAL'));
  closeSync(fd);
});
