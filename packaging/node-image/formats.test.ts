import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findTool } from '../../test/fixtures/tools.ts';
import { textFile } from '../archives/files.ts';
import { cpioOf } from './cpio.ts';
import { partitionTable } from './gpt.ts';
import { loadOrder } from './modules.ts';
import { readRecipe } from './recipe.ts';
import { inittab } from './root-files.ts';
import { verityTree } from './verity.ts';

const mib = 1024 * 1024;
let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pc-node-image-'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

describe('the hash tree', () => {
  const digest = (...parts: readonly Uint8Array[]): Buffer => {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  /** Blocks that differ from each other. */
  const image = (blocks: number): Buffer => {
    const bytes = Buffer.alloc(blocks * 4096);
    for (let index = 0; index < blocks; index += 1) bytes.writeUInt32LE(index + 1, index * 4096);
    return bytes;
  };

  it('of one block is its salted digest, and has no blocks', () => {
    const { rootHash, salt, tree, dataBlocks } = verityTree(image(1));
    assert.equal(rootHash, digest(Buffer.from(salt, 'hex'), image(1)).toString('hex'));
    assert.deepEqual([tree.length, dataBlocks], [0, 1]);
  });

  it('of 129 blocks has the root block, and then the digests of the data', () => {
    const data = image(129);
    const { rootHash, salt, tree } = verityTree(data);
    const salted = Buffer.from(salt, 'hex');
    assert.equal(tree.length, 3 * 4096);
    const [top, leaves] = [tree.subarray(0, 4096), tree.subarray(4096)];
    assert.equal(rootHash, digest(salted, top).toString('hex'));
    assert.deepEqual(top.subarray(0, 32), digest(salted, leaves.subarray(0, 4096)));
    assert.deepEqual(top.subarray(32, 64), digest(salted, leaves.subarray(4096)));
    assert.ok(top.subarray(64).every((byte) => byte === 0));
    const last = digest(salted, data.subarray(128 * 4096));
    assert.deepEqual(leaves.subarray(128 * 32, 129 * 32), last);
  });

  it('refuses a part of a block', () => {
    assert.throws(() => verityTree(Buffer.alloc(5000)), /not a whole number of blocks/u);
    assert.throws(() => verityTree(Buffer.alloc(0)), /not a whole number of blocks/u);
  });

  const tool = findTool('veritysetup');
  it('is the one that veritysetup computes', { skip: tool.skip }, () => {
    for (const blocks of [1, 2, 128, 129, 20_000]) {
      const file = join(folder, 'data');
      writeFileSync(file, image(blocks));
      const { rootHash, salt } = verityTree(image(blocks));
      const words = ['format', '--no-superblock', '--salt', salt, file, join(folder, 'tree')];
      const { status, stdout, stderr } = spawnSync(tool.path, words, { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      assert.match(stdout, new RegExp(`Root hash:\\s+${rootHash}\\b`, 'u'), String(blocks));
      assert.deepEqual(verityTree(image(blocks)).tree, readFileSync(join(folder, 'tree')));
    }
  });
});

describe('the partition table', () => {
  const asked = [
    { name: 'one', type: 'esp', bytes: 3 * mib },
    { name: 'two', type: 'linux', bytes: 5 * mib },
  ] as const;

  it('places partitions at whole MiB, and is the same for the same names', () => {
    const { partitions, diskBytes, head, tail } = partitionTable('image', asked);
    assert.deepEqual(
      partitions.map(({ name, at }) => [name, at]),
      [
        ['one', mib],
        ['two', 4 * mib],
      ],
    );
    assert.equal(diskBytes, 10 * mib);
    const again = partitionTable('image', asked);
    assert.ok(head.equals(again.head) && tail.equals(again.tail));
    assert.ok(!head.equals(partitionTable('other', asked).head));
    assert.throws(
      () => partitionTable('image', [{ name: 'n'.repeat(37), type: 'esp', bytes: mib }]),
      /more than 36 characters/u,
    );
  });

  const tool = findTool('sfdisk');
  it('is one that sfdisk finds no error in', { skip: tool.skip }, () => {
    const { head, tail, diskBytes } = partitionTable('image', asked);
    const file = join(folder, 'disk');
    writeFileSync(file, Buffer.concat([head, Buffer.alloc(diskBytes - head.length - tail.length), tail]));
    const verify = spawnSync(tool.path, ['--verify', file], { encoding: 'utf8' });
    assert.equal(verify.status, 0, verify.stderr);
    assert.match(verify.stdout, /No errors detected/u);
    const dump = spawnSync(tool.path, ['--json', file], { encoding: 'utf8' });
    const { partitiontable } = JSON.parse(dump.stdout) as {
      partitiontable: { label: string; partitions: { name: string; start: number; size: number }[] };
    };
    assert.equal(partitiontable.label, 'gpt');
    assert.deepEqual(
      partitiontable.partitions.map(({ name, start, size }) => [name, start, size]),
      [
        ['one', 2048, 3 * 2048],
        ['two', 4 * 2048, 5 * 2048],
      ],
    );
  });
});

describe('the initial file system', () => {
  const files = [
    textFile('init', 'the first program', true),
    textFile('lib/b', 'bytes'),
    { path: 'lib64', content: { target: 'lib' } },
  ];

  it('does not depend on the order of the files', () => {
    assert.ok(cpioOf(files, ['dev']).equals(cpioOf(files.toReversed(), ['dev'])));
  });

  const tool = findTool('cpio');
  it('is an archive that cpio lists', { skip: tool.skip }, () => {
    const words = ['--list', '--verbose', '--numeric-uid-gid', '--quiet'];
    const { status, stdout, stderr } = spawnSync(tool.path, words, {
      input: cpioOf(files, ['dev']),
      encoding: 'utf8',
      env: { TZ: 'UTC', LC_ALL: 'C' },
    });
    assert.equal(status, 0, stderr);
    const lines = stdout.trim().split('\n');
    assert.deepEqual(
      lines.map((line) => `${line.slice(0, 10)} ${line.split(/ +/u).slice(8).join(' ')}`),
      ['drwxr-xr-x dev', '-rwxr-xr-x init', 'drwxr-xr-x lib', '-rw-r--r-- lib/b', 'lrwxrwxrwx lib64 -> lib'],
    );
  });
});

describe('the order of modules', () => {
  const dependencies =
    'kernel/a.ko: kernel/c.ko kernel/b.ko\nkernel/b.ko:\nkernel/c.ko: kernel/b.ko\nkernel/x-y.ko:\n';

  it('puts what a module needs before it, once', () => {
    assert.deepEqual(loadOrder(['c', 'a', 'x_y'], dependencies, ''), [
      'kernel/b.ko',
      'kernel/c.ko',
      'kernel/a.ko',
      'kernel/x-y.ko',
    ]);
  });

  it('leaves out what is part of the kernel, and refuses an unknown module', () => {
    assert.deepEqual(loadOrder(['ext4'], dependencies, 'kernel/fs/ext4.ko\n'), []);
    assert.throws(() => loadOrder(['ext4'], dependencies, ''), /the kernel has no module ext4/u);
  });
});

describe('a recipe', () => {
  const minimal = `apiVersion: portcullis.dev/v1alpha1
kind: NodeImage
metadata: { name: test }
version: 1
suite: bookworm
kernel: { package: linux-image, commandLine: quiet, initialModules: [], modules: [] }
packages: []
sizes: { slotMiB: 64, stateMiB: 64 }
`;
  const read = (text: string) => {
    const file = join(folder, 'recipe.yaml');
    writeFileSync(file, text);
    return readRecipe(file).recipe;
  };

  it('is read, also the one that ships', () => {
    assert.equal(read(minimal).metadata.name, 'test');
    assert.equal(readRecipe(join(import.meta.dirname, 'node.yaml')).recipe.kind, 'NodeImage');
  });

  for (const [what, text, problem] of [
    ['an unknown field', `${minimal}packagess: []\n`, /did you mean `packages`/u],
    ['a file without content', `${minimal}files: [{ path: /a }]\n`, /the file \/a needs either/u],
    ['a path that leaves the image', `${minimal}files: [{ path: ../a, content: '' }]\n`, /files\[0\]\.path/u],
    [
      'a command with shell characters',
      `${minimal}services: [{ name: a, command: ['$(b)'] }]\n`,
      /command\[0\]/u,
    ],
    ['a version of zero', minimal.replace('version: 1', 'version: 0'), /version/u],
    ['nothing', '', /empty|apiVersion/u],
  ] as const)
    it(`refuses ${what}`, () => {
      assert.throws(() => read(text), problem);
    });

  it('has the daemon as its only service, unless it names others', () => {
    const services = (text: string): readonly string[] =>
      inittab(read(text))
        .split('\n')
        .filter((line) => line.includes('/serve '));
    assert.deepEqual(services(minimal), [
      '::respawn:/usr/lib/node-image/serve portcullisd /usr/bin/portcullisd',
    ]);
    assert.equal(services(`${minimal}services: [{ name: a, command: [/usr/bin/a, b] }]\n`).length, 2);
  });
});
