import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Mount } from '../cri/contract/contract.types.ts';
import { hostPathsHere } from '../host-paths/in-process.fixture.ts';
import { checkPropagation, isOwnOfPod, makeMissing, resolveSources } from './mount-sources.ts';
import type { MountSource } from './mount-sources.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'pc-sources-')));
const mount = (hostPath: string, propagation = 0): Mount =>
  ({ containerPath: '/m', hostPath, propagation }) as Mount;

describe('sources of mounts', () => {
  after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'real/deep'), { recursive: true });
  writeFileSync(join(folder, 'real/file'), '');
  symlinkSync('real', join(folder, 'link'));
  symlinkSync('/nonexistent', join(folder, 'dangling'));

  for (const [asked, path, missing] of [
    ['link/deep', 'real/deep', false],
    ['link/file', 'real/file', false],
    ['link/new/er', 'real/new/er', true],
    ['./real//deep/', 'real/deep', false],
    ['real/deep/..', 'real', false],
  ] as const) {
    it(`${asked} is ${path}${missing ? ', missing' : ''}`, async () => {
      const [source] = await resolveSources([mount(`${folder}/${asked}`)], hostPathsHere);
      assert.deepEqual([source?.path, source?.missing], [join(folder, path), missing]);
    });
  }

  for (const asked of ['relative', '', `${folder}/none/../../etc`, `${folder}/a\0b`]) {
    it(`${JSON.stringify(asked.replace(folder, '…'))} is refused`, async () => {
      await assert.rejects(resolveSources([mount(asked)], hostPathsHere), { code: 'RUNTIME_BAD_MOUNT' });
    });
  }

  it('a missing source is created as a folder; a source that cannot be created is refused', async () => {
    await makeMissing(await resolveSources([mount(`${folder}/link/made`)], hostPathsHere), hostPathsHere);
    assert.ok(existsSync(join(folder, 'real/made')));
    await assert.rejects(
      makeMissing(await resolveSources([mount(`${folder}/dangling`)], hostPathsHere), hostPathsHere),
      {
        code: 'RUNTIME_BAD_MOUNT',
      },
    );
    await assert.rejects(
      makeMissing(await resolveSources([mount(`${folder}/real/file/x`)], hostPathsHere), hostPathsHere),
      {
        code: 'RUNTIME_BAD_MOUNT',
      },
    );
    await assert.rejects(
      makeMissing(await resolveSources([mount('/proc/none/below')], hostPathsHere), hostPathsHere),
      {
        code: 'RUNTIME_BAD_MOUNT',
      },
    );
  });

  it('too many mounts are refused', async () => {
    await assert.rejects(
      resolveSources(
        Array.from({ length: 5000 }, () => mount('/')),
        hostPathsHere,
      ),
      { code: 'RUNTIME_BAD_MOUNT' },
    );
  });
});

describe('propagation', () => {
  const mountinfo = [
    '21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    '22 21 8:2 / /private rw,relatime - ext4 /dev/sdb1 rw',
    '23 22 8:2 / /private/follower rw,relatime master:1 - ext4 /dev/sdb1 rw',
    '24 21 8:3 / /with\\040space rw,relatime - ext4 /dev/sdc1 rw',
    '25 24 8:3 / /with\\040space rw,relatime shared:9 - ext4 /dev/sdd1 rw',
    '',
  ].join('\n');
  const [receives, both] = [1, 2];
  const source = (path: string, propagation: number): MountSource => ({
    mount: mount(path, propagation),
    path,
    missing: false,
  });

  for (const [path, propagation, fits] of [
    ['/shared/x', both, true],
    ['/shared/x', receives, true],
    ['/private', both, false],
    ['/private/x', receives, false],
    ['/private/x', 0, true],
    ['/private/follower/x', receives, true],
    ['/private/follower/x', both, false],
    ['/privateer', both, true],
    ['/with space/x', both, true],
  ] as const) {
    it(`${['none', 'from the host', 'both ways'][propagation] ?? ''} at ${path} is ${fits ? 'possible' : 'refused'}`, async () => {
      const checked = checkPropagation([source(path, propagation)], mountinfo);
      if (fits) await checked;
      else await assert.rejects(checked, { code: 'RUNTIME_BAD_MOUNT' });
    });
  }
});

describe('the files that the kubelet keeps for a pod', () => {
  for (const [path, uid, own] of [
    ['/var/lib/kubelet/pods/u1/volumes/x', 'u1', true],
    ['/var/lib/kubelet/pods/u1/etc-hosts', 'u1', true],
    ['/var/lib/kubelet/pods/u1', 'u1', false],
    ['/var/lib/kubelet/pods/u11/volumes', 'u1', false],
    ['/var/lib/kubelet/pods/u2/volumes', 'u1', false],
    ['/var/lib/kubelet/pki/key', '..', false],
    ['/var/lib/kubelet/pods/u1/x', '.', false],
    ['/var/lib/kubelet/pods/u1/x', '', false],
    ['/etc', 'u1', false],
  ] as const) {
    it(`${path} ${own ? 'is' : 'is not'} of the pod ${JSON.stringify(uid)}`, () =>
      assert.equal(isOwnOfPod(path, '/var/lib/kubelet', uid), own));
  }
});
