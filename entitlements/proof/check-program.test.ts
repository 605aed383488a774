import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { encode } from '../seccomp/bpf-assembler.ts';
import type { Instruction } from '../seccomp/bpf-assembler.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { checkedProgram } from './check-program.ts';
import { filteredProbe } from './fixtures/filtered-probe.ts';
import { mutated } from './fixtures/random-program.ts';
import { seeded } from './fixtures/seeded.ts';

type Short = readonly [code: number, k?: number, jt?: number, jf?: number];
const RETURN: Short = [0x06, 0x7fff0000];

function bytesOf(...program: readonly Short[]): Uint8Array {
  return encode(program.map(([code, k = 0, jt = 0, jf = 0]): Instruction => ({ code, jt, jf, k })));
}

function refusal(bytes: Uint8Array): { instruction: unknown; why: string } | undefined {
  try {
    checkedProgram(bytes);
    return undefined;
  } catch (error) {
    assert.ok(isPortcullisError(error) && error.code === 'ENTITLEMENTS_BAD_FILTER', String(error));
    return { instruction: error.failure.details?.['instruction'], why: error.failure.why };
  }
}

const REFUSED: readonly (readonly [what: string, program: Uint8Array, instruction: number, why: RegExp])[] = [
  ['nothing', bytesOf(), 0, /empty/],
  ['half an instruction', bytesOf(RETURN, RETURN).slice(0, 12), 1, /cut off/],
  ['4097 instructions', bytesOf(...Array.from({ length: 4097 }, () => RETURN)), 4096, /4097 instructions/],
  ['no return at the end', bytesOf(RETURN, [0x20, 0]), 1, /last instruction/],
  ['an unknown opcode', bytesOf([0xff], RETURN), 0, /opcode 0xff/],
  ['a remainder, which seccomp does not support', bytesOf([0x94, 3], RETURN), 0, /opcode 0x94/],
  ['a load of a byte', bytesOf([0x30, 0], RETURN), 0, /opcode 0x30/],
  ['a load beyond the data', bytesOf([0x20, 64], RETURN), 0, /offset 64/],
  ['a load that is not aligned', bytesOf([0x20, 18], RETURN), 0, /not aligned/],
  ['a jump beyond the end', bytesOf([0x05, 1], RETURN), 0, /1 instructions ahead/],
  ['a jump of 2³²−1', bytesOf([0x05, 0xffffffff], RETURN), 0, /beyond the end/],
  ['a branch beyond the end, when true', bytesOf(RETURN, [0x15, 0, 1, 0], RETURN), 1, /beyond the end/],
  ['a branch beyond the end, when false', bytesOf(RETURN, [0x15, 0, 0, 1], RETURN), 1, /beyond the end/],
  ['a division by zero', bytesOf([0x34, 0], RETURN), 0, /divides by zero/],
  ['a shift by 32', bytesOf([0x64, 32], RETURN), 0, /shifts 32 bits by 32/],
  ['memory cell 16', bytesOf([0x02, 16], RETURN), 0, /memory cell 16/],
  ['memory that was not written', bytesOf([0x60, 0], RETURN), 0, /reads memory cell 0/],
  [
    'memory that one path did not write',
    bytesOf([0x15, 0, 0, 1], [0x02, 3], [0x60, 3], RETURN),
    2,
    /reads memory cell 3/,
  ],
];

describe('the check of a program', () => {
  for (const [what, program, instruction, why] of REFUSED) {
    it(`refuses ${what}, and says where`, () => {
      const found = refusal(program);
      assert.equal(found?.instruction, instruction);
      assert.match(found.why, why);
    });
  }

  it('accepts what the kernel accepts', () => {
    const taken = [
      bytesOf(RETURN),
      bytesOf(...Array.from({ length: 4096 }, () => RETURN)),
      bytesOf([0x02, 3], [0x15, 0, 0, 1], [0x60, 3], RETURN),
      bytesOf([0x80], [0x81], [0x3c], [0x7c], [0x84], [0x16]),
    ];
    for (const program of taken) assert.equal(refusal(program), undefined);
  });

  describe('on the running kernel', { skip: process.arch !== 'x64' && 'the probe is x86_64 code' }, () => {
    const probe = filteredProbe();
    after(() => probe.remove());

    it('refuses what the kernel refuses: the table, and mutants of the default filter', () => {
      const policy = defaultPolicy(DEFAULT_CAPABILITIES);
      assert.ok(policy.filtered);
      const filter = generateBpf(policy, 'x86_64');
      const random = seeded(7);
      const mutants = Array.from({ length: 150 }, () => mutated(random, filter));
      let refused = 0;
      for (const program of [...REFUSED.map(([, bytes]) => bytes), ...mutants]) {
        // The kernel receives a program as a number of whole instructions.
        if (program.length % 8 !== 0) continue;
        const { loaded, signal } = probe.run(program, []);
        assert.ok(loaded === 0n || loaded === -22n || signal !== null, String(loaded));
        assert.equal(refusal(program) !== undefined, loaded === -22n, Buffer.from(program).toString('hex'));
        if (loaded === -22n) refused += 1;
      }
      assert.ok(refused > 60 && refused < 160, String(refused));
    });
  });
});
