import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseGroup, parsePasswd, userFrom } from '../containers/bundle/user.ts';
import type { ImageRecord } from '../images/types.ts';
import { imageMessage } from './image-messages.ts';

/** Files of an image in which every name that could be read as a number is root. */
const names = [
  'root',
  '+0',
  '0x0',
  ' 0',
  '0 ',
  '-0',
  '1000',
  '00',
  '1e3',
  '٣',
  '０',
  '1_000',
  '4294967296',
  'app',
];
const passwd = parsePasswd(names.map((name) => `${name}:x:0:0::/:\n`).join(''));
const groups = parseGroup('');

/**
 * Returns what a kubelet reads of an image's user (verifyRunAsNonRoot,
 * pkg/kubelet/kuberuntime/security_context.go). It starts a container whose id is not 0.
 */
function reported(user: string): { readonly uid?: number; readonly username: string } {
  const message = imageMessage({
    config: {
      architecture: '',
      os: '',
      user,
      env: [],
      entrypoint: [],
      cmd: [],
      workingDir: '',
      volumes: [],
      labels: {},
      stopSignal: '',
    },
    id: 'sha256:0',
    repoTags: [],
    repoDigests: [],
    size: 0,
    unverified: false,
    pinned: false,
  } as unknown as ImageRecord);
  const uid = (message as { uid?: { value: number } }).uid?.value;
  return { ...(uid !== undefined && { uid }), username: message.username ?? '' };
}

/** Returns the id that the container would have. Undefined if it is refused. */
function had(imageUser: string): number | undefined {
  try {
    return userFrom({ passwd, groups, imageUser, asked: undefined }).uid;
  } catch {
    return undefined;
  }
}

/** Reports whether a kubelet accepts the user as not root, although the container runs as root. */
function evades(user: string): boolean {
  const { uid, username } = reported(user);
  // If neither is reported, a kubelet takes the user for root. A name is refused where a pod may not run as
  // root.
  const passes = uid !== undefined && uid !== 0;
  return passes && username === '' && had(user) !== uid && had(user) !== undefined;
}

for (const form of [
  '',
  '0',
  '00',
  '000000000000000000000',
  '+0',
  '-0',
  '0x0',
  ' 0',
  '0 ',
  '\t0',
  '0\n',
  '1e3',
  '1000',
  '01000',
  '1_000',
  '٣',
  '０',
])
  test(`status never reports a non-root user to the kubelet if root would run: ${form}`, () => {
    for (const user of [form, `${form}:`, `${form}:0`, `${form}:1000`, `:${form}`])
      assert.equal(evades(user), false, JSON.stringify(user));
  });

test('numbers that are too large for an id are refused, not shortened', () => {
  for (const user of [
    '2147483648',
    '4294967296',
    '4294967297',
    '18446744073709551616',
    '9007199254740993',
    '1'.repeat(400),
  ])
    assert.equal(had(user), undefined, user);
});

test('status and container agree on the user, for any USER of an image', () => {
  const text = fc.string({
    unit: fc.constantFrom('0', '1', '9', '+', '-', 'x', ' ', ':', '.', 'e', '\t', '\n', '\0', 'r', '٣'),
    maxLength: 12,
  });
  fc.assert(
    fc.property(text, (user) => {
      assert.equal(evades(user), false);
      const { uid } = reported(user);
      if (uid !== undefined && had(user) !== undefined) assert.equal(had(user), uid);
    }),
    { numRuns: 3000 },
  );
});
