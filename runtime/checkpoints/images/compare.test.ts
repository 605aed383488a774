import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { excessOf } from './compare.ts';
import type { Bound } from './compare.ts';
import { counterBound, counterRights } from './counter.fixture.ts';
import type { FileRights, MountRights, ProcessRights, Rights, ThreadRights } from './rights.ts';

const rights = counterRights();
const bound = counterBound();
const [first, second] = rights.threads as [ThreadRights, ThreadRights];
const [shell] = rights.processes as [ProcessRights];

/** The excess rights when one thread of the container differs. */
const withThread = (change: Partial<ThreadRights>, of = second): string =>
  shown({ ...rights, threads: rights.threads.map((each) => (each === of ? { ...each, ...change } : each)) });
const withProcess = (change: Partial<ProcessRights>): string =>
  shown({
    ...rights,
    processes: rights.processes.map((each) => (each === shell ? { ...each, ...change } : each)),
  });
const withFile = (regular: Partial<NonNullable<FileRights['regular']>>): string =>
  shown({
    ...rights,
    files: [
      {
        id: 90,
        kind: 'regular',
        regular: { name: '/f', mode: 0o100644, writable: false, external: false, ...regular },
      },
    ],
  });
const withMount = (mount: Partial<MountRights>): string =>
  shown({ ...rights, mounts: [{ mountpoint: '/m', external: undefined, readOnly: false, ...mount }] });
const shown = (changed: Rights, by: Bound = bound): string =>
  excessOf(changed, by)
    .map(({ what }) => what)
    .join(', ');
const withSpec = (process: Partial<Bound['spec']['process']>): Bound => ({
  ...bound,
  spec: { ...bound.spec, process: { ...bound.spec.process, ...process } },
});

describe('excessOf', () => {
  it('finds no excess in the images of a container that conforms to its specification', () => {
    assert.equal(shown(rights), '');
  });

  const sysAdmin = 1n << 21n;
  for (const set of ['permitted', 'effective', 'inheritable', 'bounding', 'ambient'] as const)
    it(`finds a capability in the ${set} set of a second process`, () => {
      const changed = { ...second.capabilities, [set]: second.capabilities[set] | sysAdmin };
      assert.match(
        withThread({ capabilities: changed }),
        new RegExp(`^process 30 has ${set} .*: SYS_ADMIN$`),
      );
    });

  it('finds a capability that does not exist in any kernel yet', () => {
    const changed = { ...second.capabilities, permitted: 1n << 63n };
    assert.match(withThread({ capabilities: changed }), /0x8000000000000000/);
  });

  it('finds another user or group, unless the container may change them', () => {
    assert.match(withThread({ uids: [0, 0, 5, 0] }), /the user 5/);
    assert.match(withThread({ groups: [44] }), /the group 44/);
    assert.match(withThread({ gids: [0, 0, 44, 0] }), /the group 44/);
    const capabilities = { ...bound.spec.process.capabilities, permitted: ['CAP_SETUID', 'CAP_SETGID'] };
    const free = { ...rights, threads: [{ ...first, uids: [5, 5, 5, 5], groups: [44] }] };
    assert.doesNotMatch(shown(free, withSpec({ capabilities })), /the user|the group/);
  });

  it('finds root if the specification names another user', () => {
    assert.match(shown(rights, withSpec({ user: { uid: 1000, gid: 0, additionalGids: [] } })), /the user 0/);
  });

  it('finds a process without no_new_privs', () => {
    assert.match(shown(rights, withSpec({ noNewPrivileges: true })), /process 1 has no bit no_new_privs/);
    const kept = { ...rights, threads: rights.threads.map((each) => ({ ...each, noNewPrivileges: true })) };
    assert.equal(shown(kept, withSpec({ noNewPrivileges: true })), '');
  });

  it('finds a thread without the filters, with other filters, or with another order of filters', () => {
    const [filter] = first.filters ?? [];
    assert.ok(filter !== undefined);
    const other = Uint8Array.from(filter);
    other[other.length - 1] = 1;
    for (const filters of [undefined, [], [other], [other, filter]])
      assert.match(withThread({ filters }), /other seccomp filters/);
    assert.equal(withThread({ filters: [filter, other] }), '');
  });

  it('finds a thread with more rights than the first thread of its process', () => {
    const thread = { ...second, tid: 31, uids: [0, 0, 7, 0] };
    assert.match(
      shown({ ...rights, threads: [...rights.threads, thread] }),
      /thread 31 of process 30 has the user 7/,
    );
  });

  it('finds another label', () => {
    assert.match(withThread({ label: 'other' }), /the label other instead of \(none\)/);
    const labelled = withSpec({ apparmorProfile: 'portcullis-x' });
    assert.match(shown(rights, labelled), /the label \(none\) instead of portcullis-x/);
    const all = { ...rights, threads: rights.threads.map((each) => ({ ...each, label: 'portcullis-x' })) };
    assert.equal(shown(all, labelled), '');
    // The kernel sorts the profiles of a stack.
    const stack = {
      ...rights,
      threads: rights.threads.map((each) => ({ ...each, label: 'a//&portcullis-x' })),
    };
    assert.equal(shown(stack, withSpec({ apparmorProfile: 'portcullis-x//&a' })), '');
  });

  it('finds securebits, priorities and limits that need capabilities', () => {
    assert.match(withThread({ secureBits: 1 << 4 }), /securebits 16/);
    assert.match(withThread({ nice: -5 }), /nice value -5/);
    assert.match(withThread({ policy: 1 }), /scheduling policy 1/);
    assert.match(
      withProcess({ limits: shell.limits.map(() => 2n ** 63n) }),
      /RLIMIT_NOFILE 9223372036854775808/,
    );
    assert.match(withProcess({ limits: [] }), /no RLIMIT_NOFILE/);
    assert.match(withProcess({ oomScoreAdj: -900 }), /oom_score_adj -900/);
  });

  it('finds a namespace of the node, and a separate user namespace', () => {
    for (const [kind, name] of [
      ['mnt', 'mount'],
      ['net', 'network'],
      ['pid', 'pid'],
    ] as const) {
      const namespaces = { ...shell.namespaces, [kind]: rights.ofNode[kind] };
      assert.match(withProcess({ namespaces }), new RegExp(`the ${name} namespace of the node`));
      assert.match(withProcess({ namespaces: { ...namespaces, [kind]: undefined } }), /of the node/);
    }
    assert.match(withProcess({ namespaces: { ...shell.namespaces, user: 99 } }), /separate user namespace/);
  });

  it('finds descriptors of devices, of the kernel, of files outside, and of unknown kinds', () => {
    assert.match(withFile({ name: '/dev/sda', mode: 0o020660 }), /the device "\/dev\/sda" is open/);
    assert.match(withFile({ name: '/dev/null', mode: 0o060660 }), /mode 60660/);
    assert.equal(withFile({ name: '/dev/null', mode: 0o020666 }), '');
    assert.match(
      withFile({ name: '/proc/sys/kernel/core_pattern', writable: true }),
      /of the kernel is writable/,
    );
    assert.match(withFile({ external: true }), /outside the container/);
    assert.match(withFile({ name: '/a/../../f' }), /not a plain path/);
    assert.match(
      shown({ ...rights, files: [{ id: 9, kind: 'type 5000', regular: undefined }] }),
      /unsupported kind/,
    );
  });

  it('finds mounts from outside, and mounts that became writable', () => {
    assert.match(withMount({ mountpoint: '/host', external: '/etc' }), /"\/host" comes from outside/);
    assert.match(withMount({ mountpoint: '/proc', external: '/etc' }), /"\/proc" comes from outside/);
    assert.match(withMount({ mountpoint: '/sys' }), /"\/sys" is writable/);
    assert.equal(withMount({ mountpoint: '/dev/shm', external: '/dev/shm' }), '');
  });

  it('finds images of unsupported kinds', () => {
    assert.match(shown({ ...rights, unread: ['iptables-9.img'] }), /iptables-9.img/);
  });
});
