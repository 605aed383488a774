import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mount } from '../cri/contract/contract.types.ts';
import { accessOption, idMappings, withSubmounts } from './mapped-mounts.ts';
import { mountPointsBelow, mountShownAt, parseMountinfo } from '../container-mounts/mountinfo.ts';

const mount = (part: Partial<Mount>): Mount =>
  ({
    containerPath: '/data',
    hostPath: '/srv',
    readonly: false,
    propagation: 0,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    ...part,
  }) as Mount;
const able = { recursiveReadOnlyMounts: true, idmappedMounts: true };
const unable = { recursiveReadOnlyMounts: false, idmappedMounts: false };
const range = { hostId: 100_000, containerId: 0, length: 65_536 };

test('recursive read-only: only with an observed feature, readonly and private propagation', () => {
  assert.equal(accessOption(mount({}), unable), 'rw');
  assert.equal(accessOption(mount({ readonly: true }), unable), 'ro');
  assert.equal(accessOption(mount({ readonly: true, recursiveReadOnly: true }), able), 'rro');
  assert.throws(() => accessOption(mount({ readonly: true, recursiveReadOnly: true }), unable), {
    code: 'RUNTIME_RRO_UNSUPPORTED',
    message: /^RROUnsupported: /,
  });
  for (const part of [
    { readonly: false },
    { readonly: true, propagation: 1 },
    { readonly: true, propagation: 2 },
  ] as const)
    assert.throws(() => accessOption(mount({ recursiveReadOnly: true, ...part }), able), {
      code: 'RUNTIME_BAD_MOUNT',
      kind: 'invalid',
    });
});

test('id mappings: both uids and gids, not empty, and never for a runtime that would ignore them', () => {
  assert.deepEqual(idMappings(mount({}), unable), {});
  const both = mount({ uidMappings: [range], gidMappings: [range] });
  const oci = [{ hostID: 100_000, containerID: 0, size: 65_536 }];
  assert.deepEqual(idMappings(both, able), { uidMappings: oci, gidMappings: oci });
  assert.throws(() => idMappings(both, unable), {
    code: 'RUNTIME_IDMAP_UNSUPPORTED',
    message: /silently leave/,
  });
  for (const part of [
    { gidMappings: [] },
    { uidMappings: [] },
    { uidMappings: [{ ...range, length: 0 }] },
    { uidMappings: Array(40).fill(range) },
  ])
    assert.throws(() => idMappings({ ...both, ...part }, able), { code: 'RUNTIME_BAD_MOUNT' });
});

const mountinfo = [
  '21 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  '22 21 0:21 / /srv/a\\040b rw,nosuid - tmpfs tmpfs rw',
  '23 22 0:22 / /srv/a\\040b/deep ro,idmapped - tmpfs tmpfs rw',
  '24 21 0:23 / /srvother rw - tmpfs tmpfs rw',
  '25 22 0:24 / /srv/a\\040b rw - tmpfs tmpfs rw',
].join('\n');

test('reads the kernel’s table of mounts', () => {
  const lines = parseMountinfo(`${mountinfo}\n`);
  const deep = {
    target: '/srv/a b/deep',
    options: ['ro', 'idmapped'],
    id: '23',
    parent: '22',
    fstype: 'tmpfs',
    device: '0:22',
  };
  assert.deepEqual(lines[2], deep);
  assert.deepEqual(mountPointsBelow(lines, '/srv'), ['/srv/a b', '/srv/a b/deep']);
  assert.deepEqual(mountPointsBelow(lines, '/'), ['/srvother', '/srv/a b', '/srv/a b/deep']);
});

test('the mounts below follow, with the same access and without a mapping', () => {
  const ids = [{ hostID: 1, containerID: 0, size: 1 }];
  const bind = {
    destination: '/data',
    type: 'bind',
    source: '/srv',
    options: ['rbind', 'rro'],
    uidMappings: ids,
    gidMappings: ids,
  };
  const single = { ...bind, options: ['bind'] };
  const { uidMappings: _uids, gidMappings: _gids, ...plain } = bind;
  assert.deepEqual(withSubmounts([bind, single], mountinfo), [
    bind,
    { ...plain, destination: '/data/a b', source: '/srv/a b' },
    { ...plain, destination: '/data/a b/deep', source: '/srv/a b/deep' },
    single,
  ]);
  assert.deepEqual(
    withSubmounts([{ ...plain, source: '/', destination: '/host' }], mountinfo).map(
      ({ destination, source }) => [destination, source],
    ),
    [
      ['/host', '/'],
      ['/host/srvother', '/srvother'],
      ['/host/srv/a b', '/srv/a b'],
      ['/host/srv/a b/deep', '/srv/a b/deep'],
    ],
  );
});

test('the table determines what a path shows only if a single mount can be there', () => {
  const shown = (path: string, more: readonly string[] = []): string | undefined => {
    const table = [
      '1 0 0:1 / / rw - ext4 a rw',
      '2 1 0:2 / /proc rw - proc b rw',
      '3 2 0:3 / /proc/keys rw - devtmpfs c rw',
      ...more,
    ];
    return mountShownAt(
      Map.groupBy(parseMountinfo(table.join('\n')), ({ target }) => target),
      path,
    )?.id;
  };
  assert.equal(shown('/proc/keys'), '3');
  assert.equal(shown('/proc'), '2');
  assert.equal(shown('/'), '1');
  assert.equal(shown('/proc/not-a-target'), undefined);
  assert.equal(shown('/proc/keys', ['4 3 0:4 / /proc/keys rw - proc d rw']), undefined);
  assert.equal(shown('/proc/keys', ['4 2 0:4 / /proc rw - proc d rw']), undefined);
  assert.equal(shown('/proc/keys', ['4 1 0:4 / / rw - ext4 d rw']), undefined);
  // The mount is below /proc of the root, where the mount at /proc covers it.
  assert.equal(shown('/proc/irq', ['4 1 0:4 / /proc/irq rw - tmpfs d rw']), undefined);
});
