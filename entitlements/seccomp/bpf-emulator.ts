import { MAX_INSTRUCTIONS } from './bpf-assembler.ts';
import type { Instruction } from './bpf-assembler.ts';

/** `struct seccomp_data` (linux/seccomp.h). */
export interface Call {
  readonly arch: number;
  readonly nr: number;
  /** A missing one is 0. */
  readonly args: readonly bigint[];
  /** 0 if absent. */
  readonly instructionPointer?: bigint;
}

/** sizeof(struct seccomp_data): the result of `ld len`. */
const DATA_SIZE = 64;

/**
 * Runs a seccomp filter on one call, like the kernel (Documentation/networking/filter.rst; net/core/filter.c,
 * bpf_convert_filter; kernel/seccomp.c for the opcodes): registers start at 0 and have 32 bits, shifts by X
 * count modulo 32, a division by X = 0 ends the program with 0. It shares no code with the prover, which is
 * tested against it.
 * @returns the filter's 32-bit return value and the number of executed instructions
 */
export function emulate(program: readonly Instruction[], call: Call): { value: number; executed: number } {
  let a = 0;
  let x = 0;
  const memory = new Uint32Array(16);
  let at = 0;
  for (let executed = 1; executed <= MAX_INSTRUCTIONS; executed++) {
    const instruction = program[at];
    if (instruction === undefined) throw new Error(`the filter runs past its end at ${at}`);
    const { code, jt, jf, k } = instruction;
    at += 1;
    switch (code) {
      case 0x20: // BPF_LD | BPF_W | BPF_ABS
        a = load(call, k);
        break;
      case 0x80: // BPF_LD | BPF_W | BPF_LEN
        a = DATA_SIZE;
        break;
      case 0x81: // BPF_LDX | BPF_W | BPF_LEN
        x = DATA_SIZE;
        break;
      case 0x00: // BPF_LD | BPF_IMM
        a = k;
        break;
      case 0x01: // BPF_LDX | BPF_IMM
        x = k;
        break;
      case 0x60: // BPF_LD | BPF_MEM
        a = memory[k] ?? 0;
        break;
      case 0x61: // BPF_LDX | BPF_MEM
        x = memory[k] ?? 0;
        break;
      case 0x02: // BPF_ST
        memory[k] = a;
        break;
      case 0x03: // BPF_STX
        memory[k] = x;
        break;
      case 0x07: // BPF_MISC | BPF_TAX
        x = a;
        break;
      case 0x87: // BPF_MISC | BPF_TXA
        a = x;
        break;
      case 0x05: // BPF_JMP | BPF_JA
        at += k;
        break;
      case 0x06: // BPF_RET | BPF_K
        return { value: k, executed };
      case 0x16: // BPF_RET | BPF_A
        return { value: a, executed };
      case 0x84: // BPF_ALU | BPF_NEG
        a = -a >>> 0;
        break;
      default: {
        const operand = (code & 0x08) === 0 ? k : x;
        const operation = code & 0xf0;
        if ((code & 0xff07) === 0x05) at += holds(operation, a, operand, code) ? jt : jf;
        else if ((code & 0xff07) !== 0x04) throw unknown(code);
        else if (operation === 0x30 && operand === 0) return { value: 0, executed };
        else a = computed(operation, a, operand, code);
      }
    }
  }
  throw new Error('the filter does not end');
}

/** BPF_JMP: compares A with the operand. */
function holds(operation: number, a: number, operand: number, code: number): boolean {
  switch (operation) {
    case 0x10:
      return a === operand;
    case 0x20:
      return a > operand;
    case 0x30:
      return a >= operand;
    case 0x40:
      return (a & operand) !== 0;
    default:
      throw unknown(code);
  }
}

/** BPF_ALU: combines A with the operand. */
function computed(operation: number, a: number, operand: number, code: number): number {
  switch (operation) {
    case 0x00:
      return (a + operand) >>> 0;
    case 0x10:
      return (a - operand) >>> 0;
    case 0x20:
      return Math.imul(a, operand) >>> 0;
    case 0x30:
      return Math.floor(a / operand);
    case 0x40:
      return (a | operand) >>> 0;
    case 0x50:
      return (a & operand) >>> 0;
    case 0x60:
      return (a << operand) >>> 0;
    case 0x70:
      return a >>> operand;
    case 0xa0:
      return (a ^ operand) >>> 0;
    default:
      throw unknown(code);
  }
}

function unknown(code: number): Error {
  return new Error(`the filter has an opcode that seccomp does not accept: 0x${code.toString(16)}`);
}

function load(call: Call, offset: number): number {
  if (offset === 0) return call.nr >>> 0;
  if (offset === 4) return call.arch >>> 0;
  if (offset % 4 !== 0 || offset < 8 || offset >= DATA_SIZE)
    throw new Error(`the filter loads from offset ${offset}`);
  const value = offset < 16 ? (call.instructionPointer ?? 0n) : (call.args[(offset - 16) >> 3] ?? 0n);
  return Number(offset % 8 === 0 ? value & 0xffffffffn : (value >> 32n) & 0xffffffffn);
}
