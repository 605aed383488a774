import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decide } from '../seccomp/decision.ts';
import { decisionOf } from '../seccomp/oci-import.ts';
import { readOciSeccomp } from '../seccomp/oci-shape.ts';
import { highBits } from './high-bits.ts';
import { lintSeccompText } from './seccomp.ts';

type Rule = readonly [
  action: string,
  name: string,
  ...args: readonly (readonly [index: number, op: string, value: number | string, two?: number | string])[],
];

function profile(fallback: string, ...rules: readonly Rule[]): string {
  const written = rules.map(([action, name, ...args]) => {
    const conditions = args.map(
      ([index, op, value, two = 0]) =>
        `{"index": ${index}, "op": "SCMP_CMP_${op}", "value": ${value}, "valueTwo": ${two}}`,
    );
    return `  {"names": ["${name}"], "action": "SCMP_ACT_${action}", "args": [${conditions.join(', ')}]}`;
  });
  return `{"defaultAction": "SCMP_ACT_${fallback}",\n "syscalls": [\n${written.join(',\n')}\n ]}`;
}

function codes(text: string): string[] {
  const { findings, problems } = lintSeccompText(text, 'p.json');
  assert.deepEqual(problems, []);
  return findings.map(
    ({ position, code, message }) => `${position.line}:${position.column} ${code} ${message}`,
  );
}

describe('bits of an int that the kernel does not read', () => {
  it('are found in the rules by which moby denies AF_ALG and AF_VSOCK', () => {
    const moby = profile(
      'ERRNO',
      ['ALLOW', 'read'],
      ['ALLOW', 'socket', [0, 'LT', 38]],
      ['ALLOW', 'socket', [0, 'EQ', 39]],
      ['ALLOW', 'socket', [0, 'GT', 40]],
    );
    const [first, ...rest] = codes(moby);
    assert.deepEqual(rest, []);
    assert.match(
      first ?? '',
      /^6:3 int-arg-high-bits socket\(0x1000000(26|28)\) is answered "allow", and the kernel reads it as socket\(AF_(ALG|VSOCK)\)/,
    );
  });

  const table: readonly (readonly [name: string, text: string, fires: boolean])[] = [
    [
      'families by EQ',
      profile('ERRNO', ['ALLOW', 'socket', [0, 'EQ', 1]], ['ALLOW', 'socket', [0, 'EQ', 2]]),
      false,
    ],
    [
      'a mask over the low 32 bits',
      profile('ERRNO', ['ALLOW', 'socket', [0, 'MASKED_EQ', 4294967295, 2]]),
      false,
    ],
    [
      'a mask over all 64 bits',
      profile('ERRNO', ['ALLOW', 'socket', [0, 'MASKED_EQ', '18446744073709551615', 2]]),
      false,
    ],
    ['everything but one family', profile('ERRNO', ['ALLOW', 'socket', [0, 'NE', 38]]), true],
    ['one family denied', profile('ALLOW', ['ERRNO', 'socket', [0, 'EQ', 38]]), true],
    [
      'one family denied by its low bits',
      profile('ALLOW', ['ERRNO', 'socket', [0, 'MASKED_EQ', 4294967295, 38]]),
      false,
    ],
    ['a lower bound on a 64-bit argument', profile('ERRNO', ['ALLOW', 'write', [2, 'GT', 2]]), false],
    ['a lower bound on a descriptor', profile('ERRNO', ['ALLOW', 'write', [0, 'GT', 2]]), true],
    ['an upper bound', profile('ERRNO', ['ALLOW', 'write', [0, 'LE', 2]]), false],
    ['a mode of 16 bits', profile('ALLOW', ['ERRNO', 'chmod', [1, 'MASKED_EQ', 2048, 2048]]), false],
    [
      'clone without namespaces',
      profile('ERRNO', ['ALLOW', 'clone', [0, 'MASKED_EQ', 2114060288, 0]]),
      false,
    ],
    ['TIOCSTI denied by value', profile('ALLOW', ['ERRNO', 'ioctl', [1, 'EQ', 21522]]), true],
    ['a call without conditions', profile('ERRNO', ['ALLOW', 'socket']), false],
  ];
  for (const [name, text, fires] of table) {
    it(`${fires ? 'pass' : 'do not pass'} ${name}`, () => {
      assert.equal(
        codes(text).some((found) => found.includes('int-arg-high-bits')),
        fires,
      );
    });
  }

  it('are found exactly when some value passes with them that does not without', () => {
    const values = fc.constantFrom(
      0,
      1,
      2,
      3,
      38,
      4294967295,
      4294967296,
      4294967297,
      4294967334,
      8589934592,
    );
    const operator = fc.constantFrom('EQ', 'NE', 'LT', 'LE', 'GT', 'GE', 'MASKED_EQ');
    const rule = fc.tuple(fc.constantFrom('ALLOW', 'ERRNO', 'KILL_PROCESS'), operator, values, values);
    const samples = [0n, 1n, 2n, 3n, 4n, 37n, 38n, 39n, 0xfffffffen, 0xffffffffn];
    const highs = [1n, 2n, 3n, 0x7fffffffn, 0xffffffffn];
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 4 }),
        fc.constantFrom('ALLOW', 'ERRNO'),
        (rules, fallback) => {
          const text = profile(
            fallback,
            ...rules.map(([action, op, value, two]): Rule => [action, 'socket', [0, op, value, two]]),
          );
          const oci = readOciSeccomp(JSON.parse(text));
          const of = decisionOf('socket', oci.syscalls, fallback === 'ALLOW' ? 'allow' : 'errno 1', () => 64);
          const rank = (outcome: string): number => ['kill-process', 'errno 1', 'allow'].indexOf(outcome);
          const found = highBits('socket', of);
          if (found !== undefined) {
            assert.ok(rank(decide(of, found.args)) > rank(decide(of, found.read)));
            assert.equal((found.args[0] ?? 0n) & 0xffffffffn, found.read[0]);
          }
          const passes = samples.some((low) =>
            highs.some((high) => rank(decide(of, [low | (high << 32n)])) > rank(decide(of, [low]))),
          );
          if (passes) assert.ok(found !== undefined, text);
        },
      ),
      { numRuns: 1500, seed: 38 },
    );
  });
});

describe('a seccomp file', () => {
  it('has rules that say nothing more', () => {
    const text = profile(
      'ERRNO',
      ['ALLOW', 'read'],
      ['ALLOW', 'read'],
      ['ALLOW', 'write', [0, 'EQ', 1]],
      ['ALLOW', 'write'],
    );
    assert.deepEqual(
      codes(text).map((line) => line.split(' ').slice(0, 3).join(' ')),
      ['4:3 shadowed-rule read', '5:3 shadowed-rule write'],
    );
    assert.deepEqual(
      codes(profile('ERRNO', ['ALLOW', 'write', [0, 'EQ', 1]], ['ALLOW', 'write', [0, 'EQ', 2]])),
      [],
    );
  });

  const broken: readonly (readonly [text: string, line: RegExp])[] = [
    ['{', /^1:1 /],
    ['{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [{"names": []}]}', /^2:25 it is empty/],
    [
      '{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [\n{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 9, "op": "SCMP_CMP_EQ"}]}]}',
      /^3:68 a system call has the arguments 0 to 5/,
    ],
    ['{"defaultAction": "SCMP_ACT_NOTIFY"}', /^1:1 this action needs a supervisor/],
  ];
  for (const [text, line] of broken) {
    it(`is refused at its place: ${line.source}`, () => {
      const { findings, problems } = lintSeccompText(text, 'p.json');
      assert.deepEqual(findings, []);
      assert.match(
        problems.map(({ position, message }) => `${position.line}:${position.column} ${message}`).join('\n'),
        line,
      );
    });
  }
});
