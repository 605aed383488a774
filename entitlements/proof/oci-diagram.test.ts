import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isPortcullisError } from '../../base/errors/index.ts';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { OciSeccomp } from '../types.ts';
import { answerText } from './answer.ts';
import { evaluate } from './compare.ts';
import { ARCH_WORD } from './conditions.ts';
import { createDiagramStore } from './diagram.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';
import { randomPolicy } from './fixtures/random-policy.ts';
import { seeded } from './fixtures/seeded.ts';
import { byNumberRange, diagramOfPolicy, wordIs } from './policy-diagram.ts';
import { diagramOfProgram } from './program-diagram.ts';
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
  const root = diagramOfOci(
    store,
    { defaultAction, syscalls: rules.map((rule) => ({ names: ['write'], ...rule })) },
    'x86_64',
  );
  return calls.map((args) => answerText(evaluate(store, root, { arch: AUDIT_ARCH.x86_64, nr: 1, args })));
}

/** The calls that libseccomp 2.5.4 knows. The gaps are calls for which it has no names. */
const NEWEST_OF_LIBSECCOMP = 450;
const GAPS = [335, 336];

function exported(seed: number): { seed: number; policy: FilteredPolicy; oci: OciSeccomp } | undefined {
  try {
    const policy = seed === 0 ? defaultPolicy(DEFAULT_CAPABILITIES) : randomPolicy(seeded(seed));
    if (!policy.filtered) return undefined;
    const oci = exportOci(policy, 'x86_64');
    return oci.syscalls.length < 400 ? { seed, policy, oci } : undefined;
  } catch (error) {
    if (isPortcullisError(error) && error.code === 'ENTITLEMENTS_TOO_COMPLEX') return undefined;
    throw error;
  }
}

function compiledByLibseccomp(objects: readonly OciSeccomp[]): Uint8Array[] {
  const compiler = fileURLToPath(new URL('../seccomp/fixtures/libseccomp.py', import.meta.url));
  const input = objects.map((oci) =>
    JSON.stringify(oci, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
  );
  const { stdout, stderr, status } = spawnSync('/usr/bin/python3', [compiler], {
    input: input.join('\n'),
    maxBuffer: 1 << 26,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => Uint8Array.from(Buffer.from(line, 'hex')));
}

/** Returns the condition that a call of x86_64 has one of these numbers. */
function callsOf(store: DiagramStore, known: readonly number[]): Node {
  const ranges = Array.from({ length: Math.max(...known) + 2 }, (_, number) => ({
    from: number,
    answer: known.includes(number) ? TRUE : FALSE,
  }));
  return store.choose(wordIs(store, ARCH_WORD, AUDIT_ARCH.x86_64), byNumberRange(store, ranges), FALSE);
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

  it('uses value as the mask and valueTwo as the masked value', () => {
    const rule = { action: ALLOW, args: [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 6, valueTwo: 0xf }] };
    assert.deepEqual(answers([rule], [[6n], [7n], [4n], [0x100000006n]]), [
      'allow',
      'allow',
      'errno 1',
      'allow',
    ]);
  });

  it('combines conditions on different arguments, and treats those on the same argument as alternatives', () => {
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
    assert.deepEqual(
      answers([{ action: ALLOW, args: [of(0, 1), of(0, 2), of(1, 9)] }], [[1n], [2n], [3n], [3n, 9n]]),
      ['allow', 'allow', 'errno 1', 'allow'],
    );
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

  it('supports every action, and refuses others', () => {
    const actions = [
      'SCMP_ACT_LOG',
      'SCMP_ACT_TRACE',
      'SCMP_ACT_NOTIFY',
      'SCMP_ACT_TRAP',
      'SCMP_ACT_KILL',
      'SCMP_ACT_KILL_PROCESS',
    ];
    assert.deepEqual(
      actions.flatMap((action) => answers([{ action }], [[]])),
      ['log', 'trace 1', 'notify', 'trap', 'kill-thread', 'kill-process'],
    );
    assert.throws(() => answers([{ action: 'SCMP_ACT_MAYBE' }], []), { code: 'ENTITLEMENTS_BAD_SECCOMP' });
  });

  it(
    'equals what libseccomp makes of our exports: the default policy and random ones',
    { skip: withoutLibseccomp },
    () => {
      const policies = Array.from({ length: 200 }, (_, seed) => exported(seed)).filter(
        (one) => one !== undefined,
      );
      assert.ok(policies.length > 100);
      for (const [at, bpf] of compiledByLibseccomp(policies.map(({ oci }) => oci)).entries()) {
        const { seed = -1, policy, oci } = policies[at] ?? {};
        assert.ok(policy !== undefined);
        const store = createDiagramStore();
        const known = [...syscallNumbers('x86_64').values()].filter(
          (number) => number <= NEWEST_OF_LIBSECCOMP && !GAPS.includes(number),
        );
        const among = callsOf(store, known);
        const [made, exportedAs, meant] = [
          diagramOfProgram(store, bpf),
          diagramOfOci(store, oci, 'x86_64'),
          diagramOfPolicy(store, policy, { architecture: 'x86_64' }),
        ].map((node) => store.choose(among, node, store.leaf(0)));
        assert.equal(made, meant, `seed ${seed}: libseccomp`);
        assert.equal(exportedAs, meant, `seed ${seed}: the export`);
      }
    },
  );

  it(
    'finds what libseccomp compiles wrongly: at least 32 of 400 random policies',
    { skip: withoutLibseccomp },
    (t) => {
      const { compared, found } = findMiscompilations(400, 1);
      assert.equal(compared, 400);
      const more = found.filter(({ grantsMore }) => grantsMore);
      t.diagnostic(`${found.length} of 400 wrong, ${more.length} grant more: ${more[0]?.witness.sentence}`);
      assert.ok(found.length >= 32, String(found.length));
      assert.ok(more.length > 0 && more.length < found.length);
      assert.ok(found.every(({ witness }) => witness.nr === syscallNumbers('x86_64').get('write')));
    },
  );
});
