import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readProgress } from './protocol.ts';
import type { Finding, FuzzMessage, FuzzTask } from './protocol.ts';

/**
 * A reader that uses this much processor time for one input, or takes this long by the wall clock, counts as
 * hanging.
 */
const hang = { cpuMs: 30_000, wallMs: 600_000 } as const;
/**
 * Unit of the fields utime and stime in /proc/PID/stat (proc(5)): USER_HZ is 100 on every architecture that
 * Node supports.
 */
const tickMs = 10;

/** How a child ended before its task was done, and the input that it was reading. */
export interface Ended {
  readonly how: string;
  readonly input: Buffer;
  /** Inputs that it began to read. */
  readonly count: number;
}

export interface Listener {
  readonly hear: (message: FuzzMessage, stop: () => void) => void;
  readonly add: (finding: Finding) => void;
}

/**
 * Runs tasks one after another. Tasks of targets that load the same sources share a child, because starting
 * one takes longer than most tasks. A child that ended is followed by another.
 */
export class Children {
  #kept: { readonly child: ChildProcess; readonly kind: string } | undefined;
  /** The end of what the child wrote to its error output during this task. */
  #said = '';

  /**
   * Runs one task.
   * @returns undefined if the task is done, or was stopped
   */
  async run(
    task: FuzzTask,
    execArgv: readonly string[],
    { hear, add }: Listener,
  ): Promise<Ended | undefined> {
    writeFileSync(task.progress, '');
    const child = await this.#childFor(task, execArgv);
    this.#said = '';
    let isStopped = false;
    const stop = (): void => {
      isStopped = true;
      child.kill('SIGKILL');
    };
    let seen = 0;
    const used = (): { cpuMs: number; wallMs: number } => ({
      cpuMs: processorMs(child.pid),
      wallMs: performance.now(),
    });
    let since = used();
    const watch = setInterval(() => {
      const { count, input } = readProgress(task.progress);
      const now = used();
      const spent = { cpuMs: now.cpuMs - since.cpuMs, wallMs: now.wallMs - since.wallMs };
      if (count !== seen) [seen, since] = [count, now];
      else if (count > 0 && (spent.cpuMs > hang.cpuMs || spent.wallMs > hang.wallMs)) {
        const why = `no answer after ${(spent.cpuMs / 1000).toFixed(0)} s of processor time, ${(spent.wallMs / 1000).toFixed(0)} s in all`;
        add({ kind: 'hang', target: task.target, input, why });
        stop();
      }
    }, 1000);
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const onMessage = (message: FuzzMessage): void => {
      hear(message, stop);
      if (message.kind === 'done' && !isStopped) resolve(undefined);
    };
    const onClose = (code: number | null, signal: string | null): void =>
      resolve(signal ?? `exit ${code ?? '?'}`);
    const onError = (error: Error): void => resolve(error.message);
    child.on('message', onMessage).on('close', onClose).on('error', onError);
    child.send(task);
    const how = await promise;
    clearInterval(watch);
    child.off('message', onMessage).off('close', onClose).off('error', onError);
    if (how === undefined) return undefined;
    this.#kept = undefined;
    if (isStopped) return undefined;
    return { how: `${how}: ${this.#said.trim().slice(-600)}`, ...readProgress(task.progress) };
  }

  /** Ends the child that waits for another task. */
  async end(): Promise<void> {
    const child = this.#kept?.child;
    this.#kept = undefined;
    if (child?.connected !== true) return;
    await new Promise((resolve) => {
      // Node does not emit 'close' after a disconnect from this side.
      child.once('exit', resolve);
      child.disconnect();
    });
  }

  async #childFor({ target, mode }: FuzzTask, execArgv: readonly string[]): Promise<ChildProcess> {
    const kind = JSON.stringify([target.slice(0, target.indexOf('-')), mode, execArgv]);
    if (this.#kept?.kind === kind && this.#kept.child.connected) return this.#kept.child;
    await this.end();
    const child = fork(join(import.meta.dirname, 'child.ts'), {
      execArgv: [...execArgv],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    child.stderr
      ?.setEncoding('utf8')
      .on('data', (text: string) => (this.#said = (this.#said + text).slice(-2000)));
    this.#kept = { child, kind };
    return child;
  }
}

/** Returns the processor time of a process with all its threads; 0 when it is gone. */
function processorMs(pid: number | undefined): number {
  try {
    const fields =
      readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
        .split(') ')
        .at(-1)
        ?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * tickMs;
  } catch {
    return 0;
  }
}
