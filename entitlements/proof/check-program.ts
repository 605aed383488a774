import { entitlementsError } from '../errors.ts';
import { decode, MAX_INSTRUCTIONS } from '../seccomp/bpf-assembler.ts';
import type { Instruction } from '../seccomp/bpf-assembler.ts';
import { DATA_SIZE } from './conditions.ts';
import { meaningOf } from './instruction-set.ts';
import type { Meaning } from './instruction-set.ts';

/** An instruction with the meaning of its opcode. */
export interface Step extends Instruction {
  readonly meaning: Meaning;
}

/** BPF_MEMWORDS: the number of scratch memory cells. */
export const MEMORY_WORDS = 16;

const ALL_CELLS = 0xffff;

/**
 * Reads a program like the kernel before it loads one, and refuses what the kernel refuses
 * (net/core/filter.c, bpf_check_basics_ok, bpf_check_classic and check_load_and_stores; kernel/seccomp.c,
 * seccomp_check_filter): all jumps go forward and stay inside, the last instruction returns, loads stay
 * inside `struct seccomp_data`, and no cell is read before it is written.
 * @param bytes `struct sock_filter[]`, little-endian, 8 bytes per instruction
 * @throws ENTITLEMENTS_BAD_FILTER with `details.instruction`, counted from 0
 */
export function checkedProgram(bytes: Uint8Array): readonly Step[] {
  if (bytes.byteLength % 8 !== 0)
    throw bad(Math.floor(bytes.byteLength / 8), 'it is cut off: an instruction has 8 bytes');
  const program = decode(bytes);
  if (program.length === 0) throw bad(0, 'the program is empty');
  if (program.length > MAX_INSTRUCTIONS) {
    throw bad(
      MAX_INSTRUCTIONS,
      `the program has ${program.length} instructions, and the kernel accepts ${MAX_INSTRUCTIONS}`,
    );
  }
  const steps = program.map((instruction, at): Step => {
    const meaning = meaningOf(instruction.code);
    if (meaning === undefined)
      throw bad(at, `seccomp does not accept the opcode 0x${instruction.code.toString(16).padStart(2, '0')}`);
    const wrong = problemOf(instruction, meaning, program.length - at - 1);
    if (wrong !== undefined) throw bad(at, wrong);
    return { ...instruction, meaning };
  });
  if (steps.at(-1)?.meaning.op !== 'return')
    throw bad(program.length - 1, 'the last instruction does not return');
  checkMemory(steps);
  return steps;
}

/** @param behind the number of instructions that follow */
function problemOf({ jt, jf, k }: Instruction, meaning: Meaning, behind: number): string | undefined {
  switch (meaning.op) {
    case 'load':
      if (meaning.from === 'memory') return cell(k);
      if (meaning.from !== 'data') return undefined;
      if (k >= DATA_SIZE)
        return `it loads from offset ${k}, beyond the ${DATA_SIZE} bytes of struct seccomp_data`;
      return k % 4 === 0 ? undefined : `it loads from offset ${k}, which is not aligned to 4 bytes`;
    case 'store':
      return cell(k);
    case 'compute':
      if (meaning.by === 'x') return undefined;
      if (meaning.operation === 'div' && k === 0) return 'it divides by zero';
      if ((meaning.operation === 'lsh' || meaning.operation === 'rsh') && k >= 32)
        return `it shifts 32 bits by ${k}`;
      return undefined;
    case 'jump':
      return k >= behind ? `it jumps ${k} instructions ahead, beyond the end` : undefined;
    case 'branch':
      return jt >= behind || jf >= behind
        ? `it jumps ${Math.max(jt, jf)} instructions ahead, beyond the end`
        : undefined;
    case 'copy':
    case 'negate':
    case 'return':
      return undefined;
  }
}

function cell(k: number): string | undefined {
  return k >= MEMORY_WORDS ? `there is no memory cell ${k}` : undefined;
}

function checkMemory(steps: readonly Step[]): void {
  const written = new Uint16Array(steps.length).fill(ALL_CELLS);
  let here = 0;
  const meet = (at: number, cells: number): void => void (written[at] = (written[at] ?? 0) & cells);
  steps.forEach(({ meaning, jt, jf, k }, at) => {
    here &= written[at] ?? 0;
    switch (meaning.op) {
      case 'store':
        here |= 1 << k;
        return;
      case 'load':
        if (meaning.from === 'memory' && (here & (1 << k)) === 0)
          throw bad(at, `it reads memory cell ${k}, which not every path to this instruction has written`);
        return;
      case 'jump':
        meet(at + 1 + k, here);
        here = ALL_CELLS;
        return;
      case 'branch':
        meet(at + 1 + jt, here);
        meet(at + 1 + jf, here);
        here = ALL_CELLS;
        return;
      default:
    }
  });
}

function bad(instruction: number, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_FILTER', {
    kind: 'invalid',
    attempted: 'read seccomp filter',
    on: `instruction ${instruction}`,
    why,
    fix: 'give a compiled classic BPF program that the kernel would load: struct sock_filter[], little-endian',
    details: { instruction },
  });
}
