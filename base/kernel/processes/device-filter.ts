import { closeSync, openSync, constants } from 'node:fs';
import { checked, kernelError } from '../ffi/errno.ts';
import { glibc, withAddresses } from '../ffi/libc.ts';

/** A character device. */
export interface CharacterDevice {
  readonly major: number;
  readonly minor: number;
}

const c = { syscall: glibc('syscall', 'int64', ['long', 'int', 'void *', 'uint']) };
const numbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };
// include/uapi/linux/bpf.h
const [BPF_PROG_LOAD, BPF_PROG_ATTACH] = [5, 8];
const [BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI] = [15, 6, 2];
const BPF_DEVCG_DEV_CHAR = 2;
/** Operations of BPF instructions: load 4 bytes, and, jump if not equal, move, exit. */
const [LDXW, AND, JNE, MOV, EXIT] = [0x61, 0x57, 0x55, 0xb7, 0x95];

/**
 * Denies processes of a cgroup of version 2 every access to one device, whatever other filters allow: the
 * kernel grants an access only if each filter of the cgroup does. The filter ends with the cgroup. It needs
 * Linux 4.15.
 * @param cgroup the folder of the cgroup
 * @throws PortcullisError KERNEL_… if the kernel has no such filters, or this process may not add one
 */
export function denyDeviceInCgroup(cgroup: string, device: CharacterDevice): void {
  const folder = openSync(cgroup, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const filter = load(program(device));
    try {
      const attributes = Buffer.alloc(24);
      [folder, filter, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI].forEach((value, index) =>
        attributes.writeUInt32LE(value, 4 * index),
      );
      bpf(BPF_PROG_ATTACH, attributes, cgroup);
    } finally {
      closeSync(filter);
    }
  } finally {
    closeSync(folder);
  }
}

/** Returns the descriptor of a loaded program. */
function load(instructions: Buffer): number {
  return withAddresses([instructions, Buffer.from('GPL\0')] as const, ([code, license]) => {
    const attributes = Buffer.alloc(64);
    attributes.writeUInt32LE(BPF_PROG_TYPE_CGROUP_DEVICE, 0);
    attributes.writeUInt32LE(instructions.length / 8, 4);
    attributes.writeBigUInt64LE(code, 8);
    attributes.writeBigUInt64LE(license, 16);
    return bpf(BPF_PROG_LOAD, attributes, 'filter of devices');
  });
}

function bpf(command: number, attributes: Buffer, on: string): number {
  const number = numbers[process.arch];
  if (number === undefined) throw kernelError('ENOSYS', 'bpf', process.arch);
  return checked(c.syscall(number, command, attributes, attributes.length), 'bpf', on);
}

/**
 * Returns the instructions of a program that denies one character device, and allows all others. Its context
 * has three numbers of 4 bytes: the type of the device in the lower half of the first one, its major and its
 * minor number (struct bpf_cgroup_dev_ctx).
 */
function program({ major, minor }: CharacterDevice): Buffer {
  const [allow, length] = [9, 11];
  const to = (from: number): number => allow - from - 1;
  const code = Buffer.alloc(8 * length);
  const write = (at: number, operation: number, registers: number, offset: number, value: number): void => {
    code.writeUInt8(operation, 8 * at);
    code.writeUInt8(registers, 8 * at + 1);
    code.writeInt16LE(offset, 8 * at + 2);
    code.writeInt32LE(value, 8 * at + 4);
  };
  // Registers: the destination in the lower half, the source in the upper one.
  write(0, LDXW, 0x12, 0, 0);
  write(1, AND, 0x02, 0, 0xffff);
  write(2, JNE, 0x02, to(2), BPF_DEVCG_DEV_CHAR);
  write(3, LDXW, 0x13, 4, 0);
  write(4, JNE, 0x03, to(4), major);
  write(5, LDXW, 0x14, 8, 0);
  write(6, JNE, 0x04, to(6), minor);
  write(7, MOV, 0x00, 0, 0);
  write(8, EXIT, 0, 0, 0);
  write(allow, MOV, 0x00, 0, 1);
  write(10, EXIT, 0, 0, 0);
  return code;
}
