import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type {
  LinuxContainerSecurityContext,
  SupplementalGroupsPolicy,
} from '../../cri/contract/contract.types.ts';
import { holdDescriptors } from '../../../base/process/descriptors.fixture.ts';
import { parseGroup, parsePasswd, resolveUser, userFrom } from './user.ts';

const passwd = parsePasswd(
  'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nbroken line\nbig:x:4294967296:0::/:\n',
);
const groups = parseGroup('root:x:0:\nwww-data:x:33:\nextra:x:50000:www-data,root\n');
const asked = (part: Partial<LinuxContainerSecurityContext>): LinuxContainerSecurityContext =>
  ({
    runAsUsername: '',
    supplementalGroups: [],
    supplementalGroupsPolicy: 0,
    ...part,
  }) as LinuxContainerSecurityContext;

test('user: a number is an id, even if a user or group of the image has this name', () => {
  const liars = { passwd: parsePasswd('1000:x:0:0::/root:/bin/sh\n'), groups: parseGroup('2000:x:0:\n') };
  const context = asked({ runAsUser: { value: 1000 }, runAsGroup: { value: 2000 } });
  for (const [imageUser, given] of [
    ['', context],
    ['1000:2000', undefined],
  ] as const) {
    const { uid, gid } = userFrom({ ...liars, imageUser, asked: given });
    assert.deepEqual([uid, gid], [1000, 2000]);
  }
});

const cases: readonly [
  string,
  string,
  Partial<LinuxContainerSecurityContext>,
  number,
  number,
  readonly number[],
][] = [
  ['no user is root, with the groups of root', '', {}, 0, 0, [0, 50000]],
  ['a user name in the image', 'www-data', {}, 33, 33, [33, 50000]],
  ['uid and gid of the image', '7:8', {}, 7, 8, [8]],
  ['a name with a group', 'www-data:root', {}, 33, 0, [0, 50000]],
  ['run_as_user drops the image’s group', 'www-data:8', { runAsUser: { value: 33 } }, 33, 33, [33, 50000]],
  ['run_as_username', '', { runAsUsername: 'www-data' }, 33, 33, [33, 50000]],
  ['run_as_group', '', { runAsUser: { value: 1000 }, runAsGroup: { value: 2000 } }, 1000, 2000, [2000]],
  [
    'supplemental groups are added',
    '',
    { runAsUser: { value: 1000 }, supplementalGroups: [5, 6] },
    1000,
    0,
    [0, 5, 6],
  ],
  [
    'Strict omits the groups of the image',
    'www-data',
    { supplementalGroups: [5], supplementalGroupsPolicy: 1 },
    33,
    33,
    [33, 5],
  ],
];
for (const [name, imageUser, context, uid, gid, additionalGids] of cases) {
  test(`user: ${name}`, () => {
    const user = userFrom({ passwd, groups, imageUser, asked: asked(context) });
    assert.deepEqual(
      { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      { uid, gid, additionalGids },
    );
  });
}

for (const [name, imageUser, context] of [
  ['an unknown name', 'nobody-here', {}],
  ['an id beyond 31 bits (CVE-2024-40635)', '4294967296:0', {}],
  ['a group without a user', '', { runAsGroup: { value: 1 } }],
  ['a name with a line feed (CVE-2022-4318)', '', { runAsUsername: 'root\nx:0:0' }],
  ['a negative id', '', { runAsUser: { value: -1 } }],
  [
    'an unknown policy of supplemental groups',
    '',
    { supplementalGroupsPolicy: 7 as SupplementalGroupsPolicy },
  ],
  ['a USER of three parts', 'a:b:c', {}],
] as const) {
  test(`user: ${name} is refused`, () => {
    assert.throws(() => userFrom({ passwd, groups, imageUser, asked: asked(context) }), {
      code: 'RUNTIME_BAD_USER',
    });
  });
}

test('user: a file that is not regular is not opened, so it cannot block', () => {
  const root = mkdtempSync(join(tmpdir(), 'user-'));
  try {
    mkdirSync(join(root, 'etc/group'), { recursive: true });
    execFileSync('mkfifo', [join(root, 'etc/passwd')]);
    assert.equal(resolveUser(root, '12:13', undefined).gid, 13);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('user: only files of the image are read, never files of the host, and their size is limited', () => {
  const root = mkdtempSync(join(tmpdir(), 'user-'));
  try {
    mkdirSync(join(root, 'etc'));
    symlinkSync('/etc/passwd', join(root, 'etc/group'));
    symlinkSync('../../../../../../../../etc/shadow', join(root, 'etc/passwd'));
    assert.equal(resolveUser(root, '12', undefined).uid, 12);
    assert.throws(() => resolveUser(root, 'daemon', undefined), { code: 'RUNTIME_BAD_USER' });
    rmSync(join(root, 'etc/passwd'));
    writeFileSync(join(root, 'etc/passwd'), '');
    truncateSync(join(root, 'etc/passwd'), 1024 ** 3);
    assert.throws(() => resolveUser(root, 'root', undefined), { code: 'RUNTIME_BAD_USER' });
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('user: a user keeps its groups when no descriptor is free', () => {
  const rootfs = mkdtempSync(join(tmpdir(), 'portcullis-user-'));
  const descriptors = holdDescriptors();
  try {
    mkdirSync(join(rootfs, 'etc'));
    writeFileSync(join(rootfs, 'etc/passwd'), 'web:x:1000:1000::/:\n');
    writeFileSync(join(rootfs, 'etc/group'), 'more:x:2000:web\n');
    const find = () => resolveUser(rootfs, '1000', undefined);
    assert.deepEqual([find().gid, find().additionalGids], [1000, [1000, 2000]]);
    for (const count of [0, 1]) {
      descriptors.fill();
      descriptors.free(count);
      assert.throws(find, { code: 'KERNEL_EMFILE' }, `with ${count} descriptors`);
    }
  } finally {
    descriptors.release();
    rmSync(rootfs, { recursive: true });
  }
});
