import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { IDMapping, NamespaceOption } from '../cri/contract/contract.types.ts';
import { checkContainerUserNamespace, hostPingGroups, planUserNamespace } from './user-namespace-options.ts';

const range = (part: Partial<IDMapping> = {}): IDMapping => ({
  hostId: 100_000,
  containerId: 0,
  length: 65_536,
  ...part,
});
const options = (
  usernsOptions: NamespaceOption['usernsOptions'],
  part: Partial<NamespaceOption> = {},
): NamespaceOption => ({
  network: 0,
  pid: 1,
  ipc: 0,
  targetId: '',
  ...(usernsOptions !== undefined && { usernsOptions }),
  ...part,
});
const pod = (uids: IDMapping[] = [range()], gids = uids): NamespaceOption => options({ mode: 0, uids, gids });

test('one uid range and one gid range that begin at root inside the namespace', () => {
  assert.deepEqual(planUserNamespace('p', pod([range()], [range({ hostId: 7 })])), {
    uids: range(),
    gids: range({ hostId: 7 }),
  });
  const onHost = options(pod().usernsOptions, { network: 2 });
  assert.deepEqual(
    planUserNamespace('p', onHost),
    { uids: range(), gids: range() },
    "with the host's network",
  );
  assert.equal(planUserNamespace('p', undefined), undefined);
  assert.equal(planUserNamespace('p', options(undefined)), undefined);
  assert.equal(
    planUserNamespace('p', options({ mode: 2, uids: [], gids: [] })),
    undefined,
    'NODE is the user namespace of the host',
  );
});

const refused: readonly { what: string; options: NamespaceOption; says: RegExp }[] = [
  { what: 'no range', options: pod([]), says: /0 ranges of uids/ },
  { what: 'two ranges', options: pod([range(), range({ hostId: 1 })]), says: /2 ranges of uids/ },
  { what: 'no gids', options: pod([range()], []), says: /0 ranges of gids/ },
  { what: 'no root inside', options: pod([range({ containerId: 1 })]), says: /root must exist/ },
  { what: 'an empty range', options: pod([range({ length: 0 })]), says: /not ids/ },
  { what: 'ids beyond the largest id', options: pod([range({ hostId: 2 ** 32 - 10 })]), says: /not ids/ },
  { what: "the host's root", options: pod([range({ hostId: 0 })]), says: /host's root/ },
  { what: 'mode CONTAINER', options: options({ mode: 1, uids: [], gids: [] }), says: /CONTAINER/ },
  { what: 'mode TARGET', options: options({ mode: 3, uids: [], gids: [] }), says: /mode/ },
  {
    what: 'NODE with ranges',
    options: options({ mode: 2, uids: [range()], gids: [] }),
    says: /NODE is the user namespace of the host/,
  },
  { what: "the host's processes", options: options(pod().usernsOptions, { pid: 2 }), says: /pid/ },
  { what: "the host's IPC", options: options(pod().usernsOptions, { ipc: 2 }), says: /ipc/ },
];
for (const row of refused) {
  test(`refused: ${row.what}`, () => {
    assert.throws(() => planUserNamespace('p', row.options), {
      code: 'RUNTIME_BAD_USER_NAMESPACE',
      message: row.says,
    });
  });
}

test('a container requests the user namespace of its pod, or sends no options', () => {
  const host = options({ mode: 2, uids: [], gids: [] });
  checkContainerUserNamespace('c', pod(), pod());
  checkContainerUserNamespace('c', pod(), undefined);
  checkContainerUserNamespace('c', pod(), options(undefined));
  checkContainerUserNamespace('c', undefined, host);
  for (const [theirs, own] of [
    [pod(), host],
    [host, pod()],
    [undefined, pod()],
    [pod(), pod([range({ hostId: 1 })])],
    [pod(), pod([range()], [range({ length: 10 })])],
  ])
    assert.throws(() => checkContainerUserNamespace('c', theirs, own), {
      code: 'RUNTIME_BAD_USER_NAMESPACE',
    });
});

test('the range of groups that may ping has ids of the host, and only groups of the pod', () => {
  assert.equal(hostPingGroups(range(), '0 2147483647'), '100000 165535');
  assert.equal(hostPingGroups(range(), '5\t9'), '100005 100009');
  assert.equal(hostPingGroups(range(), '1 0'), '1 0', 'nobody');
  for (const strange of ['', 'x y', '-1 5', '70000 80000'])
    assert.equal(hostPingGroups(range(), strange), '1 0');
  assert.equal(hostPingGroups(range({ hostId: 2 ** 31 - 2 }), '0 9'), '2147483646 2147483647');
  fc.assert(
    fc.property(
      fc.nat(2 ** 31),
      fc.nat(2 ** 31),
      fc.integer({ min: 1, max: 2 ** 20 }),
      fc.integer({ min: 1, max: 2 ** 32 - 2 ** 20 - 1 }),
      (a, b, length, hostId) => {
        const [low = 0, high = 0] = hostPingGroups(range({ hostId, length }), `${a} ${b}`)
          .split(' ')
          .map(Number);
        assert.ok(low > high || (low >= hostId && high < hostId + length && high < 2 ** 31));
      },
    ),
  );
});
