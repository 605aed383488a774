import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A system call that a filter answered instead of the kernel. */
export interface Denied {
  readonly nr: number;
  /** A negative errno. */
  readonly answer: number;
  readonly program: string;
}

/**
 * Records which calls of a process and its children a seccomp filter denied, with the kernel's own
 * tracepoints. On entry into a call the kernel runs the filter before it reaches raw_syscalls:sys_enter, and
 * it always leaves through raw_syscalls:sys_exit (kernel/entry/syscall-common.c): an exit with EPERM or
 * ENOSYS without an entry before it is the filter's answer, not the kernel's.
 * @param watched calls that the filter may deny; the others are left out, so that the buffer is large enough
 * for any program
 */
export function openRecorder(watched: (nr: number) => boolean): {
  record(pid: number): { stop(): { denied: readonly Denied[]; lost: number } };
  close(): void;
} {
  const mountPoint = mkdtempSync(join(tmpdir(), 'pc-tracefs-'));
  execFileSync('mount', ['-t', 'tracefs', 'tracefs', mountPoint]);
  const instance = join(mountPoint, 'instances', `portcullis-${process.pid}`);
  mkdirSync(instance);
  const write = (file: string, value: string | number): void =>
    writeFileSync(join(instance, file), String(value));
  write('buffer_size_kb', 65_536);
  write('options/event-fork', 1);
  const calls = rangesOf(watched)
    .map(([from, to]) => `(id >= ${from} && id <= ${to})`)
    .join(' || ');
  write('events/raw_syscalls/sys_enter/filter', calls);
  write('events/raw_syscalls/sys_exit/filter', `(ret == -1 || ret == -38) && (${calls})`);
  return {
    record(pid) {
      write('tracing_on', 0);
      write('trace', '');
      write('set_event_pid', pid);
      write('events/raw_syscalls/enable', 1);
      write('tracing_on', 1);
      return {
        stop() {
          write('tracing_on', 0);
          write('events/raw_syscalls/enable', 0);
          const denied = denials(readFileSync(join(instance, 'trace'), 'latin1'));
          return { denied, lost: lostEvents(instance) };
        },
      };
    },
    close() {
      rmdirSync(instance);
      execFileSync('umount', [mountPoint]);
      rmdirSync(mountPoint);
    },
  };
}

/** Larger than the numbers of every table. */
const LAST = 4095;

function rangesOf(holds: (nr: number) => boolean): [number, number][] {
  const found: [number, number][] = [];
  for (let nr = 0; nr <= LAST; nr++) {
    if (!holds(nr)) continue;
    const last = found.at(-1);
    if (last?.[1] === nr - 1) last[1] = nr;
    else found.push([nr, nr]);
  }
  return found;
}

/** `  name-1234 [000] ..... 12.345678: sys_enter: NR 41 (2, 1, 0, …)` and `…: sys_exit: NR 41 = -1`. */
const EVENT = /^\s*(.+)-(\d+)\s+\[\d+\].*: sys_(enter|exit): NR (-?\d+) (?:= (-?\d+))?/;

function denials(trace: string): Denied[] {
  const entered = new Map<string, number>();
  const found: Denied[] = [];
  for (const line of trace.split('\n')) {
    const [, program = '', thread = '', kind, nr, answer] = EVENT.exec(line) ?? [];
    if (kind === 'enter') entered.set(thread, Number(nr));
    if (kind !== 'exit') continue;
    const refused = answer === '-1' || answer === '-38';
    if (refused && entered.get(thread) !== Number(nr))
      found.push({ nr: Number(nr), answer: Number(answer), program });
    entered.delete(thread);
  }
  return found;
}

function lostEvents(instance: string): number {
  const read = (cpu: number): string | undefined => {
    try {
      return readFileSync(join(instance, 'per_cpu', `cpu${cpu}`, 'stats'), 'utf8');
    } catch {
      return undefined;
    }
  };
  let lost = 0;
  for (let cpu = 0, text = read(0); text !== undefined; text = read(++cpu)) {
    for (const [, count] of text.matchAll(/^(?:overrun|dropped events): (\d+)$/gm)) lost += Number(count);
  }
  return lost;
}
