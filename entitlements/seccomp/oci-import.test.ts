import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { decide } from './decision.ts';
import { policyFromOci } from './oci-import.ts';
import { parseSeccompJson } from './oci-shape.ts';
import type { Outcome } from './outcome.ts';
import { decisionFor } from './policy.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

interface Rule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number | bigint; valueTwo?: number | bigint; op: string }[];
}

function answer(
  syscalls: Rule[],
  name: string,
  args: readonly bigint[],
  defaultAction = 'SCMP_ACT_ERRNO',
): Outcome {
  const policy = policyFromOci({ defaultAction, architectures: ['SCMP_ARCH_X86_64'], syscalls });
  assert.ok(policy.filtered);
  return decide(decisionFor(policy, name), args);
}

const allow = (name: string, ...args: NonNullable<Rule['args']>): Rule => ({
  names: [name],
  action: 'SCMP_ACT_ALLOW',
  args,
});

describe('the OCI import', () => {
  it('reads every operator', () => {
    const cases: [string, bigint, bigint, Record<string, boolean>][] = [
      ['SCMP_CMP_EQ', 5n, 0n, { 4: false, 5: true, 6: false }],
      ['SCMP_CMP_NE', 5n, 0n, { 4: true, 5: false, 6: true }],
      ['SCMP_CMP_LT', 5n, 0n, { 4: true, 5: false }],
      ['SCMP_CMP_LE', 5n, 0n, { 5: true, 6: false }],
      ['SCMP_CMP_GE', 5n, 0n, { 4: false, 5: true }],
      ['SCMP_CMP_GT', 5n, 0n, { 5: false, 6: true }],
      ['SCMP_CMP_MASKED_EQ', 6n, 4n, { 4: true, 5: true, 6: false }],
    ];
    for (const [op, value, valueTwo, expected] of cases) {
      for (const [arg, passes] of Object.entries(expected)) {
        assert.equal(
          answer([allow('write', { index: 2, value, valueTwo, op })], 'write', [0n, 0n, BigInt(arg)]),
          passes ? 'allow' : 'errno 1',
          `${op} ${arg}`,
        );
      }
    }
  });

  it('treats conditions that repeat an index as alternatives, as runc does', () => {
    const rule = allow(
      'write',
      { index: 0, value: 1, op: 'SCMP_CMP_EQ' },
      { index: 0, value: 2, op: 'SCMP_CMP_EQ' },
      { index: 1, value: 0, op: 'SCMP_CMP_EQ' },
    );
    assert.deepEqual(
      [
        [1n, 9n],
        [2n, 9n],
        [3n, 0n],
        [3n, 9n],
      ].map((args) => answer([rule], 'write', args)),
      ['allow', 'allow', 'allow', 'errno 1'],
    );
  });

  it('closes moby’s bypass: != 38 on an int argument holds for the low 32 bits', () => {
    const rules = [
      allow('socket', { index: 0, value: 38, op: 'SCMP_CMP_LT' }),
      allow('socket', { index: 0, value: 40, op: 'SCMP_CMP_GT' }),
    ];
    assert.deepEqual(
      [37n, 38n, 0x100000026n, 41n].map((family) => answer(rules, 'socket', [family])),
      ['allow', 'errno 1', 'errno 1', 'allow'],
    );
  });

  it('lets the most restrictive of several rules count', () => {
    const rules: Rule[] = [
      allow('write'),
      {
        names: ['write'],
        action: 'SCMP_ACT_KILL_PROCESS',
        args: [{ index: 0, value: 2, op: 'SCMP_CMP_EQ' }],
      },
    ];
    assert.deepEqual(
      [1n, 2n].map((fd) => answer(rules, 'write', [fd])),
      ['allow', 'kill-process'],
    );
  });

  it('reads deny lists: only what is named is denied', () => {
    const rules: Rule[] = [
      { names: ['chmod'], action: 'SCMP_ACT_ERRNO' },
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
    ];
    assert.deepEqual(
      ['chmod', 'clone3', 'write'].map((name) => answer(rules, name, [], 'SCMP_ACT_ALLOW')),
      ['errno 1', 'errno 38', 'allow'],
    );
  });

  it('accepts a negative int written in 64 bits', () => {
    assert.equal(
      answer(
        [allow('personality', { index: 0, value: 0xffffffffffffffffn, op: 'SCMP_CMP_EQ' })],
        'personality',
        [0xffffffffn],
      ),
      'allow',
    );
  });

  it('refuses what it cannot read, with its position', () => {
    const cases: [unknown, string, RegExp][] = [
      [null, 'ENTITLEMENTS_BAD_SECCOMP', /not an object/],
      [{}, 'ENTITLEMENTS_BAD_SECCOMP', /defaultAction/],
      [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} }, 'ENTITLEMENTS_BAD_SECCOMP', /syscalls/],
      [
        { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: [], action: 'SCMP_ACT_ERRNO' }] },
        'ENTITLEMENTS_BAD_SECCOMP',
        /syscalls\[0\]\.names/,
      ],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [allow('write', { index: 6, value: 0, op: 'SCMP_CMP_EQ' })],
        },
        'ENTITLEMENTS_BAD_SECCOMP',
        /args\[0\]\.index/,
      ],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [allow('write', { index: 0, value: 2 ** 60, op: 'SCMP_CMP_EQ' })],
        },
        'ENTITLEMENTS_BAD_SECCOMP',
        /lost digits/,
      ],
      [
        { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [allow('write', { index: 0, value: 0, op: 'EQ' })] },
        'ENTITLEMENTS_BAD_SECCOMP',
        /operator/,
      ],
      [
        {
          defaultAction: 'SCMP_ACT_ERRNO',
          syscalls: [{ ...allow('write'), includes: { caps: ['CAP_SYS_ADMIN'] } }],
        },
        'ENTITLEMENTS_BAD_SECCOMP',
        /includes/,
      ],
      [
        { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['write'], action: 'SCMP_ACT_NOTIFY' }] },
        'ENTITLEMENTS_UNSUPPORTED',
        /supervisor/,
      ],
      [
        { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [allow('write\nbpf: allow')] },
        'ENTITLEMENTS_BAD_SECCOMP',
        /syscalls\[0\]\.names\[0\]: it is not a name of a system call/,
      ],
      [{ defaultAction: 'SCMP_ACT_TRACE' }, 'ENTITLEMENTS_UNSUPPORTED', /supervisor/],
      [{ defaultAction: 'SCMP_ACT_ALOW' }, 'ENTITLEMENTS_BAD_SECCOMP', /"SCMP_ACT_ALOW": there is no such/],
    ];
    for (const [json, code, message] of cases) assert.throws(() => policyFromOci(json), { code, message });
  });

  it('keeps 64-bit integers of the text exact', () => {
    const json = parseSeccompJson('{"value": 18446744073709551615, "small": 3}');
    assert.deepEqual(json, { value: 0xffffffffffffffffn, small: 3 });
    assert.throws(() => parseSeccompJson('{'), { code: 'ENTITLEMENTS_BAD_SECCOMP' });
  });

  it('refuses keys that readers understand differently', () => {
    const deny = '[{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]';
    for (const text of [
      '{"defaultAction": "SCMP_ACT_ERRNO", "default\\u0041ction": "SCMP_ACT_ALLOW"}',
      '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "action": "SCMP_ACT_ERRNO"}]}',
      `{"defaultAction": "SCMP_ACT_ALLOW", "Syscalls": ${deny}}`,
    ])
      assert.throws(() => parseSeccompJson(text), {
        code: 'ENTITLEMENTS_BAD_SECCOMP',
        message: /it contains the key "(?:defaultAction|action)" twice|its key "Syscalls" differs/,
      });
  });

  it('answers within two seconds, whatever the conditions', () => {
    // A fixed pseudo-random sequence of 64-bit numbers (splitmix64's multiplier).
    let state = 1n;
    const number = (): bigint =>
      (state = (state * 0xbf58476d1ce4e5b9n + 0x94d049bb133111ebn) & 0xffffffffffffffffn);
    for (const op of ['SCMP_CMP_MASKED_EQ', 'SCMP_CMP_NE', 'SCMP_CMP_GT', 'SCMP_CMP_EQ']) {
      for (const [defaultAction, action] of [
        ['SCMP_ACT_ERRNO', 'SCMP_ACT_ALLOW'],
        ['SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO'],
      ]) {
        const args = [0, 1].map((index) => ({ index, op }));
        const syscalls = Array.from({ length: 1000 }, () => ({
          names: ['mmap'],
          action,
          args: args.map((arg) => ({ ...arg, value: number(), valueTwo: number() })),
        }));
        const start = processorMs();
        try {
          policyFromOci({ defaultAction, syscalls });
        } catch (error) {
          assert.ok(isPortcullisError(error) && error.code === 'ENTITLEMENTS_TOO_COMPLEX', String(error));
        }
        assert.ok(processorMs() - start < 2000, `${op} ${action}`);
      }
    }
  });

  it('bounds the time for the conditions on all calls together', () => {
    const file = (op: string, names: number): object => ({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        {
          names: Array.from({ length: names }, (_, at) => `call${at}`),
          action: 'SCMP_ACT_ERRNO',
          args: [0, 1, 2, 3, 4, 5].map((index) => ({
            ...{ index, op },
            ...{ value: 0x5555_5555_5555_5555n, valueTwo: 0x1111_1111_1111_1111n },
          })),
        },
      ],
    });
    for (const op of ['SCMP_CMP_MASKED_EQ', 'SCMP_CMP_NE']) {
      policyFromOci(file(op, 10));
      const start = processorMs();
      assert.throws(() => policyFromOci(file(op, 1024)), {
        code: 'ENTITLEMENTS_TOO_COMPLEX',
        message: /divide into more than 8192 cases/,
      });
      assert.ok(processorMs() - start < 2000, op);
    }
  });
});
