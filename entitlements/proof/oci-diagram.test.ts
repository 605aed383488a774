import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import { answerText } from './answer.ts';
import { evaluate } from './compare.ts';
import { createDiagramStore } from './diagram.ts';
import { findMiscompilations, withoutLibseccomp } from './fixtures/miscompilations.ts';
import { diagramOfOci } from './oci-diagram.ts';

interface Argument {
  readonly index: number;
  readonly op: string;
  readonly value: number | bigint;
  readonly valueTwo?: number | bigint;
}

function answers(
  rules: readonly { action: string; args?: readonly Argument[]; errnoRet?: number }[],
  calls: readonly bigint[][],
  defaultAction = 'SCMP_ACT_ERRNO',
): string[] {
  const store = createDiagramStore();
  const root = diagramOfOci(store, { defaultAction, syscalls: rules.map((rule) => ({ names: ['write'], ...rule })) }, 'x86_64');
  return calls.map((args) => answerText(evaluate(store, root, { arch: AUDIT_ARCH.x86_64, nr: 1, args })));
}

const ALLOW = 'SCMP_ACT_ALLOW';

describe('the diagram of an OCI seccomp object', () => {
  const OPERATORS: readonly (readonly [op: string, allowed: readonly bigint[]])[] = [
    ['SCMP_CMP_EQ', [5n]],
    ['SCMP_CMP_NE', [0n, 4n, 6n, 0x100000005n]],
    ['SCMP_CMP_LT', [0n, 4n]],
    ['SCMP_CMP_LE', [0n, 4n, 5n]],
    ['SCMP_CMP_GE', [5n, 6n, 0x100000005n]],
    ['SCMP_CMP_GT', [6n, 0x100000005n]],
  ];
  for (const [op, allowed] of OPERATORS) {
    it(`compares all 64 bits by ${op}`, () => {
      const values = [0n, 4n, 5n, 6n, 0x100000005n];
      const found = answers(
        [{ action: ALLOW, args: [{ index: 0, op, value: 5 }] }],
        values.map((value) => [value]),
      );
      assert.deepEqual(
        values.filter((_, at) => found[at] === 'allow'),
        allowed,
      );
    });
  }

  it('takes value as the mask and valueTwo as what is left of it', () => {
    const rule = { action: ALLOW, args: [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 6, valueTwo: 0xf }] };
    assert.deepEqual(answers([rule], [[6n], [7n], [4n], [0x100000006n]]), ['allow', 'allow', 'errno 1', 'allow']);
  });

  it('takes conditions on different arguments together, and on the same argument as alternatives', () => {
    const of = (index: number, value: number): Argument => ({ index, op: 'SCMP_CMP_EQ', value });
    assert.deepEqual(
      answers(
        [{ action: ALLOW, args: [of(0, 1), of(1, 2)] }],
        [
          [1n, 2n],
          [1n, 3n],
        ],
      ),
      ['allow', 'errno 1'],
    );
    assert.deepEqual(answers([{ action: ALLOW, args: [of(0, 1), of(0, 2), of(1, 9)] }], [[1n], [2n], [3n], [3n, 9n]]), [
      'allow',
      'allow',
      'errno 1',
      'allow',
    ]);
  });

  it('skips rules that repeat the default', () => {
    const rules = [
      { action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
      { action: ALLOW, args: [{ index: 0, op: 'SCMP_CMP_EQ', value: 3 }] },
    ];
    assert.deepEqual(answers(rules, [[3n], [4n]]), ['allow', 'errno 1']);
  });

  it('refuses rules of different actions that match one call', () => {
    const rules = [
      { action: ALLOW, args: [{ index: 0, op: 'SCMP_CMP_GE', value: 3 }] },
      { action: 'SCMP_ACT_LOG', args: [{ index: 0, op: 'SCMP_CMP_LE', value: 3 }] },
    ];
    assert.throws(() => answers(rules, []), { code: 'ENTITLEMENTS_UNPROVED' });
  });

  it('knows every action, and refuses others', () => {
    const actions = ['SCMP_ACT_LOG', 'SCMP_ACT_TRACE', 'SCMP_ACT_NOTIFY', 'SCMP_ACT_TRAP', 'SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS'];
    assert.deepEqual(
      actions.flatMap((action) => answers([{ action }], [[]])),
      ['log', 'trace 1', 'notify', 'trap', 'kill-thread', 'kill-process'],
    );
    assert.throws(() => answers([{ action: 'SCMP_ACT_MAYBE' }], []), { code: 'ENTITLEMENTS_BAD_SECCOMP' });
  });

  it('finds what libseccomp compiles wrongly: at least 32 of 400 random policies', { skip: withoutLibseccomp }, (t) => {
    const { compared, found } = findMiscompilations(400, 1);
    assert.equal(compared, 400);
    const more = found.filter(({ grantsMore }) => grantsMore);
    t.diagnostic(`${found.length} of 400 wrong, ${more.length} grant more: ${more[0]?.witness.sentence}`);
    assert.ok(found.length >= 32, String(found.length));
    assert.ok(more.length > 0 && more.length < found.length);
    assert.ok(found.every(({ witness }) => witness.nr === syscallNumbers('x86_64').get('write')));
  });
});
