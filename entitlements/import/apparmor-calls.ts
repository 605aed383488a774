import { argumentTest } from '../seccomp/argument-test.ts';
import { always, decision } from '../seccomp/decision.ts';
import type { Decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';

/** Types of apparmor.d(5) rules about system calls that a profile's filter can remove. */
export type CallKind = 'io_uring' | 'mqueue' | 'pivot_root' | 'umount' | 'userns';

/** EACCES, AppArmor's answer. */
const DENIED = always('errno 13');
/** clone3(2) passes its flags in memory: programs that get ENOSYS use clone(2). */
const UNKNOWN = always('errno 38');
const CLONE_NEWUSER = 0x10000000n;

function withoutUserNamespace(call: string): Decision {
  const test = argumentTest(0, argumentWidth(call, 0), { mask: CLONE_NEWUSER, value: 0n });
  return decision('errno 13', test === undefined ? [] : [{ outcome: 'allow', when: [test] }]);
}

const CALLS: Readonly<Record<CallKind, Readonly<Record<string, (call: string) => Decision>>>> = {
  io_uring: all('io_uring_setup io_uring_enter io_uring_register'),
  // This includes the calls of System V: a rule without a type applies to both.
  mqueue: all(
    'mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedreceive mq_timedsend_time64 mq_timedreceive_time64 msgget msgsnd msgrcv msgctl',
  ),
  pivot_root: all('pivot_root'),
  umount: all('umount umount2'),
  userns: { unshare: withoutUserNamespace, clone: withoutUserNamespace, clone3: () => UNKNOWN },
};

function all(names: string): Readonly<Record<string, () => Decision>> {
  return Object.fromEntries(names.split(' ').map((name) => [name, () => DENIED]));
}

/** Returns a policy that allows everything but these calls, to be met with another policy. */
export function without(kinds: ReadonlySet<CallKind>): FilteredPolicy {
  return filteredPolicy(
    'allow',
    [...kinds].flatMap((kind) => Object.entries(CALLS[kind]).map(([name, of]) => [name, of(name)] as const)),
  );
}
