import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { cgroupDriver, containerCgroup, containerIdIn, expandSlice } from './cgroup-driver.ts';
import { podCgroup, processCgroup } from './cgroup-driver.ts';
import type { CgroupDriver } from './cgroup-driver.ts';

const id = 'c'.repeat(64);
const part = fc.stringMatching(/^[A-Za-z0-9_]{1,12}$/);

describe('a pod’s cgroup', () => {
  const kubelet = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a_1b.slice';
  const cases: readonly [what: string, driver: CgroupDriver, asked: string, path: string][] = [
    [
      'a kubelet’s path under cgroupfs',
      'cgroupfs',
      '/kubepods/burstable/pod0a-1b',
      '/kubepods/burstable/pod0a-1b',
    ],
    ['a path that is not normalized', 'cgroupfs', 'kubepods//burstable/./pod1/', '/kubepods/burstable/pod1'],
    ['the root', 'cgroupfs', '/', '/'],
    ['none under cgroupfs', 'cgroupfs', '', `/portcullis/${id}`],
    ['a kubelet’s path under systemd', 'systemd', kubelet, kubelet],
    ['a slice given only by its name', 'systemd', 'kubepods-burstable-pod0a_1b.slice', kubelet],
    ['a slice without a dash', 'systemd', 'system.slice', '/system.slice'],
    ['none under systemd', 'systemd', '', `/portcullis.slice/portcullis-${id}.slice`],
  ];
  for (const [what, driver, asked, path] of cases)
    it(`is found for ${what}`, () => assert.equal(podCgroup(driver, asked, id), path));

  const refused: readonly [what: string, driver: CgroupDriver, asked: string, why: RegExp][] = [
    ['a slice under cgroupfs', 'cgroupfs', 'kubepods.slice', /slice of systemd.*cgroupDriver: cgroupfs/s],
    ['a path under systemd', 'systemd', '/kubepods/burstable/pod1', /not a slice.*cgroupDriver: systemd/s],
    ['the root under systemd', 'systemd', '/', /not a slice/],
    ['the root slice', 'systemd', '-.slice', /not a slice/],
    ['an empty level', 'systemd', 'a--b.slice', /not a valid name of a systemd slice/],
    ['a dash at the end', 'systemd', 'a-.slice', /not a valid name of a systemd slice/],
    [
      'a colon, which separates the parts of the runtime’s path',
      'systemd',
      'a:b.slice',
      /not a valid name of a systemd slice/,
    ],
    ['a name that is too long', 'systemd', `${'a'.repeat(250)}.slice`, /too long/],
    ['a path with ".."', 'cgroupfs', '/a/../../b', /it contains "\.\."/],
    ['a path with ".." that leads to a slice', 'systemd', '/../a.slice', /it contains "\.\."/],
    ['a line break', 'cgroupfs', '/a\nb', /control characters/],
    ['a folder that is too long', 'cgroupfs', `/${'a'.repeat(256)}`, /too long/],
  ];
  for (const [what, driver, asked, why] of refused)
    it(`is refused: ${what}`, () =>
      assert.throws(
        () => podCgroup(driver, asked, id),
        (error) =>
          isPortcullisError(error) &&
          error.code === 'RUNTIME_BAD_CGROUP_PARENT' &&
          error.kind === 'invalid' &&
          why.test(error.message),
      ));
});

describe('a slice’s path', () => {
  it('has a folder for each dash, and each name is a prefix of the next name', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const name = `${parts.join('-')}.slice`;
        const folders = (expandSlice(name) ?? '').split('/').slice(1);
        assert.equal(folders.length, parts.length);
        assert.equal(folders.at(-1), name);
        for (const [index, folder] of folders.entries())
          assert.equal(folder, `${parts.slice(0, index + 1).join('-')}.slice`);
      }),
    );
  });

  it('is not found for any other string, and never leaves the hierarchy', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string().map((text) => `${text}.slice`),
        ),
        (text) => {
          const path = expandSlice(text);
          if (path === undefined) return;
          assert.match(path, /^\/(?:[A-Za-z0-9_.\\-]+\.slice(?:\/|$))*$/);
          assert.ok(!path.split('/').includes('..'));
        },
      ),
    );
  });
});

describe('a container’s cgroup', () => {
  it('is a folder in the cgroup of the pod under cgroupfs', () => {
    assert.deepEqual(containerCgroup('/kubepods/pod1', id), {
      path: `/kubepods/pod1/${id}`,
      specPath: `/kubepods/pod1/${id}`,
      systemd: false,
    });
    assert.equal(containerCgroup('/', id).path, `/${id}`);
  });

  it('is a scope in the slice of the pod under systemd', () => {
    assert.deepEqual(containerCgroup('/kubepods.slice/kubepods-pod1.slice', id), {
      path: `/kubepods.slice/kubepods-pod1.slice/portcullis-${id}.scope`,
      specPath: `kubepods-pod1.slice:portcullis:${id}`,
      systemd: true,
    });
  });

  it('has its processes one folder deeper if crun uses systemd', () => {
    const [scope, folder] = [containerCgroup('/a.slice', id), containerCgroup('/a', id)];
    assert.deepEqual(
      ['crun', 'runc', undefined].map((kind) => processCgroup(scope, kind)),
      [`${scope.path}/container`, scope.path, scope.path],
    );
    assert.equal(processCgroup(folder, 'crun'), folder.path);
  });

  it('has a name that shows the id under either driver', () => {
    for (const pod of ['/a.slice', '/a'])
      assert.equal(containerIdIn(basename(containerCgroup(pod, id).path)), id);
    assert.deepEqual(
      ['a', `${id}0`, `x-${id}`, `portcullis-${id}.slice`].map((name) => containerIdIn(name)),
      [undefined, undefined, undefined, undefined],
    );
  });

  it('is in the cgroup of the pod, whatever was requested', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), fc.boolean(), (parts, systemd) => {
        const pod = podCgroup(
          systemd ? 'systemd' : 'cgroupfs',
          systemd ? `${parts.join('-')}.slice` : parts.join('/'),
          id,
        );
        const place = containerCgroup(pod, id);
        assert.equal(place.systemd, systemd);
        assert.equal(place.path.slice(0, place.path.lastIndexOf('/')), pod);
      }),
    );
  });
});

test('the configured driver is used, and `auto` selects one of the two', () => {
  assert.equal(cgroupDriver('systemd'), 'systemd');
  assert.equal(cgroupDriver('cgroupfs'), 'cgroupfs');
  assert.match(cgroupDriver('auto'), /^(cgroupfs|systemd)$/);
});
