import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { builtinProfile } from '../profile/builtin.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { clause } from '../seccomp/clause.ts';
import { describeProfile } from './explain-question.ts';
import { clauseText, limitText, outcomeText, resourceText } from './words.ts';

type Range = Parameters<typeof argumentTest>[2];

const conditions: readonly (readonly [
  call: string,
  tests: readonly (readonly [index: number, Range])[],
  text: string,
])[] = [
  ['socket', [], 'any arguments'],
  ['socket', [[0, { low: 39n, high: 39n }]], 'arg0 = AF_NFC'],
  ['socket', [[0, { high: 14n }]], 'arg0 up to AF_SECURITY (14)'],
  ['socket', [[0, { low: 41n, high: 45n }]], 'arg0 from AF_KCM (41) to AF_MCTP (45)'],
  [
    'socket',
    [
      [0, { low: 16n, high: 16n }],
      [2, { low: 6n, high: 6n }],
    ],
    'arg0 = AF_NETLINK and arg2 = NETLINK_XFRM',
  ],
  ['socket', [[2, { low: 6n, high: 6n }]], 'arg2 = IPPROTO_TCP'],
  ['socket', [[0, { low: 900n, high: 901n }]], 'arg0 from 900 to 901'],
  ['clone', [[0, { mask: 0x10020000n, value: 0n }]], 'arg0 has none of CLONE_NEWNS, CLONE_NEWUSER'],
  [
    'clone',
    [[0, { mask: 0x10020000n, value: 0x10000000n }]],
    'arg0 has CLONE_NEWUSER and arg0 has none of CLONE_NEWNS',
  ],
  ['ioctl', [[1, { low: 0x541dn }]], 'arg1 from TIOCCONS (0x541d)'],
  ['personality', [[0, { low: 0x20008n, high: 0x20008n }]], 'arg0 = PER_LINUX32|UNAME26'],
];

describe('in words', () => {
  for (const [call, tests, text] of conditions)
    it(`a condition on ${call} is: ${text}`, () => {
      const made = tests.map(([index, range]) => argumentTest(index, call === 'clone' ? 64 : 32, range));
      assert.equal(clauseText(call, clause(made.filter((test) => test !== undefined))), text);
    });

  it('an answer of the filter has the name of its errno', () => {
    assert.deepEqual((['allow', 'errno 1', 'errno 38', 'errno 4000'] as const).map(outcomeText), [
      'allow',
      'EPERM',
      'ENOSYS',
      'ERRNO_4000',
    ]);
  });

  it('limits have units', () => {
    const infinity = (1n << 64n) - 1n;
    assert.equal(limitText('NOFILE', { soft: 4096n, hard: 4096n }), 'NOFILE 4096 open files');
    assert.equal(
      limitText('AS', { soft: 1n << 30n, hard: infinity }),
      'AS 1 GiB (the program may raise it to unlimited)',
    );
    assert.equal(limitText('CPU', { soft: 60n, hard: 60n }), 'CPU 60 s of CPU time');
    assert.equal(resourceText('memory', 1025n), 'memory 1025 bytes');
    assert.equal(resourceText('memory', 512n << 20n), 'memory 512 MiB');
    assert.equal(resourceText('cpu', 1500n), 'cpu 1.5 CPUs');
    assert.equal(resourceText('pids', 200n), 'pids 200 processes and threads');
  });
});

describe('a described profile', () => {
  for (const [name, text] of [
    ['restricted', 'ambient +none that a pod does not request; it may request NET_BIND_SERVICE'],
    ['default', 'ambient +none, and a pod may request none'],
  ] as const)
    it(`${name} separates ambient capabilities from those that a pod may request`, () => {
      const profile = builtinProfile(name);
      assert.ok(profile !== undefined);
      assert.match(describeProfile(name, profile), new RegExp(`^${text}$`, 'm'));
    });
});
