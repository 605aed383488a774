import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { mountWayOf } from './erofs/mount-layer.ts';
import { openKit, pushImage, sha256, tarOf } from './test-kit.ts';
import type { Entry, Kit } from './test-kit.ts';
import type { ImageRecord, LayerMapping } from './types.ts';

const skip =
  findRegistry() === undefined
    ? 'no docker-registry'
    : mountWayOf('/var/tmp').kind === 'none'
      ? 'the kernel mounts no layer files'
      : false;

let registry: TestRegistry;
let kit: Kit;
before(async () => {
  if (skip !== false) return;
  registry = await startRegistry();
  kit = await openKit(registry.host, { layers: 'erofs' });
});
after(async () => {
  if (skip !== false) return;
  await kit.close();
  await registry.close();
});
/** Each test ends with an empty store, on which nothing is mounted. */
afterEach(async () => {
  if (skip !== false) return;
  kit = await kit.reopen({ layers: 'erofs', kernel: (kernel) => kernel });
  await kit.store.reconcile(new Set());
  for (const image of kit.store.list()) await kit.store.remove(image.id);
  assert.deepEqual(
    ['ingest', 'staging', 'blobs/sha256', 'layers', 'rootfs', 'volumes', 'mounts'].flatMap((name) =>
      readdirSync(`${kit.root}/${name}`),
    ),
    [],
  );
  assert.deepEqual(layerDescriptors(), []);
});

/** Returns the descriptors with which this process mounts or reads layer files. */
function layerDescriptors(): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      const isMount =
        /^mnt_id:\t(\d+)$/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) && target === '/';
      return isMount || target.includes('layer.erofs') ? [target] : [];
    } catch {
      // The descriptor of the listing itself.
      return [];
    }
  });
}

/** Pushes an image and pulls it. */
async function pulled(name: string, layers: readonly (readonly Entry[])[]): Promise<ImageRecord> {
  const archives = await Promise.all(layers.map((entries) => tarOf(entries)));
  await pushImage(kit.repository(`open/${name}`), {
    layers: archives.map((tar) => ({ tar })),
    tag: '1',
    label: name,
  });
  const { image } = await kit.store.pull({ reference: kit.reference(`open/${name}`), namespace: '' });
  return image;
}
const lowest: readonly Entry[] = [
  { name: 'bin', type: 'directory' },
  { name: 'bin/sh', body: 'shell', mode: 0o755, uid: 7, gid: 8 },
  { name: 'data', body: 'data' },
];
/** A layer that needs the layer below, because it has a hard link to one of its files. */
const dependent: readonly Entry[] = [{ name: 'bin/link', type: 'link', linkname: 'bin/sh' }];
const placeOf = (image: ImageRecord, index = 0): string =>
  `${kit.root}/layers/${image.layers[index]?.slice('sha256:'.length) ?? ''}`;

function flipByte(file: string, at: number): void {
  const fd = openSync(file, 'r+');
  const byte = readFileSync(file)[at] ?? 0;
  writeSync(fd, Buffer.from([byte ^ 1]), 0, 1, at);
  closeSync(fd);
}

describe('layers as EROFS files', { skip }, () => {
  test('a layer is one file, from which containers run and which none of them changes', async () => {
    const image = await pulled('app', [lowest, [{ name: 'id', body: 'app' }]]);
    assert.deepEqual(readdirSync(placeOf(image)), ['layer.erofs']);
    const before = readFileSync(`${placeOf(image)}/layer.erofs`);
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    const { uid, gid, mode } = lstatSync(`${path}/bin/sh`);
    assert.deepEqual([uid, gid, mode & 0o777], [7, 8, 0o755]);
    writeFileSync(`${path}/bin/sh`, 'changed');
    const other = await kit.store.mountRootfs('c2', image);
    assert.equal(readFileSync(`${other.path}/bin/sh`, 'utf8'), 'shell');
    assert.deepEqual(readFileSync(`${placeOf(image)}/layer.erofs`), before);
  });

  test('a file keeps its inode number when a container first writes to it', async () => {
    const { path } = await kit.store.mountRootfs(
      'c1',
      await pulled('inode', [lowest, [{ name: 'id', body: 'inode' }]]),
    );
    const before = statSync(`${path}/data`).ino;
    writeFileSync(`${path}/data`, 'changed');
    assert.equal(statSync(`${path}/data`).ino, before);
  });

  test('containers continue when their image, its layers and the daemon are gone', async () => {
    const image = await pulled('gone', [lowest]);
    const { path } = await kit.store.mountRootfs('c1', image);
    await kit.store.remove(image.id);
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['c1']));
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    assert.equal(readdirSync(`${kit.root}/layers`).length, 1, 'the container uses it');
  });

  test('an image volume shows the tree of one layer, and of several', async () => {
    const one = await pulled('volume', [lowest]);
    const two = await pulled('volumes', [lowest, [{ name: 'id', body: 'two' }]]);
    for (const [index, image] of [one, two].entries()) {
      const tree = await kit.store.mountVolume('c1', index, image);
      assert.equal(readFileSync(`${tree}/bin/sh`, 'utf8'), 'shell');
      assert.throws(() => writeFileSync(`${tree}/new`, ''), { code: 'EROFS' });
    }
  });

  test('an image may have the same layer several times', async () => {
    const changes = [
      { name: 'bin/sh', body: 'changed' },
      { name: 'id', body: 'twice' },
      { name: '.wh.data', body: '' },
    ];
    const image = await pulled('twice', [lowest, lowest, changes, lowest, [{ name: 'top', body: '' }]]);
    const { path } = await kit.store.mountRootfs('c1', image);
    for (const tree of [path, await kit.store.mountVolume('c1', 0, image)]) {
      assert.equal(readFileSync(`${tree}/bin/sh`, 'utf8'), 'shell');
      assert.equal(readFileSync(`${tree}/id`, 'utf8'), 'twice');
      assert.ok(existsSync(`${tree}/data`), 'a later copy of the layer has the file again');
    }
  });

  test('a container with a user namespace sees its own ids', async (t) => {
    const child = spawn('unshare', ['--user', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    child.stdin.write('.');
    await once(child.stdout, 'data');
    for (const map of ['uid_map', 'gid_map'])
      writeFileSync(`/proc/${child.pid ?? 0}/${map}`, '0 50000 1000\n');
    const ids = { hostId: 50_000, length: 1_000 };
    const mapping: LayerMapping = { userNamespace: `/proc/${child.pid ?? 0}/ns/user`, uids: ids, gids: ids };
    const image = await pulled('mapped', [lowest, [{ name: 'id', body: 'mapped' }]]);
    const { path } = await kit.store.mountRootfs('c1', image, mapping);
    const { uid, gid } = lstatSync(`${path}/bin/sh`);
    assert.deepEqual([uid, gid], [50_007, 50_008]);
    assert.deepEqual(readdirSync(`${kit.root}/rootfs/c1/lower`), []);
    const tree = await kit.store.mountVolume('c1', 0, image, mapping);
    assert.equal(lstatSync(`${tree}/bin/sh`).uid, 50_007);
  });

  for (const [first, second] of [
    ['erofs', 'folders'],
    ['folders', 'erofs'],
    ['erofs', 'erofs'],
    ['folders', 'folders'],
  ] as const) {
    test(`a layer that depends on a layer below: ${second} over ${first}`, async () => {
      kit = await kit.reopen({ layers: first });
      await pulled('below', [lowest]);
      kit = await kit.reopen({ layers: second });
      const image = await pulled('above', [lowest, dependent]);
      const { path } = await kit.store.mountRootfs('c1', image);
      assert.equal(readFileSync(`${path}/bin/link`, 'utf8'), 'shell');
    });
  }

  test('a layer that depends on a layer of the same pull', async () => {
    const { path } = await kit.store.mountRootfs('c1', await pulled('same', [lowest, dependent]));
    assert.equal(readFileSync(`${path}/bin/link`, 'utf8'), 'shell');
  });

  for (const [what, damage] of [
    ['a byte of its metadata is changed', (file) => flipByte(file, statSync(file).size - 4_000)],
    ['its head is empty', (file) => flipByte(file, 1_024)],
    ['it is the file of another layer', (file) => renameSync(`${file}.other`, file)],
    ['it is missing', (file) => rmSync(file)],
    ['it is a symlink', (file) => (rmSync(file), symlinkSync(`${file}.other`, file))],
  ] as readonly (readonly [string, (file: string) => void])[]) {
    test(`a file is restored from its blob when it is first used, and never mounted: ${what}`, async () => {
      const image = await pulled('damaged', [lowest]);
      const file = `${placeOf(image)}/layer.erofs`;
      const whole = readFileSync(file);
      const other = await pulled('other', [[{ name: 'bin/sh', body: 'other' }]]);
      writeFileSync(`${file}.other`, readFileSync(`${placeOf(other)}/layer.erofs`));
      damage(file);
      const { path } = await kit.store.mountRootfs('c1', image);
      assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
      assert.deepEqual(readFileSync(file), whole);
      assert.deepEqual(readdirSync(placeOf(image)), ['layer.erofs']);
    });
  }

  test('the check after a power cut finds a changed byte of content', async () => {
    const image = await pulled('content', [lowest]);
    const file = `${placeOf(image)}/layer.erofs`;
    const whole = readFileSync(file);
    await kit.store.close();
    writeFileSync(`${kit.root}/last-run.json`, JSON.stringify({ bootId: 'another', clean: false }));
    flipByte(file, whole.indexOf('shell'));
    kit = await kit.reopen();
    await kit.store.reconcile(new Set());
    await kit.store.checkLayers();
    assert.deepEqual(readFileSync(file), whole);
  });

  test('on a machine that no longer mounts layer files, layers become folders', async () => {
    const image = await pulled('moved', [lowest, dependent]);
    const refusing = {
      layers: 'auto',
      kernel: (kernel: Kit['kernel']) => ({
        ...kernel,
        openDetachedMount: () => Promise.reject(new Error('ENODEV')),
      }),
    } as const;
    for (const again of [false, true]) {
      kit = await kit.reopen(refusing);
      await kit.store.reconcile(new Set());
      const { path } = await kit.store.mountRootfs('c1', image);
      assert.equal(readFileSync(`${path}/bin/link`, 'utf8'), 'shell');
      assert.ok(existsSync(`${placeOf(image)}/fs/bin/sh`));
      assert.ok(!existsSync(`${placeOf(image)}/layer.erofs`), String(again));
      await kit.store.removeRootfs('c1');
    }
    kit = await kit.reopen({ kernel: (kernel) => kernel });
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/link`, 'utf8'), 'shell');
  });

  test('a layer with fs-verity is restored without it, and recorded so, if the disk does not support it', async () => {
    const image = await pulled('moved-disk', [lowest]);
    const file = `${placeOf(image)}/layer.erofs`;
    const whole = readFileSync(file);
    await kit.database.write([
      {
        sql: "UPDATE image_layer SET manifest_sha256 = manifest_sha256 || ':verity:' || ?",
        params: ['0'.repeat(64)],
      },
    ]);
    kit = await kit.reopen();
    await kit.store.reconcile(new Set());
    const stored = { layers: 1, files: 1, verity: 1 };
    assert.deepEqual(kit.store.storedForms(image), stored);
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    assert.deepEqual(readFileSync(file), whole);
    assert.deepEqual(kit.store.storedForms(image), { ...stored, verity: 0 });
    kit = await kit.reopen();
    assert.deepEqual(kit.store.storedForms(image), { ...stored, verity: 0 });
  });

  test('the store does not open if layer files are required and the kernel does not mount them', async () => {
    const refusing = {
      kernel: (kernel: Kit['kernel']) => ({
        ...kernel,
        openDetachedMount: () => Promise.reject(new Error('ENODEV')),
      }),
    };
    const folder = mkdtempSync('/var/tmp/portcullis-unmountable-');
    await assert.rejects(openKit(registry.host, { folder, layers: 'erofs', ...refusing }), {
      code: 'IMAGES_LAYERS_UNMOUNTABLE',
    });
    rmSync(folder, { recursive: true });
  });

  test('the reported usage is that of the files', async () => {
    const image = await pulled('usage', [lowest]);
    const { usedBytes, inodesUsed } = await kit.store.usage();
    const [blob = ''] = readdirSync(`${kit.root}/blobs/sha256`);
    const files = [placeOf(image), `${placeOf(image)}/layer.erofs`, `${kit.root}/blobs/sha256/${blob}`];
    assert.equal(
      usedBytes,
      files.reduce((sum, path) => sum + statSync(path).blocks * 512, 0),
    );
    assert.equal(inodesUsed, 3);
  });

  test('an archive with another digest is refused, and leaves nothing', async () => {
    const tar = await tarOf(lowest);
    await pushImage(kit.repository('open/forged'), {
      layers: [{ tar }],
      tag: '1',
      config: { rootfs: { type: 'layers', diff_ids: [sha256(Buffer.from('another'))] } },
    });
    await assert.rejects(kit.store.pull({ reference: kit.reference('open/forged'), namespace: '' }), {
      code: 'IMAGES_DIFF_ID_MISMATCH',
    });
  });
});
