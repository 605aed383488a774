import { assembleExecutable, callWith, words } from '../../../base/elf/index.ts';
import type { Machine } from '../../../base/elf/index.ts';

/**
 * The program that holds a pod's shared PID namespace: a static ELF executable of a few hundred bytes,
 * assembled here so that neither a compiler nor an image is needed. It is process 1 of the namespace, so it
 * has one task, and cannot do anything else:
 *
 * 1. close_range(0, ~0, 0): closes every inherited file and pipe. Before Linux 5.9: ENOSYS, and it keeps the
 *    descriptors that the runtime gave it.
 * 2. rt_sigaction(SIGCHLD, SIG_IGN): the kernel then reaps every orphan of the pod itself (sigaction(2),
 *    NOTES; wait(2)).
 * 3. prctl(PR_SET_DUMPABLE, 0): no process in the pod may trace it or follow its /proc links without
 *    CAP_SYS_PTRACE.
 * 4. prctl(PR_SET_NO_NEW_PRIVS, 1) and seccomp(SECCOMP_SET_MODE_FILTER): from here on the kernel kills it for
 *    any call but ppoll.
 * 5. ppoll(NULL, 0, NULL, NULL, 0) forever.
 *
 * A failure of steps 2 to 4 ends it with exit code 1. SIGTERM and similar signals have no effect on a first
 * process without handlers. SIGKILL from outside the namespace ends it, and the kernel then ends every
 * process in the namespace (pid_namespaces(7)).
 */

export type InfraArchitecture = 'x64' | 'arm64';

const SIGCHLD = 17;
const SIG_IGN = 1;
/** Size of the kernel's signal set in bytes, which rt_sigaction requires. */
const signalSetSize = 8;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;

interface Target {
  readonly machine: Machine;
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly audit: number;
  readonly calls: Readonly<
    Record<'closeRange' | 'rtSigaction' | 'prctl' | 'seccomp' | 'ppoll' | 'exitGroup', number>
  >;
}

const targets: Readonly<Record<InfraArchitecture, Target>> = {
  x64: {
    machine: 'x86_64',
    audit: 0xc000_003e,
    calls: { closeRange: 436, rtSigaction: 13, prctl: 157, seccomp: 317, ppoll: 271, exitGroup: 231 },
  },
  arm64: {
    machine: 'aarch64',
    audit: 0xc000_00b7,
    calls: { closeRange: 436, rtSigaction: 134, prctl: 167, seccomp: 277, ppoll: 73, exitGroup: 94 },
  },
};

/** Returns the whole executable, with the same bytes each time. Pure. */
export function infraProgram(architecture: InfraArchitecture): Buffer {
  const target = targets[architecture];
  const { calls } = target;
  return assembleExecutable(target.machine, (a, { put }) => {
    const must = (number: number, ...values: readonly number[]): void => {
      callWith(a, number, ...values);
      a.jumpUnlessZero('result', 'failed');
    };
    // struct sigaction: the handler comes first, and no other field is set.
    const action = put(words(BigInt(SIG_IGN), 0n, 0n, 0n));
    const filter = put(onlyPoll(target));
    // struct sock_fprog: length in instructions, padding, pointer (linux/filter.h).
    const program = put(words(BigInt(filter.length / 8), BigInt(filter.at)));
    callWith(a, calls.closeRange, 0, -1, 0);
    must(calls.rtSigaction, SIGCHLD, action.at, 0, signalSetSize);
    must(calls.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    must(calls.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    must(calls.seccomp, SECCOMP_SET_MODE_FILTER, 0, program.at);
    a.label('forever');
    callWith(a, calls.ppoll, 0, 0, 0, 0, 0);
    a.jump('forever');
    a.label('failed');
    callWith(a, calls.exitGroup, 1);
  });
}

/**
 * Classic BPF (linux/bpf_common.h): allows ppoll of this architecture, and kills the process otherwise.
 * struct seccomp_data: number at 0, architecture at 4.
 */
function onlyPoll({ audit, calls }: Target): Buffer {
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
