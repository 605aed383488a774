import { assemblerForArm64, assemblerForX64 } from './assembler.ts';
import type { Assembler } from './assembler.ts';

export type Machine = 'x86_64' | 'aarch64';

const machines: Readonly<Record<Machine, { readonly elf: number; readonly assembler: () => Assembler }>> = {
  // e_machine of elf.h
  x86_64: { elf: 62, assembler: assemblerForX64 },
  aarch64: { elf: 183, assembler: assemblerForArm64 },
};

/** The load address on both machines: above mmap_min_addr, aligned to the largest page size (64 KiB). */
const loadAddress = 0x40_0000;
const headerSize = 64 + 56;

/**
 * Assembles a static ELF executable from code and the constants after it. No part of it is writable. The same
 * input gives the same bytes. Pure.
 * @param write emits the code and lays out the constants it refers to; it is called twice, and the code must
 * have the same length both times
 * @throws Error if the code does not have the same length both times
 */
export function assembleExecutable(
  machine: Machine,
  write: (assembler: Assembler, constants: Constants) => void,
): Buffer {
  const { elf, assembler: create } = machines[machine];
  const assemble = (address: number): { code: Buffer; data: Buffer } => {
    const assembler = create();
    const constants = constantsAt(address);
    write(assembler, constants);
    return { code: assembler.bytes(), data: constants.bytes() };
  };
  // Constants follow the code, aligned to 8 bytes. The length of the code does not depend on their position.
  const codeLength = assemble(loadAddress).code.length;
  const dataOffset = Math.ceil((headerSize + codeLength) / 8) * 8;
  const { code, data } = assemble(loadAddress + dataOffset);
  if (code.length !== codeLength) throw new Error('the code must have the same length both times');
  const body = Buffer.concat([code, Buffer.alloc(dataOffset - headerSize - code.length), data]);
  return Buffer.concat([header(elf, headerSize + body.length), body]);
}

/** The address of a constant and its length in bytes. */
export interface Place {
  readonly at: number;
  readonly length: number;
}

export interface Constants {
  /** Stores a constant, aligned to 8 bytes. */
  put(bytes: Uint8Array): Place;
  bytes(): Buffer;
}

function constantsAt(address: number): Constants {
  const parts: Uint8Array[] = [];
  let end = address;
  return {
    put(bytes) {
      const padding = Buffer.alloc((8 - (bytes.length % 8)) % 8);
      const place = { at: end, length: bytes.length };
      parts.push(bytes, padding);
      end += bytes.length + padding.length;
      return place;
    },
    bytes: () => Buffer.concat(parts),
  };
}

/** Encodes values of 64 bits, little-endian. */
export function words(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, at) => bytes.writeBigUInt64LE(value, at * 8));
  return bytes;
}

/**
 * Emits a system call with constant arguments: 32-bit values, where -1 is ~0. undefined leaves the register
 * unchanged.
 */
export function callWith(
  assembler: Assembler,
  number: number,
  ...values: readonly (number | undefined)[]
): void {
  (['a0', 'a1', 'a2', 'a3', 'a4'] as const).forEach((register, at) => {
    const value = values[at];
    if (value !== undefined) assembler.set(register, value);
  });
  assembler.call(number);
}

/**
 * Returns the ELF header and one program header that covers the whole file: readable and executable, never
 * writable (elf(5)).
 */
function header(machine: number, fileSize: number): Buffer {
  const bytes = Buffer.alloc(headerSize);
  // Magic number, 64-bit, little-endian, version 1.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0);
  bytes.writeUInt16LE(2, 16); // e_type: ET_EXEC
  bytes.writeUInt16LE(machine, 18);
  bytes.writeUInt32LE(1, 20); // e_version
  bytes.writeBigUInt64LE(BigInt(loadAddress + headerSize), 24); // e_entry
  bytes.writeBigUInt64LE(64n, 32); // e_phoff
  bytes.writeUInt16LE(64, 52); // e_ehsize
  bytes.writeUInt16LE(56, 54); // e_phentsize
  bytes.writeUInt16LE(1, 56); // e_phnum
  bytes.writeUInt32LE(1, 64); // p_type: PT_LOAD
  bytes.writeUInt32LE(5, 68); // p_flags: PF_R | PF_X
  bytes.writeBigUInt64LE(BigInt(loadAddress), 80); // p_vaddr
  bytes.writeBigUInt64LE(BigInt(loadAddress), 88); // p_paddr
  bytes.writeBigUInt64LE(BigInt(fileSize), 96); // p_filesz
  bytes.writeBigUInt64LE(BigInt(fileSize), 104); // p_memsz
  bytes.writeBigUInt64LE(0x1_0000n, 112); // p_align
  return bytes;
}
