import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { decode, encode } from '../seccomp/bpf-assembler.ts';
import { emulate } from '../seccomp/fixtures/bpf-emulator.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { AUDIT_ARCH } from '../seccomp/syscalls.ts';
import { answerOf } from './answer.ts';
import { evaluate } from './compare.ts';
import { createDiagramStore } from './diagram.ts';
import { checkMutant, checkRandomProgram } from './fixtures/check-program.ts';
import { filteredProbe } from './fixtures/filtered-probe.ts';
import { randomValue } from './fixtures/random-policy.ts';
import { seeded } from './fixtures/seeded.ts';
import { diagramOfProgram } from './program-diagram.ts';

const GETPPID = 110;

describe('the diagram of a program', () => {
  it('answers as the emulator does: random programs of all opcodes, random calls and paths through the diagram', () => {
    const became = Array.from({ length: 250 }, (_, seed) => checkRandomProgram(seed));
    assert.ok(became.filter((one) => one === 'agree').length >= 225);
  });

  it('is refused with a position, or answers as the emulator does: mutants of the default filter, none slower than two seconds', () => {
    const policy = defaultPolicy(DEFAULT_CAPABILITIES);
    assert.ok(policy.filtered);
    const original = generateBpf(policy, 'x86_64');
    const mutants = Array.from({ length: 800 }, (_, seed) => checkMutant(seed, original));
    assert.ok(Math.max(...mutants.map(({ milliseconds }) => milliseconds)) < 2500);
    for (const kind of ['rejected', 'equal', 'differs'] as const)
      assert.ok(
        mutants.some(({ became }) => became === kind),
        kind,
      );
  });

  it('distinguishes answers as the kernel does', () => {
    const store = createDiagramStore();
    const returning = (k: number): number =>
      diagramOfProgram(store, encode([{ code: 0x06, jt: 0, jf: 0, k }]));
    assert.equal(returning(0x7fff0000), returning(0x7fff1234), 'the data of an allow is not read');
    assert.equal(returning(0x12340000), returning(0x80000000), 'an unknown action kills the process');
    assert.equal(returning(0x0005ffff), returning(0x00050fff), 'an errno is at most 4095');
    assert.notEqual(returning(0x00050001), returning(0x00050002));
    assert.notEqual(returning(0x00030000), returning(0x00030001));
  });

  it('supports a program that reads the instruction pointer', () => {
    const program = encode([
      { code: 0x20, jt: 0, jf: 0, k: 8 },
      { code: 0x15, jt: 0, jf: 1, k: 7 },
      { code: 0x06, jt: 0, jf: 0, k: 0x7fff0000 },
      { code: 0x06, jt: 0, jf: 0, k: 0 },
    ]);
    const store = createDiagramStore();
    const root = diagramOfProgram(store, program);
    const call = { arch: 0, nr: 0, args: [] };
    assert.deepEqual(
      [7n, 8n].map((instructionPointer) => evaluate(store, root, { ...call, instructionPointer })),
      [0x7fff0000, 0],
    );
  });

  it('refuses a diagram that grows without bound, within its budget', () => {
    const product = encode([
      { code: 0x20, jt: 0, jf: 0, k: 16 },
      { code: 0x07, jt: 0, jf: 0, k: 0 },
      { code: 0x20, jt: 0, jf: 0, k: 24 },
      { code: 0x2c, jt: 0, jf: 0, k: 0 },
      { code: 0x15, jt: 0, jf: 1, k: 0x12345678 },
      { code: 0x06, jt: 0, jf: 0, k: 0x7fff0000 },
      { code: 0x06, jt: 0, jf: 0, k: 0 },
    ]);
    assert.throws(() => diagramOfProgram(createDiagramStore({ nodes: 100_000 }), product), {
      code: 'ENTITLEMENTS_TOO_COMPLEX',
      message: /100000 nodes/,
    });
    assert.throws(() => diagramOfProgram(createDiagramStore({ milliseconds: 20 }), product), {
      code: 'ENTITLEMENTS_TOO_COMPLEX',
      message: /0.02 seconds/,
    });
  });

  describe('on the running kernel', { skip: process.arch !== 'x64' && 'the probe is x86_64 code' }, () => {
    const probe = filteredProbe();
    after(() => probe.remove());

    it('computes as the kernel does, quotients, products and shifts by X included', () => {
      const random = seeded(11);
      const operations = [0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0xac, 0x84];
      for (let round = 0; round < 40; round++) {
        // A = operation(arg0, arg1), its lower 12 bits as errno. Any other call is allowed.
        const program = encode([
          { code: 0x20, jt: 0, jf: 0, k: 0 },
          { code: 0x15, jt: 1, jf: 0, k: GETPPID },
          { code: 0x06, jt: 0, jf: 0, k: 0x7fff0000 },
          { code: 0x20, jt: 0, jf: 0, k: 24 },
          { code: 0x07, jt: 0, jf: 0, k: 0 },
          { code: 0x20, jt: 0, jf: 0, k: 16 },
          { code: random.pick(operations), jt: 0, jf: 0, k: 0 },
          { code: 0x74, jt: 0, jf: 0, k: random.below(20) },
          { code: 0x54, jt: 0, jf: 0, k: 0xfff },
          { code: 0x44, jt: 0, jf: 0, k: 0x50000 },
          { code: 0x16, jt: 0, jf: 0, k: 0 },
        ]);
        const calls = Array.from({ length: 6 }, () => ({
          nr: GETPPID,
          args: [randomValue(random), randomValue(random)],
        }));
        const { loaded, results, signal } = probe.run(program, calls);
        assert.equal(loaded, 0n);
        for (const [at, { nr, args }] of calls.entries()) {
          const { value } = emulate(decode(program), { arch: AUDIT_ARCH.x86_64, nr, args });
          // A division by zero returns 0: the thread is killed.
          if (answerOf(value) === 0) {
            assert.equal(signal, 'SIGSYS');
            break;
          }
          assert.equal(results[at], -BigInt(value & 0xfff), `round ${round}: ${args.join(', ')}`);
        }
      }
    });
  });
});
