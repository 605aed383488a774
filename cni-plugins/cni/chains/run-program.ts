import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { O_RDONLY, closeFd, openFile, openOutput, sealedFile } from '../../../base/kernel/index.ts';
import { killTree } from '../../../base/process/index.ts';
import type { Child, StartProgram } from '../../../base/reactor/index.ts';
import type { CollectedOutput } from '../../../base/kernel/index.ts';

/**
 * Runs a plugin as a program: starts it, writes its input, reads its output, and kills it when it takes too
 * long. Source: libcni's pkg/invoke (raw_exec.go, find.go).
 */
export interface Run {
  readonly program: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdin: string;
  readonly timeoutMs: number;
}

export interface Ran {
  /** `over`: the program and its descendants were killed, because it took too long or wrote too much. */
  readonly end: { readonly exitCode: number } | { readonly over: string };
  readonly stdout: string;
  readonly stderr: string;
}

const maxOutput = 1024 * 1024;
const drainMs = 100;
/** Attempts to start a program file that is being written at this moment (libcni: five, one second apart). */
const busyTries = 5;
const busyMs = 1000;

/**
 * Returns the path of the program in the first folder that contains it, or undefined if no folder contains
 * it.
 */
export async function findProgram(type: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    if (!isAbsolute(folder)) continue;
    const path = join(folder, type);
    try {
      if (!(await stat(path)).isFile()) continue;
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Try the next folder.
    }
  }
  return undefined;
}

/**
 * Runs a program. Its standard input is a file: Node gives its own children a socket, which a program cannot
 * open as /dev/stdin.
 * @throws KERNEL_<ERRNO> if the program cannot be started
 */
export async function runProgram(
  startProgram: StartProgram,
  { program, environment, stdin, timeoutMs }: Run,
): Promise<Ran> {
  let over: string | undefined;
  let kill = (): void => undefined;
  const end = (why: string): void => {
    over ??= why;
    kill();
  };
  const opened: (() => void)[] = [];
  const output = (what: string): CollectedOutput => {
    const one = openOutput({ bytes: maxOutput }, () => end(`it wrote more than ${maxOutput} ${what}`));
    opened.push(one.close);
    return one;
  };
  let timer: NodeJS.Timeout | undefined;
  try {
    const [stdout, stderr] = [output('bytes'), output('bytes of errors')];
    const written = sealedFile('cni-stdin', Buffer.from(stdin));
    opened.push(() => closeFd(written));
    const child = await startPatiently(startProgram, program, environment, written, [
      stdout.write,
      stderr.write,
    ]);
    stdout.closeWrite();
    stderr.closeWrite();
    let ended = false;
    // Until its exit is reported it is not reaped, so its number cannot be reused.
    kill = () => {
      if (!ended) killTree(child.pid);
    };
    timer = setTimeout(() => end(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
    const exitCode = await child.exited.finally(() => (ended = true));
    await Promise.all([stdout.ended(drainMs), stderr.ended(drainMs)]);
    return {
      end: over === undefined ? { exitCode } : { over },
      stdout: stdout.bytes().toString('utf8'),
      stderr: stderr.bytes().toString('utf8'),
    };
  } finally {
    clearTimeout(timer);
    for (const close of opened) close();
  }
}

async function startPatiently(
  startProgram: StartProgram,
  program: string,
  environment: Run['environment'],
  stdin: number,
  outputs: readonly number[],
): Promise<Child> {
  for (let attempt = 1; ; attempt += 1) {
    // The file is opened again each time, because the offset of the descriptor that wrote it is at its end.
    const input = openFile(`/proc/self/fd/${stdin}`, O_RDONLY);
    try {
      return await startProgram({
        path: program,
        argv: [basename(program)],
        env: environment,
        descriptors: [input, ...outputs],
        ownGroup: true,
      });
    } catch (thrown) {
      if (!isPortcullisError(thrown) || thrown.code !== 'KERNEL_ETXTBSY' || attempt > busyTries) throw thrown;
    } finally {
      closeFd(input);
    }
    await pause(busyMs);
  }
}
