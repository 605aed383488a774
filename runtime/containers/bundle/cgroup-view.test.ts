import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CgroupMountMode, NamespaceMode } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import { asksWritableCgroups, cgroupViewOf, checkCgroupOptions } from './cgroup-view.ts';

const { CGROUP_MOUNT_MODE_READ_ONLY: readOnly, CGROUP_MOUNT_MODE_READ_WRITE: readWrite } = CgroupMountMode;
const { CONTAINER, NODE, POD, TARGET } = NamespaceMode;

interface Asked {
  readonly privileged?: boolean;
  readonly cgroupMountMode?: number;
  readonly namespace?: number;
}
const config = ({ privileged = false, cgroupMountMode = 0, namespace }: Asked = {}): ContainerConfig =>
  ({
    metadata: { name: 'main', attempt: 0 },
    linux: {
      securityContext: {
        privileged,
        cgroupMountMode,
        namespaceOptions: { ...(namespace !== undefined && { cgroupnsOptions: { mode: namespace } }) },
      },
    },
  }) as unknown as ContainerConfig;

describe('what a container asks for its cgroups', () => {
  const refused: readonly (readonly [asked: Asked, says: RegExp])[] = [
    [{ namespace: POD }, /mode is 0/],
    [{ namespace: TARGET }, /mode is 3/],
    [{ namespace: 9 }, /mode is 9/],
    [{ namespace: NODE }, /only privileged containers/],
    [{ namespace: NODE, cgroupMountMode: readWrite }, /only privileged containers/],
    [{ privileged: true, cgroupMountMode: readOnly }, /always writable/],
    [{ cgroupMountMode: 7 }, /cgroup_mount_mode is 7/],
  ];
  for (const [asked, says] of refused)
    it(`refuses ${JSON.stringify(asked)}`, () => {
      assert.throws(() => checkCgroupOptions(config(asked)), {
        code: 'RUNTIME_BAD_CGROUP_OPTIONS',
        kind: 'invalid',
        message: says,
      });
    });

  it('accepts everything else that the contract has', () => {
    for (const asked of [
      {},
      { cgroupMountMode: readOnly },
      { cgroupMountMode: readWrite },
      { namespace: CONTAINER, cgroupMountMode: readWrite },
      { privileged: true, namespace: NODE, cgroupMountMode: readWrite },
      { privileged: true, namespace: CONTAINER },
    ])
      checkCgroupOptions(config(asked));
    checkCgroupOptions({} as ContainerConfig);
  });

  it('is a request for writable cgroups only without privileges, which include them', () => {
    assert.equal(asksWritableCgroups(config({ cgroupMountMode: readWrite })), true);
    assert.equal(asksWritableCgroups(config({ cgroupMountMode: readWrite, privileged: true })), false);
    assert.equal(asksWritableCgroups(config({ cgroupMountMode: readOnly })), false);
    assert.equal(asksWritableCgroups(config()), false);
    assert.equal(asksWritableCgroups({} as ContainerConfig), false);
    const older = { linux: { securityContext: { privileged: false } } } as unknown as ContainerConfig;
    assert.equal(asksWritableCgroups(older), false, 'a record of an earlier version');
  });
});

describe('what a container sees of the cgroups', () => {
  const roots = ['/sys/fs/cgroup'];
  const [v1, v2] = [
    { version: 1, roots },
    { version: 2, roots },
  ] as const;
  const ordinary = { writableSys: false, writableCgroups: false };
  const privileged = { writableSys: true, writableCgroups: true };

  it('is its own cgroup, read-only, on version 2, and all of version 1', async () => {
    const seen = { writable: false, delegated: false };
    assert.deepEqual(await cgroupViewOf(v2, config(), ordinary, false), { ...seen, namespace: true });
    assert.deepEqual(await cgroupViewOf(v1, config(), ordinary, false), { ...seen, namespace: false });
    assert.deepEqual(await cgroupViewOf(v1, {} as ContainerConfig, ordinary, false), {
      ...seen,
      namespace: false,
    });
  });

  it('is the mount of the host for a privileged container, which a new mount would change', async () => {
    const seen = { namespace: false, writable: true, delegated: false };
    const asked = config({ privileged: true });
    assert.deepEqual(await cgroupViewOf(v2, asked, privileged, false), {
      ...seen,
      hostFolder: '/sys/fs/cgroup',
    });
    assert.deepEqual(await cgroupViewOf(v2, asked, privileged, true), seen, 'in a kernel of its own');
    assert.deepEqual(await cgroupViewOf(v1, asked, privileged, false), seen);
    const own = config({ privileged: true, namespace: CONTAINER });
    assert.deepEqual(await cgroupViewOf(v2, own, privileged, false), { ...seen, namespace: true });
  });

  it('is read-only where the request says so, whatever its profile grants', async () => {
    const asked = config({ cgroupMountMode: readOnly });
    const seen = await cgroupViewOf(v2, asked, { ...ordinary, writableCgroups: true }, false);
    assert.deepEqual(seen, { namespace: true, writable: false, delegated: false });
  });

  it('is writable in a kernel of its own, which no cgroup of the node bounds', async () => {
    const settings = { ...ordinary, writableCgroups: true };
    const seen = { writable: true, delegated: false };
    assert.deepEqual(await cgroupViewOf(v2, config(), settings, true), { ...seen, namespace: true });
    assert.deepEqual(await cgroupViewOf(v1, config(), settings, true), { ...seen, namespace: false });
  });

  it('is not writable on version 1, and has no namespace there', async () => {
    await assert.rejects(cgroupViewOf(v1, config(), { ...ordinary, writableCgroups: true }, false), {
      code: 'RUNTIME_CGROUPS_NOT_DELEGATED',
      kind: 'precondition',
    });
    for (const settings of [ordinary, privileged])
      await assert.rejects(cgroupViewOf(v1, config({ namespace: CONTAINER }), settings, false), {
        code: 'RUNTIME_BAD_CGROUP_OPTIONS',
      });
  });
});
