import { constants } from 'node:fs';
import { open, writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone, errnoIs, tolerate } from '../../base/errors/index.ts';
import { mkfifo } from '../../base/kernel/index.ts';
import { isErrno } from '../../base/kernel/index.ts';
import { parseJson } from '../../base/json/index.ts';

/**
 * The shim starts the first process of its container. The monitor can therefore neither wait for that
 * process nor give it pipes, and starts this program instead (docs/decisions/0106). The program holds the
 * standard streams that the monitor made until the shim has opened them, ends with the exit code of the
 * task, and lives on when the daemon does not. It reads two lines from a FIFO in the bundle: the first when
 * the shim has opened the streams, the second with the exit code. The FIFO is open for writing as well, so
 * that a line stays in it whatever happens to its writer.
 *
 * It writes its own pid before it waits for anything, so that the code that removes the bundle can find it.
 * It ends when the bundle is gone. It has the arguments of the command, among which is the id of the
 * container.
 */
const standIn = `[ -p "$1/exit-code" ] && echo $$ >"$1/init.pid" || exit 1
exec 9<>"$1/exit-code" >&7 7>&-
read -r held <&9
exec 8<&- >/dev/null 2>&1
read -r code <&9
exit "\${code:-255}"`;

/**
 * The command of the monitor ends once the stand-in has written its pid, which is when it closes this pipe.
 * A command in the background gets the null device as its standard input, so that the true one has another
 * number.
 */
const script = `exec 8<&0 7>&1
made=$(/bin/sh -c '${standIn}' "$0" "$@" &)
[ -s "$1/init.pid" ]`;

/** The descriptors of the standard streams in the stand-in. */
export const standInStreams = { stdin: 8, stdout: 1, stderr: 2 } as const;

/** The program and its first arguments. The monitor adds those of an OCI runtime's \`create\`. */
export function standInCommand(bundle: string): readonly [string, ...string[]] {
  return ['/bin/sh', '-c', script, 'portcullis-shim-task', bundle];
}

/** Creates the FIFO of a stand-in. One that exists stays. */
export function prepareStandIn(bundle: string): void {
  tolerate(errnoIs('EEXIST'), () => mkfifo(join(bundle, 'exit-code'), 0o600));
}

/** Lets the stand-in close the standard streams. Nothing happens when it has ended. */
export function releaseStreams(bundle: string): Promise<void> {
  return say(bundle, 'held');
}

/** How a task ended, as its shim reports it. */
export interface TaskExit {
  readonly code: number;
  /** Nanoseconds since 1970, decimal. */
  readonly finishedAt: string;
}

const exitFile = 'task-exit.json';
/** In nanoseconds, as the CRI has them (int64). With a later time, no status could be answered. */
const lastTime = 2n ** 63n - 1n;

/** Ends the stand-in with the exit code of its task. */
export async function reportExit(bundle: string, exit: TaskExit): Promise<void> {
  await writeFile(join(bundle, exitFile), JSON.stringify(exit), { mode: 0o600 }).catch(() => undefined);
  await say(bundle, String(exit.code & 0xff));
}

/**
 * Returns what {@link reportExit} kept: the exit file of the monitor has the time of the report only.
 * Undefined: there is none, it was cut off while it was written, or it cannot be read now. The exit code is
 * with the monitor, so an exit is reported in any case, and only its time is less exact.
 */
export async function readTaskExit(bundle: string): Promise<TaskExit | undefined> {
  try {
    const { code, finishedAt } = parseJson(
      await readFile(join(bundle, exitFile), 'utf8'),
    ) as Partial<TaskExit>;
    const isTime =
      typeof finishedAt === 'string' && /^\d{1,19}$/u.test(finishedAt) && BigInt(finishedAt) <= lastTime;
    return isTime && Number.isInteger(code) ? { code: Number(code), finishedAt } : undefined;
  } catch {
    return undefined;
  }
}

async function say(bundle: string, line: string): Promise<void> {
  let file;
  try {
    // Without a reader the open fails at once.
    file = await open(join(bundle, 'exit-code'), constants.O_WRONLY | constants.O_NONBLOCK);
    await file.write(`${line}\n`);
  } catch (cause) {
    if (!meansGone(cause) && !isErrno(cause, 'ENXIO', 'EPIPE') && !hasCode(cause, 'ENXIO', 'EPIPE'))
      throw cause;
  } finally {
    await file?.close();
  }
}

function hasCode(thrown: unknown, ...codes: readonly string[]): boolean {
  return thrown instanceof Error && 'code' in thrown && codes.includes(String(thrown.code));
}
