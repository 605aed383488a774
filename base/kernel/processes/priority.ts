import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  schedSetscheduler: glibc('sched_setscheduler', 'int', ['int', 'int', 'void *']),
  setpriority: glibc('setpriority', 'int', ['int', 'uint', 'int']),
};

const SCHED_OTHER = 0;
const SCHED_RR = 2;
const SCHED_RESET_ON_FORK = 0x40000000;
const PRIO_PROCESS = 0;

/**
 * Gives the calling thread, or another thread of this process by its number, a nice value below zero. Threads
 * and processes that it starts do not inherit the value: they get 0 (SCHED_RESET_ON_FORK, sched(7)). On Linux
 * both calls apply to one thread.
 * @throws KERNEL_EACCES or KERNEL_EPERM without CAP_SYS_NICE
 */
export function raiseThreadPriority(nice: number, thread = 0): void {
  checked(
    c.schedSetscheduler(thread, SCHED_OTHER | SCHED_RESET_ON_FORK, Buffer.alloc(4)),
    'sched_setscheduler',
    '',
  );
  checked(c.setpriority(PRIO_PROCESS, thread, nice), 'setpriority', String(nice));
}

/**
 * Lets the calling thread run as soon as it can (SCHED_RR at its lowest priority, sched(7)). Threads and
 * processes that it starts do not inherit this. If the thread never sleeps, the kernel's own limit for
 * real-time threads (`kernel.sched_rt_runtime_us`) leaves time for others.
 * @throws KERNEL_EPERM without CAP_SYS_NICE, or if a cgroup or the service manager (`RestrictRealtime=`)
 *   forbids it
 */
export function makeThreadPrompt(): void {
  const priority = Buffer.alloc(4);
  priority.writeInt32LE(1);
  checked(c.schedSetscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, priority), 'sched_setscheduler', 'SCHED_RR');
}
