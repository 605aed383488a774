/**
 * The program that holds a pod's shared PID namespace: a static ELF executable of a few hundred bytes, assembled here so that neither a
 * compiler nor an image is needed. It is process 1 of the namespace, so it must do one thing, and can do no other:
 *
 * 1. close_range(0, ~0, 0): hold nobody's file or pipe. Before Linux 5.9: ENOSYS, and it holds what the runtime gave it.
 * 2. rt_sigaction(SIGCHLD, SIG_IGN): the kernel then reaps every orphan of the pod itself (sigaction(2), NOTES; wait(2)).
 * 3. prctl(PR_SET_DUMPABLE, 0): nobody in the pod may trace it or follow its /proc links without CAP_SYS_PTRACE.
 * 4. prctl(PR_SET_NO_NEW_PRIVS, 1) and seccomp(SECCOMP_SET_MODE_FILTER): from here on the kernel kills it for any call but ppoll.
 * 5. ppoll(NULL, 0, NULL, NULL, 0) for ever.
 *
 * A failure of 2 to 4 ends it with exit code 1. SIGTERM and the like do nothing to a first process without handlers; SIGKILL from
 * outside the namespace ends it, and the kernel then every process in the namespace (pid_namespaces(7)).
 */

export type InfraArchitecture = 'x64' | 'arm64';

/** Both machines map it here: above mmap_min_addr, on a boundary of the largest page (64 KiB). */
const loadAddress = 0x40_0000;
const headerSize = 64 + 56;

const SIGCHLD = 17;
const SIG_IGN = 1;
/** Bytes of the kernel's signal set, which rt_sigaction demands. */
const signalSetSize = 8;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;

interface Machine {
  /** e_machine of elf.h. */
  readonly elf: number;
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly audit: number;
  readonly calls: Readonly<Record<'closeRange' | 'rtSigaction' | 'prctl' | 'seccomp' | 'ppoll' | 'exitGroup', number>>;
  /** The instructions; `data` is where the program's constants begin. The length must not depend on the address. */
  readonly code: (calls: readonly Call[], poll: Call, exit: Call) => Buffer;
}

/** A system call by number and its arguments (32-bit values; -1 is ~0). */
interface Call {
  readonly number: number;
  readonly arguments: readonly number[];
  /** A result other than zero ends the program. */
  readonly mustSucceed: boolean;
}

const machines: Readonly<Record<InfraArchitecture, Machine>> = {
  x64: {
    elf: 62,
    audit: 0xc000_003e,
    calls: { closeRange: 436, rtSigaction: 13, prctl: 157, seccomp: 317, ppoll: 271, exitGroup: 231 },
    code: codeForX64,
  },
  arm64: {
    elf: 183,
    audit: 0xc000_00b7,
    calls: { closeRange: 436, rtSigaction: 134, prctl: 167, seccomp: 277, ppoll: 73, exitGroup: 94 },
    code: codeForArm64,
  },
};

/** The whole executable, the same bytes each time. Pure. */
export function infraProgram(architecture: InfraArchitecture): Buffer {
  const machine = machines[architecture];
  const { calls } = machine;
  const action = Buffer.alloc(32);
  action.writeBigUInt64LE(BigInt(SIG_IGN), 0);
  const filter = onlyPoll(machine);
  const assemble = (data: number): Buffer => {
    const call = (number: number, mustSucceed: boolean, ...args: readonly number[]): Call => ({ number, mustSucceed, arguments: args });
    const begin = [
      call(calls.closeRange, false, 0, -1, 0),
      call(calls.rtSigaction, true, SIGCHLD, data, 0, signalSetSize),
      call(calls.prctl, true, PR_SET_DUMPABLE, 0, 0, 0, 0),
      call(calls.prctl, true, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
      call(calls.seccomp, true, SECCOMP_SET_MODE_FILTER, 0, data + action.length),
    ];
    return machine.code(begin, call(calls.ppoll, false, 0, 0, 0, 0, 0), call(calls.exitGroup, false, 1));
  };
  // Constants follow the code, on a boundary of 8 bytes.
  const dataOffset = Math.ceil((headerSize + assemble(loadAddress).length) / 8) * 8;
  const data = loadAddress + dataOffset;
  // struct sock_fprog: length in instructions, padding, pointer (linux/filter.h).
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / 8, 0);
  program.writeBigUInt64LE(BigInt(data + action.length + program.length), 8);
  const code = assemble(data);
  const padding = Buffer.alloc(dataOffset - headerSize - code.length);
  const body = Buffer.concat([code, padding, action, program, filter]);
  return Buffer.concat([header(machine.elf, headerSize + body.length), body]);
}

/** ELF header and one program header: the whole file, readable and executable, never writable (elf(5)). */
function header(machine: number, fileSize: number): Buffer {
  const bytes = Buffer.alloc(headerSize);
  // Magic, 64-bit, little-endian, version 1.
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

/** Classic BPF (linux/bpf_common.h): the own architecture's ppoll, else death. struct seccomp_data: number at 0, architecture at 4. */
function onlyPoll({ audit, calls }: Machine): Buffer {
  const [load, jumpIfEqual, answer] = [0x20, 0x15, 0x06];
  const [allow, kill] = [0x7fff_0000, 0x8000_0000];
  const instructions: readonly (readonly [code: number, ifTrue: number, ifFalse: number, value: number])[] = [
    [load, 0, 0, 4],
    [jumpIfEqual, 0, 3, audit],
    [load, 0, 0, 0],
    [jumpIfEqual, 0, 1, calls.ppoll],
    [answer, 0, 0, allow],
    [answer, 0, 0, kill],
  ];
  return Buffer.concat(
    instructions.map(([code, ifTrue, ifFalse, value]) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(code, 0);
      bytes.writeUInt8(ifTrue, 2);
      bytes.writeUInt8(ifFalse, 3);
      bytes.writeUInt32LE(value, 4);
      return bytes;
    }),
  );
}

/** Number in eax, arguments in rdi, rsi, rdx, r10, r8 (syscall(2)). Intel SDM volume 2; a write to a 32-bit register clears the upper half. */
function codeForX64(calls: readonly Call[], poll: Call, exit: Call): Buffer {
  const load = ['bf', 'be', 'ba', '41ba', '41b8']; // mov edi|esi|edx|r10d|r8d, imm32
  const invoke = ({ number, arguments: args }: Call): Buffer =>
    Buffer.concat([
      ...args.map((value, index) => withWord(load[index] ?? '', value)),
      withWord('b8', number), // mov eax, imm32
      Buffer.from('0f05', 'hex'), // syscall
    ]);
  const forever = (body: Buffer): Buffer => Buffer.concat([body, withWord('e9', -(body.length + 5))]); // jmp rel32, from its own end
  const loop = forever(invoke(poll));
  const parts = calls.map((call) => ({ bytes: invoke(call), call }));
  const checkSize = 8; // test eax, eax (2 bytes); jnz rel32 (6 bytes)
  const sizes = parts.map(({ bytes, call }) => bytes.length + (call.mustSucceed ? checkSize : 0));
  const total = sizes.reduce((sum, size) => sum + size, 0) + loop.length;
  let at = 0;
  const body = parts.map(({ bytes, call }, index) => {
    at += sizes[index] ?? 0;
    return call.mustSucceed ? Buffer.concat([bytes, Buffer.from('85c0', 'hex'), withWord('0f85', total - at)]) : bytes;
  });
  return Buffer.concat([...body, loop, invoke(exit)]);
}

/** An opcode and its 32-bit operand, little-endian. */
function withWord(opcode: string, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0, 0);
  return Buffer.concat([Buffer.from(opcode, 'hex'), bytes]);
}

/** Number in x8, arguments in x0 … x4 (syscall(2)). Every instruction is one word (Arm Architecture Reference Manual, C6.2). */
function codeForArm64(calls: readonly Call[], poll: Call, exit: Call): Buffer {
  // movz wN, low; movk wN, high, lsl 16
  const load = (register: number, value: number): number[] => [
    0x5280_0000 | ((value & 0xffff) << 5) | register,
    0x72a0_0000 | (((value >>> 16) & 0xffff) << 5) | register,
  ];
  const invoke = ({ number, arguments: args }: Call): number[] => [
    ...args.flatMap((value, index) => load(index, value)),
    ...load(8, number),
    0xd400_0001, // svc 0
  ];
  const loop = invoke(poll);
  loop.push(0x1400_0000 | (-loop.length & 0x3ff_ffff)); // b, back to the loop's first word
  const parts = calls.map((call) => ({ words: invoke(call), call }));
  const total = parts.reduce((sum, { words, call }) => sum + words.length + (call.mustSucceed ? 1 : 0), 0) + loop.length;
  const words: number[] = [];
  for (const part of parts) {
    words.push(...part.words);
    if (part.call.mustSucceed) words.push(0x3500_0000 | ((total - words.length) << 5)); // cbnz w0, exit
  }
  words.push(...loop, ...invoke(exit));
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => bytes.writeUInt32LE(word >>> 0, index * 4));
  return bytes;
}
