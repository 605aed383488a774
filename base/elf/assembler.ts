import { append } from '../lists/index.ts';

/**
 * The few instructions that our small programs use, for both machines. Registers are named by role: `s0`…`s4`
 * keep their values over system calls, `a0`…`a4` are the arguments of a call, `result` is its answer (also a0
 * on arm64: use it at once), `t` is scratch, `sp` is the stack: copied, added to, and a base of loads and
 * stores.
 */
export type Register =
  | 's0'
  | 's1'
  | 's2'
  | 's3'
  | 's4'
  | 'a0'
  | 'a1'
  | 'a2'
  | 'a3'
  | 'a4'
  | 'result'
  | 't'
  | 'sp';

/**
 * Emits one instruction per call. Both assemblers take the operands that both machines can encode.
 * @throws RangeError for any other operand
 */
export interface Assembler {
  /** Names the address of the next instruction. @throws Error for a name that occurs twice */
  label(name: string): void;
  /** Sets a value of 32 bits; the upper half becomes zero. */
  set(to: Register, value: number): void;
  copy(to: Register, from: Register): void;
  /** Adds -4095 to 4095. */
  addTo(to: Register, value: number): void;
  addRegister(to: Register, from: Register): void;
  subtractRegister(to: Register, from: Register): void;
  /** Offsets of loads and stores are multiples of the moved size, and at most 4095 times this size. */
  load64(to: Register, base: Register, offset: number): void;
  load16(to: Register, base: Register, offset: number): void;
  load8(to: Register, base: Register, offset: number): void;
  store64(from: Register, base: Register, offset: number): void;
  store32(from: Register, base: Register, offset: number): void;
  store8(from: Register, base: Register, offset: number): void;
  and32(to: Register, value: number): void;
  call(number: number): void;
  jump(label: string): void;
  jumpIfZero(register: Register, label: string): void;
  jumpUnlessZero(register: Register, label: string): void;
  /** Tests the lower 32 bits. */
  jumpIfNegative(register: Register, label: string): void;
  /** Compares the lower 32 bits. */
  jumpIfEqual(register: Register, value: number, label: string): void;
  /** Returns the code, with every jump resolved. @throws Error for a jump to a label that does not exist */
  bytes(): Buffer;
}

type Fix = (code: Buffer, target: number) => void;

/** Sources: Intel SDM volume 2; the System V ABI and syscall(2) for the registers. */
export function assemblerForX64(): Assembler {
  const numbers: Readonly<Record<Register, number>> = {
    ...{ s0: 3, s1: 12, s2: 13, s3: 14, s4: 15, a0: 7, a1: 6, a2: 2, a3: 10, a4: 8, result: 0, t: 9, sp: 4 },
  };
  const code: number[] = [];
  const { define, fixes, resolve } = targets();
  const word = (value: number): number[] => [
    value & 255,
    (value >> 8) & 255,
    (value >> 16) & 255,
    (value >> 24) & 255,
  ];
  /** Emits REX prefix, opcode and ModRM. @param reg in the reg field @param rm in the rm field */
  const emit = (
    wide: boolean,
    opcode: readonly number[],
    reg: number,
    rm: number,
    mode: number,
    tail: readonly number[] = [],
  ): void => {
    const rex = 0x40 | (wide ? 8 : 0) | (reg > 7 ? 4 : 0) | (rm > 7 ? 1 : 0);
    append(code, [rex, ...opcode, (mode << 6) | ((reg & 7) << 3) | (rm & 7), ...tail]);
  };
  /** Addresses memory with a 32-bit offset from a base. A base whose low bits are 4 needs a SIB byte. */
  const memory = (
    wide: boolean,
    opcode: readonly number[],
    reg: Register,
    base: Register,
    offset: number,
  ): void => {
    emit(wide, opcode, numbers[reg], numbers[base], 2, [
      ...((numbers[base] & 7) === 4 ? [0x24] : []),
      ...word(offset),
    ]);
  };
  const branch = (opcode: readonly number[], label: string): void => {
    append(code, [...opcode, 0, 0, 0, 0]);
    const end = code.length;
    fixes.push([label, (bytes, target) => void bytes.writeInt32LE(target - end, end - 4)]);
  };
  const test = (register: Register, wide: boolean): void =>
    emit(wide, [0x85], numbers[register], numbers[register], 3);
  return portable({
    label: (name) => define(name, code.length),
    set: (to, value) =>
      void append(code, [numbers[to] > 7 ? 0x41 : 0x40, 0xb8 | (numbers[to] & 7), ...word(value)]),
    copy: (to, from) => emit(true, [0x89], numbers[from], numbers[to], 3),
    addTo: (to, value) => emit(true, [0x81], 0, numbers[to], 3, word(value)),
    addRegister: (to, from) => emit(true, [0x01], numbers[from], numbers[to], 3),
    subtractRegister: (to, from) => emit(true, [0x29], numbers[from], numbers[to], 3),
    load64: (to, base, offset) => memory(true, [0x8b], to, base, offset),
    load16: (to, base, offset) => memory(false, [0x0f, 0xb7], to, base, offset),
    load8: (to, base, offset) => memory(false, [0x0f, 0xb6], to, base, offset),
    store64: (from, base, offset) => memory(true, [0x89], from, base, offset),
    store32: (from, base, offset) => memory(false, [0x89], from, base, offset),
    store8: (from, base, offset) => memory(false, [0x88], from, base, offset),
    and32: (to, value) => emit(false, [0x81], 4, numbers[to], 3, word(value)),
    call: (number) => void append(code, [0xb8, ...word(number), 0x0f, 0x05]),
    jump: (label) => branch([0xe9], label),
    jumpIfZero: (register, label) => {
      test(register, true);
      branch([0x0f, 0x84], label);
    },
    jumpUnlessZero: (register, label) => {
      test(register, true);
      branch([0x0f, 0x85], label);
    },
    jumpIfNegative: (register, label) => {
      test(register, false);
      branch([0x0f, 0x88], label);
    },
    jumpIfEqual: (register, value, label) => {
      emit(false, [0x81], 7, numbers[register], 3, word(value));
      branch([0x0f, 0x84], label);
    },
    bytes: () => resolve(Buffer.from(code)),
  });
}

/** Source: Arm Architecture Reference Manual, C6.2. Every instruction is one word. */
export function assemblerForArm64(): Assembler {
  const numbers: Readonly<Record<Register, number>> = {
    ...{ s0: 19, s1: 20, s2: 21, s3: 22, s4: 23, a0: 0, a1: 1, a2: 2, a3: 3, a4: 4, result: 0, t: 9, sp: 31 },
  };
  /** The register for constants that do not fit into an instruction. */
  const constant = 16;
  const code: number[] = [];
  const { define, fixes, resolve } = targets();
  const load = (register: number, value: number): void => {
    code.push(
      0x5280_0000 | ((value & 0xffff) << 5) | register,
      0x72a0_0000 | (((value >>> 16) & 0xffff) << 5) | register,
    );
  };
  const memory = (
    opcode: number,
    scale: number,
    register: Register,
    base: Register,
    offset: number,
  ): void => {
    code.push(opcode | ((offset / scale) << 10) | (numbers[base] << 5) | numbers[register]);
  };
  const branch = (opcode: number, shift: number, mask: number, label: string): void => {
    const at = code.length * 4;
    code.push(opcode);
    fixes.push([
      label,
      (bytes, target) => {
        const distance = (target - at) / 4;
        if (distance < -(mask >> 1) - 1 || distance > mask >> 1)
          throw new RangeError(`the label ${JSON.stringify(label)} is too far away`);
        bytes.writeUInt32LE((opcode | ((distance & mask) << shift)) >>> 0, at);
      },
    ]);
  };
  return portable({
    label: (name) => define(name, code.length * 4),
    set: (to, value) => load(numbers[to], value),
    copy: (to, from) =>
      void code.push(
        to === 'sp' || from === 'sp'
          ? 0x9100_0000 | (numbers[from] << 5) | numbers[to]
          : 0xaa00_03e0 | (numbers[from] << 16) | numbers[to],
      ),
    addTo: (to, value) =>
      void code.push(
        (value < 0 ? 0xd100_0000 : 0x9100_0000) | (Math.abs(value) << 10) | (numbers[to] << 5) | numbers[to],
      ),
    addRegister: (to, from) =>
      void code.push(0x8b00_0000 | (numbers[from] << 16) | (numbers[to] << 5) | numbers[to]),
    subtractRegister: (to, from) =>
      void code.push(0xcb00_0000 | (numbers[from] << 16) | (numbers[to] << 5) | numbers[to]),
    load64: (to, base, offset) => memory(0xf940_0000, 8, to, base, offset),
    load16: (to, base, offset) => memory(0x7940_0000, 2, to, base, offset),
    load8: (to, base, offset) => memory(0x3940_0000, 1, to, base, offset),
    store64: (from, base, offset) => memory(0xf900_0000, 8, from, base, offset),
    store32: (from, base, offset) => memory(0xb900_0000, 4, from, base, offset),
    store8: (from, base, offset) => memory(0x3900_0000, 1, from, base, offset),
    and32: (to, value) => {
      load(constant, value);
      code.push(0x0a00_0000 | (constant << 16) | (numbers[to] << 5) | numbers[to]);
    },
    call: (number) => {
      load(8, number);
      code.push(0xd400_0001);
    },
    jump: (label) => branch(0x1400_0000, 0, 0x3ff_ffff, label),
    jumpIfZero: (register, label) => branch(0xb400_0000 | numbers[register], 5, 0x7_ffff, label),
    jumpUnlessZero: (register, label) => branch(0xb500_0000 | numbers[register], 5, 0x7_ffff, label),
    jumpIfNegative: (register, label) => branch(0x37f8_0000 | numbers[register], 5, 0x3fff, label),
    jumpIfEqual: (register, value, label) => {
      load(constant, value);
      code.push(0x6b00_001f | (constant << 16) | (numbers[register] << 5));
      branch(0x5400_0000, 5, 0x7_ffff, label);
    },
    bytes: () => {
      const bytes = Buffer.alloc(code.length * 4);
      code.forEach((instruction, at) => bytes.writeUInt32LE(instruction >>> 0, at * 4));
      return resolve(bytes);
    },
  });
}

interface Targets {
  /** Gives a name to an offset in the code. */
  readonly define: (name: string, at: number) => void;
  /** Corrections of the code, each applied when the offset of its label is known. */
  readonly fixes: [label: string, Fix][];
  readonly resolve: (code: Buffer) => Buffer;
}

function targets(): Targets {
  const labels = new Map<string, number>();
  const fixes: Targets['fixes'] = [];
  return {
    define(name, at) {
      if (labels.has(name)) throw new Error(`the label ${JSON.stringify(name)} occurs twice`);
      labels.set(name, at);
    },
    fixes,
    resolve(code) {
      for (const [label, fix] of fixes) {
        const target = labels.get(label);
        if (target === undefined) throw new Error(`there is no label ${JSON.stringify(label)}`);
        fix(code, target);
      }
      return code;
    },
  };
}

const isWord = (value: number): boolean => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;

/**
 * Refuses every operand that one of the machines cannot encode: a program that is assembled for one machine
 * is also assembled for the other. The limits are those of arm64, except for 32 bits.
 */
function portable(assembler: Assembler): Assembler {
  const word = (value: number): number => {
    if (!isWord(value)) throw new RangeError(`${value} is not a value of 32 bits`);
    return value;
  };
  // Number 31 is the stack pointer only in additions of a constant and as a base; elsewhere it reads as zero.
  const general = (register: Register): Register => {
    if (register === 'sp') throw new RangeError('the stack pointer is not an operand of this instruction');
    return register;
  };
  type Access = (register: Register, base: Register, offset: number) => void;
  const memory =
    (access: Access, size: number): Access =>
    (register, base, offset) => {
      if (offset % size !== 0 || !(offset >= 0 && offset <= 4095 * size))
        throw new RangeError(`the offset ${offset} is not a multiple of ${size} from 0 to ${4095 * size}`);
      access(general(register), base, offset);
    };
  return {
    ...assembler,
    set: (to, value) => assembler.set(general(to), word(value)),
    addTo(to, value) {
      if (!Number.isInteger(value) || Math.abs(value) > 4095)
        throw new RangeError(`addTo takes -4095 to 4095, and not ${value}`);
      assembler.addTo(to, value);
    },
    addRegister: (to, from) => assembler.addRegister(general(to), general(from)),
    subtractRegister: (to, from) => assembler.subtractRegister(general(to), general(from)),
    load64: memory(assembler.load64, 8),
    load16: memory(assembler.load16, 2),
    load8: memory(assembler.load8, 1),
    store64: memory(assembler.store64, 8),
    store32: memory(assembler.store32, 4),
    store8: memory(assembler.store8, 1),
    and32: (to, value) => assembler.and32(general(to), word(value)),
    call: (number) => assembler.call(word(number)),
    jumpIfZero: (register, label) => assembler.jumpIfZero(general(register), label),
    jumpUnlessZero: (register, label) => assembler.jumpUnlessZero(general(register), label),
    jumpIfNegative: (register, label) => assembler.jumpIfNegative(general(register), label),
    jumpIfEqual: (register, value, label) => assembler.jumpIfEqual(general(register), word(value), label),
  };
}
