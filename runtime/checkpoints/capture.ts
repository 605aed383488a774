import { closeSync, openSync } from 'node:fs';
import { readFile, readdir, readlink, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone, reasonOf } from '../../base/errors/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import { processesWithArgument, signalProcess } from '../processes/processes.ts';
import { imagesFolder } from './capture-script.ts';

const SIGKILL = 9;
const lookMs = 100;
/** How long a program may take to thaw a container after the other programs were ended. */
const endMs = 10_000;

/** Reports why a program has to end, or undefined while it may continue. */
export type Limit = () => Promise<string | undefined>;

/** The result of a program. */
export interface Ran {
  readonly exitCode: number;
  /** Why the daemon ended it; undefined: it was not ended by the daemon. */
  readonly ended: string | undefined;
}

/**
 * Runs `sh -c SCRIPT FOLDER ARGUMENTS…`, and ends its programs, but not itself, when a limit is exceeded. The
 * script can then undo what it did.
 * @param output a descriptor for standard output; null: the null device
 */
export async function runScript(input: {
  readonly startProgram: StartProgram;
  readonly script: string;
  readonly folder: string;
  readonly args: readonly string[];
  readonly output: number | null;
  readonly limit: Limit;
}): Promise<Ran> {
  const { folder } = input;
  const messages = openSync(join(folder, 'messages'), 'a', 0o600);
  let child: Child;
  try {
    child = await input.startProgram({
      path: '/bin/sh',
      argv: ['sh', '-c', input.script, folder, ...input.args],
      env: { ...process.env, LC_ALL: 'C' },
      cwd: folder,
      descriptors: [null, input.output, messages],
    });
  } finally {
    closeSync(messages);
  }
  let ended: string | undefined;
  const end: { exitCode?: number } = {};
  const exited = child.exited.then((code) => (end.exitCode = code));
  let late: number | undefined;
  for (;;) {
    await Promise.race([exited, wait(lookMs)]);
    if (end.exitCode !== undefined) break;
    ended ??= await input.limit().catch(reasonOf);
    if (ended === undefined) continue;
    late ??= performance.now() + endMs;
    // Repeated, because the script may have begun its next program meanwhile.
    if (performance.now() < late) await endPrograms(folder, [child.pid]);
    else await killTree([child.pid]);
  }
  // A script that was killed has not ended its programs.
  if (end.exitCode !== 0) await endPrograms(folder, []);
  return { exitCode: end.exitCode, ended };
}

/** Ends the processes of a checkpoint that an earlier daemon left. Its container may still be frozen. */
export async function endCapture(folder: string): Promise<void> {
  const scripts = (): number[] => processesWithArgument(folder).map(({ pid }) => pid);
  for (let attempt = 0; attempt < endMs / lookMs; attempt += 1) {
    const found = scripts();
    await endPrograms(folder, found);
    if (found.length === 0) return;
    await wait(lookMs);
  }
  await killTree(scripts());
}

/**
 * Kills criu first, because it continues its dump even if its runc has ended. Until a script thaws the
 * container, which must not be interrupted, also kills the programs that the scripts run, and a runc whose
 * script was killed.
 */
async function endPrograms(folder: string, scripts: readonly number[]): Promise<void> {
  for (const pid of await criusIn(folder)) kill(pid);
  const isEnding = await lstat(join(folder, 'ending')).then(
    () => true,
    () => false,
  );
  if (isEnding) return;
  const below = await processesBelow();
  // The last process first: runc reports that its criu was killed.
  for (const pid of scripts.flatMap(below).toReversed()) kill(pid);
  for (const { pid } of processesWithArgument(join(folder, imagesFolder))) kill(pid);
}

/** Kills scripts, and then the programs that they ran, such as a runtime that does not thaw. */
async function killTree(scripts: readonly number[]): Promise<void> {
  const below = await processesBelow();
  for (const pid of scripts.flatMap((script) => [script, ...below(script)])) kill(pid);
}

const kill = (pid: number): void => signalProcess(processIdentity(pid), SIGKILL);
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Returns the processes of criu that have a file of the folder open. */
async function criusIn(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if ((await readFile(`/proc/${name}/comm`, 'utf8')).trim() !== 'criu') continue;
      for (const fd of await readdir(`/proc/${name}/fd`))
        if ((await readlink(`/proc/${name}/fd/${fd}`).catch(() => '')).startsWith(`${folder}/`)) {
          found.push(Number(name));
          break;
        }
    } catch (cause) {
      if (!meansGone(cause)) throw cause;
    }
  }
  return found;
}

/** Returns the function that lists the processes below one, from the processes that run now. */
async function processesBelow(): Promise<(pid: number) => number[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    // The fields after the name of the program, which may contain any characters: state, parent (proc(5)).
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const below = (pid: number): number[] =>
    (children.get(pid) ?? []).flatMap((child) => [child, ...below(child)]);
  return below;
}
