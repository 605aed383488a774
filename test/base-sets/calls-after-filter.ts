import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Records the system calls of a process between loading a seccomp filter and becoming the container's
 * program.
 */
export interface Recorder {
  /**
   * Runs a command and returns the numbers of those calls, by all threads of the process; undefined: no
   * filter was loaded.
   */
  record(argv: readonly string[]): Promise<{
    readonly status: number | null;
    readonly calls: readonly number[] | undefined;
    readonly said: string;
  }>;
  close(): void;
}

/** Returns false when the kernel has the tracepoints, otherwise the reason. */
export function withoutTracing(): string | false {
  if (process.getuid?.() !== 0) return 'it takes root';
  if (process.arch !== 'x64') return 'the numbers are those of x86_64';
  if (!existsSync('/sys/kernel/tracing')) return 'this kernel has no tracefs';
  const tried = spawnSync('unshare', ['-m', 'mount', '-t', 'tracefs', 'tracefs', '/mnt'], {
    encoding: 'utf8',
  });
  return tried.status === 0 ? false : `tracefs cannot be mounted: ${tried.stderr.trim()}`;
}

/**
 * Watches the kernel's tracepoints raw_syscalls:sys_enter and sys_exit, which stop no process: a runtime
 * under ptrace takes other code paths, and some hang.
 * @throws when tracefs cannot be mounted
 */
export function openRecorder(): Recorder {
  const mountPoint = mkdtempSync(join(tmpdir(), 'pc-tracefs-'));
  execFileSync('mount', ['-t', 'tracefs', 'tracefs', mountPoint]);
  const instance = join(mountPoint, 'instances', `portcullis-base-${process.pid}`);
  mkdirSync(instance);
  const write = (file: string, value: string | number): void =>
    writeFileSync(join(instance, file), String(value));
  write('buffer_size_kb', 16_384);
  write('options/event-fork', 1);
  return {
    async record(argv) {
      const child = spawn('sh', ['-c', 'read go; exec "$@" </dev/null', 'sh', ...argv], {
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let said = '';
      child.stdout.on('data', (text: Buffer) => (said += text.toString()));
      child.stderr.on('data', (text: Buffer) => (said += text.toString()));
      const closed = once(child, 'close') as Promise<[number | null]>;
      write('tracing_on', 0);
      write('trace', '');
      write('set_event_pid', child.pid ?? 0);
      write('events/raw_syscalls/enable', 1);
      write('tracing_on', 1);
      child.stdin.end('go\n');
      const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
      const [status] = await closed;
      clearTimeout(late);
      write('tracing_on', 0);
      write('events/raw_syscalls/enable', 0);
      return { status, said, calls: callsAfterFilter(readFileSync(join(instance, 'trace'), 'latin1')) };
    },
    close() {
      rmdirSync(instance);
      execFileSync('umount', [mountPoint]);
      rmdirSync(mountPoint);
    },
  };
}

/** `  name-1234 [000] ..... 12.345678: sys_enter: NR 317 (1, 0, 7f…, …)` and `…: sys_exit: NR 317 = 0`. */
const EVENT = /^\s*(.+)-(\d+)\s+\[\d+\].*: sys_(enter|exit): NR (-?\d+) (?:\((.*)\)|= (-?\d+))/;
const [EXECVE, PRCTL, SECCOMP] = [59, 157, 317];

/** Pure. @param trace the kernel's text, in order of time */
export function callsAfterFilter(trace: string): readonly number[] | undefined {
  const events = trace.split('\n').flatMap((line) => {
    const [, program = '', thread = '', kind = '', nr, args, answer] = EVENT.exec(line) ?? [];
    return nr === undefined
      ? []
      : [{ program, thread, kind, nr: Number(nr), args: args?.split(', ') ?? [], answer }];
  });
  const entered = new Map<string, readonly string[]>();
  let loaded: number | undefined;
  events.forEach((event, at) => {
    if (event.kind === 'enter') entered.set(event.thread, event.args);
    else if (event.answer === '0' && loads(event.nr, entered.get(event.thread) ?? [])) loaded = at;
  });
  if (loaded === undefined) return undefined;
  const first = events[loaded];
  const calls = new Set<number>();
  for (const event of events.slice(loaded + 1)) {
    // Threads have the name of the process or of the first thread; children that were created before the
    // filter do not have it, and have other names.
    if (event.program !== first?.program) continue;
    if (event.kind === 'enter') calls.add(event.nr);
    if (event.kind === 'exit' && event.nr === EXECVE && event.thread === first.thread) break;
    // The first call of the new program: its execve was left under the new name.
  }
  return [...calls].sort((a, b) => a - b);
}

/** seccomp(SECCOMP_SET_MODE_FILTER, flags, program), prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program). */
function loads(nr: number, [a, b, c]: readonly string[]): boolean {
  if (nr === SECCOMP) return a === '1' && c !== '0';
  return nr === PRCTL && a === '16' && b === '2';
}
