import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { after, afterEach, before, beforeEach } from 'node:test';
import { MNT_DETACH, mount, startKernelWorker, umount } from '../../../base/kernel/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { findTool } from '../../../test/fixtures/tools.ts';
import { listTree, mountTar, unpack } from './erofs.fixture.ts';
import type { LayerOptions, MountedLayer } from './erofs.fixture.ts';
import { mountWayOf } from './mount-layer.ts';

/**
 * Mounted layer files of one test, and a place for the same layers as folders. Everything is removed when it
 * ends.
 */
export interface TestLayers {
  /** The kernel's calls; only while a test runs. */
  kernel(): Kernel;
  folder(): string;
  /** Returns a path on the disk that no other call of the test has received. */
  newPath(): string;
  /** Does the same in memory: some of the folders have many files. */
  memoryPath(): string;
  mounted(tar: Uint8Array, options?: LayerOptions): Promise<MountedLayer>;
  /** Fails unless the mounted layer file and the unpacked folder have the same tree. */
  same(
    tar: Uint8Array,
    options?: LayerOptions,
  ): Promise<{ readonly layer: MountedLayer; readonly lines: readonly string[] }>;
}

/** Creates such layers for each test of the calling file, which runs in separate namespaces. */
export function layersOfEachTest(): TestLayers {
  let kernel: Kernel | undefined;
  let folder = '';
  let count = 0;
  const mounts: MountedLayer[] = [];
  before(async () => {
    kernel = await startKernelWorker();
  });
  after(() => kernel?.close());
  beforeEach(() => {
    folder = mkdtempSync('/var/tmp/portcullis-erofs-');
    mkdirSync(`${folder}/memory`);
    mount('tmpfs', `${folder}/memory`, 'tmpfs', 0);
  });
  afterEach(() => {
    for (const each of mounts.splice(0)) each.unmount();
    // The stream of a refused archive closes its file a moment later.
    umount(`${folder}/memory`, MNT_DETACH);
    rmSync(folder, { recursive: true });
  });
  const started = (): Kernel => kernel ?? assert.fail('no test runs');
  const newPath = (): string => `${folder}/${count++}`;
  const memoryPath = (): string => `${folder}/memory/${count++}`;

  async function mounted(tar: Uint8Array, options: LayerOptions = {}): Promise<MountedLayer> {
    const layer = await mountTar(started(), newPath(), tar, options);
    mounts.push(layer);
    return layer;
  }

  async function same(tar: Uint8Array, options: LayerOptions = {}): ReturnType<TestLayers['same']> {
    const layer = await mounted(tar, options);
    const { root, dependent } = await unpack(memoryPath(), tar, options);
    const lines = listTree(layer.root);
    assert.deepEqual(lines, listTree(root));
    assert.equal(layer.dependent, dependent);
    return { layer, lines };
  }

  return { kernel: started, folder: () => folder, newPath, memoryPath, mounted, same };
}

/** Options of a test that mounts a layer file, and of one that mounts it from the file. */
export const mountable = { skip: whyUnmountable() ?? false };
export const mountableFromFile = {
  skip:
    mountWayOf('/var/tmp').kind === 'file'
      ? mountable.skip
      : 'this kernel does not mount from a file, or has known faults in such mounts',
};

function whyUnmountable(): string | undefined {
  const way = mountWayOf('/var/tmp');
  if (way.kind === 'none') return way.why;
  if (!/\terofs$/m.test(readFileSync('/proc/filesystems', 'utf8')))
    return 'this kernel has no EROFS, or has not loaded its module';
  return way.kind === 'loop' && !existsSync('/dev/loop-control')
    ? 'this machine has no loop devices'
    : undefined;
}

/** erofs-utils reads blocks below 4 KiB since 1.6. */
const judge = findTool('fsck.erofs');
const judgeVersion =
  judge.skip === false
    ? Number(/ 1\.(\d+)/.exec(spawnSync(judge.path, ['-V'], { encoding: 'utf8' }).stdout)?.[1] ?? 0)
    : 0;
/** Options of a test that needs fsck.erofs. */
export const judged = {
  skip:
    judgeVersion >= 6
      ? false
      : `no fsck.erofs of erofs-utils 1.6 or later (${judge.skip === false ? `1.${judgeVersion}` : 'none'} is here)`,
};

/** Fails unless fsck.erofs finds no error in a layer file. */
export function assertJudged(path: string): void {
  const { status, stdout, stderr } = spawnSync(judge.path, ['-d3', '--extract', path], { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout + stderr, /No errors found/);
}
