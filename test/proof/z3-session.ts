import { init } from 'z3-solver';
import type { Bool, BitVec } from 'z3-solver';
import { decode } from '../../entitlements/seccomp/bpf-assembler.ts';
import type { Decision } from '../../entitlements/seccomp/decision.ts';
import { beyondTables, returnValue } from '../../entitlements/seccomp/outcome.ts';
import { decisionFor } from '../../entitlements/seccomp/policy.ts';
import type { FilteredPolicy } from '../../entitlements/seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../../entitlements/seccomp/syscalls.ts';
import type { Architecture } from '../../entitlements/index.ts';

/** A call that shows a difference, according to Z3's model; undefined when there is none. */
export type Model = { readonly arch: number; readonly nr: number; readonly args: readonly bigint[] };

/** One session of Z3, whose memory is never freed before its process ends. */
export interface Session {
  /** Searches for a difference. @throws when Z3 answers `unknown` */
  difference(policy: FilteredPolicy, bpf: Uint8Array, architecture: Architecture): Promise<Model | undefined>;
}

export async function openSession(): Promise<Session> {
  const z3solver = await withoutFinalizers(init);
  const z3 = await withoutFinalizers(() => Promise.resolve(z3solver.Context('proof')));
  type Vector = BitVec<number, 'proof'>;
  type Condition = Bool<'proof'>;
  const WIDTH: number = 32;
  const word = (value: number): Vector => z3.BitVec.val(value >>> 0, WIDTH);
  const choose = (when: Condition, yes: Vector, no: Vector): Vector => z3.If<Vector, Vector>(when, yes, no);
  const arch = z3.BitVec.const('arch', WIDTH);
  const nr = z3.BitVec.const('nr', WIDTH);
  const args = Array.from({ length: 6 }, (_, index) => z3.BitVec.const(`arg${index}`, 64));

  const loaded = (offset: number): Vector => {
    if (offset === 0) return nr;
    if (offset === 4) return arch;
    const argument = args[(offset - 16) >> 3];
    if (argument === undefined) throw new Error(`a load from offset ${offset}`);
    return offset % 8 === 0 ? z3.Extract(31, 0, argument) : z3.Extract(63, 32, argument);
  };

  /**
   * Returns the term of the program's result, computed for each instruction under the value of A at that
   * point.
   */
  const programTerm = (bpf: Uint8Array): Vector => {
    const program = decode(bpf);
    const terms = new Map<string, Vector>();
    const from = (at: number, a: Vector, name: string): Vector => {
      const key = `${at} ${name}`;
      const known = terms.get(key);
      if (known !== undefined) return known;
      const instruction = program[at];
      if (instruction === undefined) throw new Error(`the program runs past its end at ${at}`);
      const { code, jt, jf, k } = instruction;
      const branch = (when: Condition): Vector =>
        choose(when, from(at + 1 + jt, a, name), from(at + 1 + jf, a, name));
      const term = ((): Vector => {
        switch (code) {
          case 0x20:
            return from(at + 1, loaded(k), `load ${k}`);
          case 0x54:
            return from(at + 1, a.and(word(k)), `${name} & ${k}`);
          case 0x05:
            return from(at + 1 + k, a, name);
          case 0x15:
            return branch(a.eq(word(k)));
          case 0x25:
            return branch(a.ugt(word(k)));
          case 0x35:
            return branch(a.uge(word(k)));
          case 0x45:
            return branch(a.and(word(k)).neq(word(0)));
          case 0x06:
            return word(k);
          default:
            throw new Error(`no term for opcode 0x${code.toString(16)}`);
        }
      })();
      terms.set(key, term);
      return term;
    };
    return from(0, word(0), '0');
  };

  const decisionTerm = (of: Decision): Vector =>
    // The first matching piece applies: they are ordered from loosest to strictest.
    of.pieces.reduceRight<Vector>(
      (rest, { outcome, when }) => {
        const conditions = when.map(({ index, width, low, high, mask, value }) => {
          const x = z3.Extract(width - 1, 0, args[index]!);
          const number = (n: bigint): Vector => z3.BitVec.val(n, width);
          return z3.And(x.uge(number(low)), x.ule(number(high)), x.and(number(mask)).eq(number(value)));
        });
        return choose(z3.And(...conditions), word(returnValue(outcome)), rest);
      },
      word(returnValue(of.otherwise)),
    );

  const policyTerm = (policy: FilteredPolicy, architecture: Architecture): Vector => {
    const numbers = syscallNumbers(architecture);
    const last = Math.max(...numbers.values());
    let term = choose(
      nr.ugt(word(last)),
      word(returnValue(beyondTables(policy.fallback))),
      word(returnValue(policy.fallback)),
    );
    for (const [name, number] of numbers) {
      if (policy.rules.has(name))
        term = choose(nr.eq(word(number)), decisionTerm(decisionFor(policy, name)), term);
    }
    const killed = word(returnValue('kill-thread'));
    if (architecture === 'x86_64') term = choose(nr.uge(word(0x40000000)), killed, term);
    return choose(arch.eq(word(AUDIT_ARCH[architecture])), term, killed);
  };

  return {
    async difference(policy, bpf, architecture) {
      const solver = new z3.Solver();
      solver.add(programTerm(bpf).neq(policyTerm(policy, architecture)));
      const answer = await solver.check();
      if (answer === 'unsat') return undefined;
      if (answer !== 'sat') throw new Error(`z3 answers ${answer}`);
      const model = solver.model();
      const value = (of: Vector): bigint => (model.eval(of, true) as Vector & { value(): bigint }).value();
      return { arch: Number(value(arch)), nr: Number(value(nr)), args: args.map(value) };
    },
  };
}

/**
 * The package returns terms to Z3 when JavaScript's garbage collector finds them, on this thread, also while
 * Z3 works in another one; Z3 crashes then. Terms that `body` creates are never returned.
 */
async function withoutFinalizers<T>(body: () => Promise<T>): Promise<T> {
  const kept = globalThis.FinalizationRegistry;
  globalThis.FinalizationRegistry = class {
    readonly [Symbol.toStringTag] = 'FinalizationRegistry';
    register(): void {
      // Does nothing.
    }
    unregister(): boolean {
      return false;
    }
  };
  try {
    return await body();
  } finally {
    globalThis.FinalizationRegistry = kept;
  }
}
