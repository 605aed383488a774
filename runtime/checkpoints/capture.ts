import { closeSync, openSync } from 'node:fs';
import { readFile, readdir, readlink, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone, reasonOf } from '../../base/errors/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import { processesWithArgument, signalProcess } from '../processes/processes.ts';

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
  for (;;) {
    await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, lookMs))]);
    if (end.exitCode !== undefined) return { exitCode: end.exitCode, ended };
    ended = await input.limit().catch(reasonOf);
    if (ended === undefined) continue;
    await endPrograms(folder, (await processTree()).below(child.pid));
    await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, endMs))]);
    // Does nothing to a child that has ended.
    child.kill(SIGKILL);
    await exited;
  }
}

/** Ends the processes of a checkpoint that an earlier daemon left. Its container may still be frozen. */
export async function endCapture(folder: string): Promise<void> {
  for (let attempt = 0; attempt < endMs / lookMs; attempt += 1) {
    const scripts = processesWithArgument(folder);
    const tree = await processTree();
    await endPrograms(
      folder,
      scripts.flatMap(({ pid }) => tree.below(pid)),
    );
    if (scripts.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
  for (const script of processesWithArgument(folder)) signalProcess(script, SIGKILL);
}

/**
 * Kills criu first, because it continues its dump even if its runc has ended. Until the script thaws the
 * container, which must not be interrupted, also kills the programs that the script runs.
 */
async function endPrograms(folder: string, children: readonly number[]): Promise<void> {
  for (const pid of await criusIn(folder)) signalProcess(processIdentity(pid), SIGKILL);
  const isEnding = await lstat(join(folder, 'ending')).then(
    () => true,
    () => false,
  );
  if (isEnding) return;
  // The last process first: runc reports that its criu was killed.
  for (const pid of children.toReversed()) signalProcess(processIdentity(pid), SIGKILL);
}

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

async function processTree(): Promise<{ below(pid: number): number[] }> {
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
  return { below };
}
