import type { Architecture } from '../types.ts';
import type { Width } from './argument-test.ts';
import aarch64 from './tables/aarch64.json' with { type: 'json' };
import argumentTable from './tables/arguments.json' with { type: 'json' };
import x86_64 from './tables/x86_64.json' with { type: 'json' };

const NUMBERS: Readonly<Record<Architecture, ReadonlyMap<string, number>>> = {
  x86_64: new Map(Object.entries(x86_64.numbers)),
  aarch64: new Map(Object.entries(aarch64.numbers)),
};

const ARGUMENTS: ReadonlyMap<string, string> = new Map(Object.entries(argumentTable.arguments));

/** AUDIT_ARCH_* (linux/audit.h): the ELF machine with the 64-bit and little-endian flags. */
export const AUDIT_ARCH: Readonly<Record<Architecture, number>> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };

/** Returns the numbers of an architecture's system calls by name. */
export function syscallNumbers(architecture: Architecture): ReadonlyMap<string, number> {
  return NUMBERS[architecture];
}

/** Returns true if the name is a system call of either architecture. */
export function isSyscallName(name: string): boolean {
  return NUMBERS.x86_64.has(name) || NUMBERS.aarch64.has(name);
}

/**
 * Returns how many bits of an argument the kernel reads: those of the declared type in its SYSCALL_DEFINE. 64
 * if unknown.
 */
export function argumentWidth(name: string, index: number): Width {
  const letter = ARGUMENTS.get(name)?.[index];
  return letter === 'i' ? 32 : letter === 'h' ? 16 : 64;
}

/**
 * The kernel's view of an argument: a number with that many bits, or an address, of which a filter sees only
 * the number.
 */
export type ArgumentKind = Width | 'pointer';

/**
 * Returns the kinds of a call's arguments, in order; undefined for a call that current kernels do not have.
 * The values are those of x86_64 where the two architectures differ.
 */
export function argumentKinds(name: string): readonly ArgumentKind[] | undefined {
  const letters = ARGUMENTS.get(name);
  return letters === undefined
    ? undefined
    : Array.from(letters, (letter, index) => (letter === 'p' ? 'pointer' : argumentWidth(name, index)));
}

/** Returns every name of both architectures, sorted. */
export function allSyscallNames(): string[] {
  return [...new Set([...NUMBERS.x86_64.keys(), ...NUMBERS.aarch64.keys()])].sort();
}
