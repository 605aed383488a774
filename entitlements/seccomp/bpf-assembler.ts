/** Classic BPF opcodes that a seccomp filter uses (linux/filter.h, linux/bpf_common.h). */
export const LD_W_ABS = 0x20;
export const ALU_AND_K = 0x54;
export const JMP_JA = 0x05;
export const JMP_JEQ_K = 0x15;
export const JMP_JGT_K = 0x25;
export const JMP_JGE_K = 0x35;
export const RET_K = 0x06;

/** BPF_MAXINSNS (linux/bpf_common.h): the kernel refuses longer programs. */
export const MAX_INSTRUCTIONS = 4096;

/** The reach of an 8-bit jt or jf. */
const FARTHEST = 255;

/** `struct sock_filter`: jt and jf count instructions to skip. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** An instruction with labels instead of distances. All jumps go forward. */
export type Line =
  | { readonly op: 'label'; readonly label: string }
  | { readonly op: 'load'; readonly offset: number }
  | { readonly op: 'and'; readonly k: number }
  | { readonly op: 'return'; readonly k: number }
  | { readonly op: 'go'; readonly to: string }
  | {
      readonly op: 'if';
      readonly code: typeof JMP_JEQ_K | typeof JMP_JGT_K | typeof JMP_JGE_K;
      readonly k: number;
      readonly yes: string;
      readonly no: string;
    };

interface Shape {
  yesFar: boolean;
  noFar: boolean;
}

/**
 * Resolves labels. A conditional jump reaches 255 instructions. A longer one goes through an unconditional
 * jump placed after it. Lengths only grow during the process, so it terminates.
 */
export function assemble(lines: readonly Line[]): Instruction[] {
  const shapes = new Map<Line, Shape>();
  for (const line of lines) if (line.op === 'if') shapes.set(line, { yesFar: false, noFar: false });
  for (;;) {
    const { starts, labels } = layOut(lines, shapes);
    if (!widen(lines, shapes, starts, labels)) return emit(lines, shapes, starts, labels);
  }
}

/** Marks the conditional jumps that do not reach their target. Returns true if there were any. */
function widen(
  lines: readonly Line[],
  shapes: ReadonlyMap<Line, Shape>,
  starts: readonly number[],
  labels: ReadonlyMap<string, number>,
): boolean {
  let changed = false;
  for (const [at, line] of lines.entries()) {
    const shape = shapes.get(line);
    if (line.op !== 'if' || shape === undefined) continue;
    const next = (starts[at] ?? 0) + 1;
    for (const [side, label] of [
      ['yesFar', line.yes],
      ['noFar', line.no],
    ] as const) {
      if (shape[side] || position(labels, label) - next <= FARTHEST) continue;
      shape[side] = true;
      changed = true;
    }
  }
  return changed;
}

function size(line: Line, shapes: ReadonlyMap<Line, Shape>): number {
  if (line.op === 'label') return 0;
  const shape = shapes.get(line);
  return shape === undefined ? 1 : 1 + Number(shape.yesFar) + Number(shape.noFar);
}

function layOut(
  lines: readonly Line[],
  shapes: ReadonlyMap<Line, Shape>,
): { starts: number[]; labels: Map<string, number> } {
  const labels = new Map<string, number>();
  const starts: number[] = [];
  let at = 0;
  for (const line of lines) {
    starts.push(at);
    if (line.op === 'label') labels.set(line.label, at);
    at += size(line, shapes);
  }
  return { starts, labels };
}

function position(labels: ReadonlyMap<string, number>, label: string): number {
  const at = labels.get(label);
  if (at === undefined) throw new Error(`seccomp assembler: no label ${label}`);
  return at;
}

function emit(
  lines: readonly Line[],
  shapes: ReadonlyMap<Line, Shape>,
  starts: readonly number[],
  labels: ReadonlyMap<string, number>,
): Instruction[] {
  const program: Instruction[] = [];
  lines.forEach((line, index) => {
    const next = (starts[index] ?? 0) + 1;
    if (line.op === 'load') program.push({ code: LD_W_ABS, jt: 0, jf: 0, k: line.offset });
    else if (line.op === 'and') program.push({ code: ALU_AND_K, jt: 0, jf: 0, k: line.k });
    else if (line.op === 'return') program.push({ code: RET_K, jt: 0, jf: 0, k: line.k });
    else if (line.op === 'go')
      program.push({ code: JMP_JA, jt: 0, jf: 0, k: position(labels, line.to) - next });
    else if (line.op === 'if') {
      const shape = shapes.get(line) ?? { yesFar: false, noFar: false };
      const jt = shape.yesFar ? 0 : position(labels, line.yes) - next;
      const jf = shape.noFar ? Number(shape.yesFar) : position(labels, line.no) - next;
      program.push({ code: line.code, jt, jf, k: line.k });
      let behind = next;
      for (const [far, label] of [
        [shape.yesFar, line.yes],
        [shape.noFar, line.no],
      ] as const) {
        if (!far) continue;
        behind += 1;
        program.push({ code: JMP_JA, jt: 0, jf: 0, k: position(labels, label) - behind });
      }
    }
  });
  return program;
}

/** Encodes `struct sock_filter[]`, 8 bytes per instruction, little-endian. */
export function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach((instruction, at) => {
    view.setUint16(at * 8, instruction.code, true);
    view.setUint8(at * 8 + 2, instruction.jt);
    view.setUint8(at * 8 + 3, instruction.jf);
    view.setUint32(at * 8 + 4, instruction.k, true);
  });
  return bytes;
}

/** Does the inverse of {@link encode}. */
export function decode(bytes: Uint8Array): Instruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.byteLength / 8) }, (_, at) => ({
    code: view.getUint16(at * 8, true),
    jt: view.getUint8(at * 8 + 2),
    jf: view.getUint8(at * 8 + 3),
    k: view.getUint32(at * 8 + 4, true),
  }));
}
