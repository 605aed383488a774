import { ALU_AND_K, JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, LD_W_ABS, MAX_INSTRUCTIONS, RET_K } from './bpf-assembler.ts';
import type { Instruction } from './bpf-assembler.ts';

/** `struct seccomp_data` without the instruction pointer, which our filters do not read (it reads as 0). */
export interface Call {
  readonly arch: number;
  readonly nr: number;
  readonly args: readonly bigint[];
}

/** Opcodes that only other compilers emit. */
const JMP_JSET_K = 0x45;
const LD_IMM = 0x00;
const LD_MEM = 0x60;
const ST = 0x02;
const RET_A = 0x16;
const TAX = 0x07;
const TXA = 0x87;

/**
 * Runs a seccomp filter on one call, as the kernel's interpreter does (Documentation/networking/filter.rst, seccomp's checked subset).
 * @returns the filter's 32-bit return value and how many instructions ran
 */
export function emulate(program: readonly Instruction[], call: Call): { value: number; executed: number } {
  let accumulator = 0;
  let x = 0;
  const memory = new Uint32Array(16);
  let at = 0;
  for (let executed = 1; executed <= MAX_INSTRUCTIONS; executed++) {
    const instruction = program[at];
    if (instruction === undefined) throw new Error(`the filter runs past its end at ${at}`);
    const { code, jt, jf, k } = instruction;
    at += 1;
    if (code === LD_W_ABS) accumulator = load(call, k);
    else if (code === ALU_AND_K) accumulator = (accumulator & k) >>> 0;
    else if (code === JMP_JA) at += k;
    else if (code === JMP_JEQ_K) at += accumulator === k ? jt : jf;
    else if (code === JMP_JGT_K) at += accumulator > k ? jt : jf;
    else if (code === JMP_JGE_K) at += accumulator >= k ? jt : jf;
    else if (code === JMP_JSET_K) at += (accumulator & k) !== 0 ? jt : jf;
    else if (code === RET_K) return { value: k, executed };
    else if (code === RET_A) return { value: accumulator, executed };
    else if (code === LD_IMM) accumulator = k;
    else if (code === LD_MEM) accumulator = memory[k] ?? 0;
    else if (code === ST) memory[k] = accumulator;
    else if (code === TAX) x = accumulator;
    else if (code === TXA) accumulator = x;
    else throw new Error(`the filter has an opcode seccomp does not take: 0x${code.toString(16)}`);
  }
  throw new Error('the filter does not end');
}

function load(call: Call, offset: number): number {
  if (offset === 0) return call.nr >>> 0;
  if (offset === 4) return call.arch >>> 0;
  if (offset === 8 || offset === 12) return 0;
  if (offset % 4 !== 0 || offset < 16 || offset >= 64) throw new Error(`the filter loads from offset ${offset}`);
  const argument = call.args[(offset - 16) >> 3] ?? 0n;
  return Number(offset % 8 === 0 ? argument & 0xffffffffn : (argument >> 32n) & 0xffffffffn);
}
