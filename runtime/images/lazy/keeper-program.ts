import { assembleExecutable, callWith, words } from '../../../base/elf/index.ts';
import type { Machine } from '../../../base/elf/index.ts';

/**
 * The program of the gate keeper, which refuses reads of incomplete layer files: a static ELF executable of a
 * few hundred bytes. It has a descriptor of the fanotify group in addition to the process that fills the
 * files. While one of the two processes lives, the kernel allows no read without an answer. The keeper starts
 * to answer when the filler is gone, and then refuses every read of the marked files:
 *
 * 1. rt_sigaction(SIGHUP, SIGINT, SIGTERM, SIG_IGN): only SIGKILL and its own filler can end it.
 * 2. read(1): waits for the filler, which holds the other end. One byte: every file is complete, and it ends.
 *    Anything else: the filler is gone.
 * 3. Refuses the events that the filler had read and not answered: an answer names the number that the
 *    descriptor of the event had in the filler, so it answers every number below `fillerFiles`.
 * 4. Forever: reads one event, answers it with `refusal`, closes its descriptor.
 *
 * Descriptor 0 is the group, 1 the pipe of the filler. Sources: fanotify(7); linux/fanotify.h.
 */
type CallName = 'close' | 'exitGroup' | 'ppoll' | 'read' | 'rtSigaction' | 'write';

/** Numbers of the system calls (asm/unistd_64.h, asm-generic/unistd.h). */
const numbers: Readonly<Record<Machine, Readonly<Record<CallName, number>>>> = {
  x86_64: { close: 3, exitGroup: 231, ppoll: 271, read: 0, rtSigaction: 13, write: 1 },
  aarch64: { close: 57, exitGroup: 94, ppoll: 73, read: 63, rtSigaction: 134, write: 64 },
};

const [group, pipe] = [0, 1];
const ignored = [1, 2, 15];
const [SIG_IGN, signalSetSize] = [1, 8];
/** Space on the stack: enough for one event, but not for two. */
const [room, eventRoom] = [64, 64];
/** Offsets of struct fanotify_event_metadata; the answer is written over the process id behind `fd`. */
const [fdAt, pidAt] = [16, 20];
const answerBytes = 8;
const againNs = 10_000_000n;

/**
 * @param fillerFiles the descriptors that the filler may have, at most
 * @param refusal the answer: FAN_DENY_ERRNO of linux/fanotify.h
 */
export function keeperProgram(fillerFiles: number, refusal: number, machine: Machine): Buffer {
  const calls = numbers[machine];
  return assembleExecutable(machine, (a, { put }) => {
    const action = put(words(BigInt(SIG_IGN), 0n, 0n, 0n));
    const pause = put(words(0n, againNs));
    for (const signal of ignored) callWith(a, calls.rtSigaction, signal, action.at, 0, signalSetSize);
    a.addTo('sp', -room);
    a.copy('s0', 'sp');

    a.label('wait');
    a.set('a0', pipe);
    a.copy('a1', 's0');
    a.set('a2', 1);
    a.call(calls.read);
    // EINTR: it was stopped and continued.
    a.jumpIfEqual('result', -4, 'wait');
    a.jumpIfEqual('result', 1, 'over');

    a.set('s1', fillerFiles);
    a.label('unanswered');
    a.addTo('s1', -1);
    a.jumpIfNegative('s1', 'next');
    a.store32('s1', 's0', fdAt);
    a.set('t', refusal);
    a.store32('t', 's0', pidAt);
    a.set('a0', group);
    a.copy('a1', 's0');
    a.addTo('a1', fdAt);
    a.set('a2', answerBytes);
    a.call(calls.write);
    a.jump('unanswered');

    a.label('next');
    a.set('a0', group);
    a.copy('a1', 's0');
    a.set('a2', eventRoom);
    a.call(calls.read);
    a.jumpIfNegative('result', 'again');
    a.set('t', refusal);
    a.store32('t', 's0', pidAt);
    // The descriptor of the event is the lower half, and close takes only that.
    a.load64('s2', 's0', fdAt);
    a.set('a0', group);
    a.copy('a1', 's0');
    a.addTo('a1', fdAt);
    a.set('a2', answerBytes);
    a.call(calls.write);
    a.copy('a0', 's2');
    a.call(calls.close);
    a.jump('next');
    // No descriptor or no memory is free: the kernel has refused the event.
    a.label('again');
    callWith(a, calls.ppoll, 0, 0, pause.at, 0, 0);
    a.jump('next');

    a.label('over');
    callWith(a, calls.exitGroup, 0);
  });
}
