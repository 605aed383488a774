import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import type { Verdict } from '../../../trust/index.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import type { ImageRecord } from '../../images/types.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { createRestores } from './restores.ts';
import type { RestoreDeps } from './restores.ts';

const hex = (digit: string): string => `sha256:${digit.repeat(64)}`;
const image = (digit: string, config = {}): ImageRecord =>
  ({ id: hex(digit), repoDigests: [], config }) as unknown as ImageRecord;
const [checkpoint, base] = [image('c'), image('b')];
const verdict = (change: Partial<Verdict> = {}): Verdict =>
  ({ id: 'v', unverified: false, ...change }) as Verdict;

describe('restores', () => {
  let folder = '';
  let released: string[] = [];
  beforeEach(() => {
    released = [];
    folder = mkdtempSync(join(tmpdir(), 'pc-restores-'));
    mkdirSync(join(folder, 'tree/checkpoint'), { recursive: true });
    names({ rootfsImageRef: `good.test/app@${base.id}` });
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const names = (document: object): void => {
    writeFileSync(join(folder, 'tree/config.dump'), JSON.stringify(document));
  };
  const open = (
    change: Partial<RestoreDeps['images']> = {},
    version: 1 | 2 = 2,
    maxSize = '1Mi',
  ): ReturnType<typeof createRestores> =>
    createRestores({
      config: { maxSize, keepFree: '1Ki' },
      images: {
        find: (name) => [checkpoint, base].find(({ id }) => id === name),
        holdsCheckpoint: (one) => Promise.resolve(one === checkpoint),
        decideForRun: ({ image: { id }, userSpecified, namespace }) =>
          Promise.resolve(verdict({ id: `${id} ${userSpecified} ${namespace}` })),
        mountVolume: () => Promise.resolve(join(folder, 'tree')),
        removeRootfs: (id) => Promise.resolve(void released.push(id)),
        fillRootfs: () => Promise.resolve(),
        ...change,
      },
      cgroups: { version } as CgroupMounts,
      whyNot: ({ kind }) => Promise.resolve(kind === 'runc' ? undefined : 'it is not runc'),
      imagesFolder: (id) => join(folder, 'restores', id),
      log: createLogger({ level: 'silent' }),
    });

  it('find the image on which the container ran, and decide about it for the namespace', async () => {
    const admitted = await open().admit(checkpoint, verdict(), 'shop');
    assert.equal(admitted?.base, base);
    assert.equal(admitted.verdict.id, `${base.id}  shop`);
    assert.equal(released.length, 1, 'the archive stays mounted');
  });

  it('are no matter for an image without a checkpoint', async () => {
    assert.equal(await open().admit(base, verdict({ unverified: true }), 'shop'), undefined);
  });

  it('are refused without a signature, whatever else admits the image', async () => {
    const exception = [{}] as unknown as NonNullable<Verdict['exceptions']>;
    for (const loose of [verdict({ unverified: true }), verdict({ exceptions: exception })])
      await assert.rejects(open().admit(checkpoint, loose, 'shop'), { code: 'RUNTIME_RESTORE_UNSIGNED' });
  });

  it('are refused if the base is absent, a checkpoint or an artifact, and by the verdict on it', async () => {
    const refused = { code: 'RUNTIME_RESTORE_BASE' };
    await assert.rejects(open({ find: () => undefined }).admit(checkpoint, verdict(), ''), refused);
    names({ rootfsImageRef: checkpoint.id });
    await assert.rejects(open().admit(checkpoint, verdict(), ''), refused);
    names({ rootfsImageRef: base.id });
    const artifact = image('b', { artifactType: 'x' });
    await assert.rejects(open({ find: () => artifact }).admit(checkpoint, verdict(), ''), refused);
    const denied = Object.assign(new Error('denied'), { code: 'IMAGES_DENIED' });
    await assert.rejects(
      open({ decideForRun: () => Promise.reject(denied) }).admit(checkpoint, verdict(), ''),
      denied,
    );
    assert.equal(released.length, 4, 'an archive stays mounted');
  });

  it('need runc and cgroups of version 2, and room for the memory', async () => {
    const begin = (restores = open(), kind = 'runc'): ReturnType<typeof restores.begin> =>
      restores.begin({
        record: { id: 'c'.repeat(64) } as ContainerRecord,
        sandbox: {} as SandboxRecord,
        handler: { name: kind, kind } as RuntimeHandler,
        ...{ bundle: folder, checkpoint, base, index: 0, cgroup: '/c' },
      });
    await assert.rejects(begin(open(), 'crun'), { code: 'RUNTIME_RESTORE_UNSUPPORTED' });
    await assert.rejects(begin(open({}, 1)), { code: 'RUNTIME_RESTORE_UNSUPPORTED', message: /version 2/ });
    writeFileSync(join(folder, 'tree/checkpoint/pages-1.img'), Buffer.alloc(1024 * 1024 + 1));
    await assert.rejects((await begin()).fill(), {
      code: 'RUNTIME_RESTORE_ARCHIVE',
      message: /at most 1048576/,
    });
    // The changed files take 3/4 of the free space, so that other tests may free some. They need room twice.
    rmSync(join(folder, 'tree/checkpoint/pages-1.img'));
    const { bavail, bsize } = statfsSync(folder);
    writeFileSync(join(folder, 'tree/rootfs-diff.tar'), '');
    truncateSync(join(folder, 'tree/rootfs-diff.tar'), Math.floor(bavail * bsize * 0.75));
    await assert.rejects((await begin(open({}, 2, '1000000Gi'))).fill(), {
      code: 'RUNTIME_RESTORE_UNSUPPORTED',
      message: /free space/,
    });
    const { checkPlan } = await begin();
    for (const [throughVolumes, isLinked] of [
      [['/data/sub'], false],
      [[], true],
    ] as const)
      assert.throws(
        () => checkPlan({ throughVolumes } as unknown as Parameters<typeof checkPlan>[0], isLinked),
        { code: 'RUNTIME_RESTORE_UNSUPPORTED' },
      );
  });
});
