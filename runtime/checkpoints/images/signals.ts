import type { Message } from './strict-message.ts';

/**
 * The signals that reach a stopped process (signal(7)): one ends it, and the other continues it. Any other
 * signal waits until the process is continued (kernel/signal.c, wants_signal).
 */
const signals = { kill: 9n, continue: 18n };
/** criu makes a timer and removes it until the kernel gives it this number, about a million in a second. */
const mostTimerNumber = 1_000_000n;

/** A process of a checkpoint. */
export interface Signalled {
  readonly pid: number;
  /** Its parent. 0: it is the first process. */
  readonly parent: bigint;
  /** The core of the process, and those of its other threads. */
  readonly cores: readonly Message[];
}

/**
 * Returns why a restored process might not stay stopped until it is compared with its specification: SIGCONT
 * continues a stopped process, also if a timer or the end of its parent sends the signal. SIGKILL of a parent
 * can make an orphan of a stopped process group, to which the kernel then sends SIGCONT (kernel/exit.c,
 * kill_orphaned_pgrp). Pure.
 */
export function whyNotStopped({ pid, parent, cores }: Signalled): string[] {
  const found: string[] = [];
  for (const core of cores) {
    const thread = core['threadCore'] as Message | undefined;
    const signal = (thread?.['pdeathSig'] as bigint | undefined) ?? 0n;
    // The parent of the first process is the runtime, which ends when it has restored the container.
    if (signal !== 0n && (parent === 0n || signal === signals.continue))
      found.push(`process ${pid} gets the signal ${signal} when its parent ends`);
  }
  const task = cores[0]?.['tc'] as Message | undefined;
  const timers = (task?.['timers'] as Message | undefined)?.['posix'] ?? [];
  for (const timer of timers as readonly Message[]) {
    const signal = timer['signal'] as bigint;
    if (signal === signals.kill || signal === signals.continue)
      found.push(`process ${pid} has a timer that sends the signal ${signal}`);
    if ((timer['id'] as bigint) > mostTimerNumber)
      found.push(`process ${pid} has a timer with a high number`);
  }
  return found;
}
