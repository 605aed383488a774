import { existsSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { endProcessesWithArgument } from '../monitor/processes.ts';
import { runCommand } from './command.ts';
import { resumeStart, waitsForStart } from './resume-start.ts';
import { startByFifo } from './start-by-fifo.ts';
import { openSealedProgram } from './sealed-program.ts';
import { openAdvisories } from './advisories.ts';
import type { OciResources } from './spec.types.ts';

const updatePrefix = '.update-';

/** What a runtime's `state` command says; `absent` when it knows no such container. */
export type ObservedStatus = 'absent' | 'creating' | 'created' | 'running' | 'stopped' | 'paused';

/** One OCI runtime, by its command line (runtime-spec runtime.md, and what crun and runc share beyond it). */
export interface RuntimeHandler {
  readonly name: string;
  readonly path: string;
  /** What to execute at this moment: a sealed copy of `path`, or `path` itself ({@link openSealedProgram}). */
  readonly program: string;
  /** What program it is, by its `--version`: our ready-made filter is for crun. */
  readonly kind: 'crun' | 'runc' | 'other';
  readonly version: string;
  /** Arguments that come before every command. */
  readonly globalArgs: readonly string[];
  /** Folder of the runtime's own state: one folder a container. */
  readonly stateDir: string;
  /** @param cutOff the first process, where an earlier start was cut off by the daemon's end */
  start(id: string, cutOff?: ProcessIdentity): Promise<void>;
  observe(id: string): Promise<ObservedStatus>;
  /** Whether the first process went past its start, whatever was cut off meanwhile. */
  isStarted(id: string, init: ProcessIdentity | undefined): Promise<boolean>;
  /** Removes what the runtime keeps of a container, killing what still runs in it, also of one that is half created. Absent: success. */
  delete(id: string): Promise<void>;
  update(id: string, resources: OciResources): Promise<void>;
}

/**
 * @param stateDir folder for this handler's own state, one a handler
 * @throws PortcullisError RUNTIME_HANDLER_UNUSABLE when the program does not answer `--version`
 */
export async function openRuntimeHandler(input: {
  readonly startProgram: StartProgram;
  readonly name: string;
  readonly path: string;
  readonly stateDir: string;
}): Promise<RuntimeHandler> {
  const { startProgram, name, path, stateDir } = input;
  const version = await runCommand(startProgram, path, ['--version']).catch((cause: unknown) => {
    throw unusable(name, path, String(cause));
  });
  if (version.exitCode !== 0) throw unusable(name, path, version.stderr.trim());
  const firstLine = version.stdout.split('\n')[0] ?? '';
  const kind = firstLine.startsWith('crun') ? 'crun' : firstLine.startsWith('runc') ? 'runc' : 'other';
  const globalArgs = ['--root', stateDir];
  const program = kind === 'other' ? () => path : await openSealedProgram(path);
  // What each writes last of all; of other runtimes nothing is known.
  const statusFile = { crun: 'status', runc: 'state.json', other: '.' }[kind];
  // What an update wrote whose daemon was killed meanwhile.
  for (const left of await readdir(stateDir)) if (left.startsWith(updatePrefix)) await rm(join(stateDir, left), { force: true });
  const call = async (command: string, id: string, args: readonly string[]): Promise<void> => {
    const result = await runCommand(startProgram, program(), [...globalArgs, command, ...args, id]);
    if (result.exitCode !== 0) throw runtimeFailed(path, command, id, result.stderr);
  };
  const observe = async (id: string): Promise<ObservedStatus> => {
    const result = await runCommand(startProgram, program(), [...globalArgs, 'state', id]);
    if (result.exitCode !== 0) return 'absent';
    return (parseJson(result.stdout) as { status: ObservedStatus }).status;
  };
  return {
    name,
    path,
    get program() {
      return program();
    },
    kind,
    version: /version (\S+)/.exec(firstLine)?.[1] ?? '0',
    globalArgs,
    stateDir,
    start: async (id, cutOff) => {
      if (kind === 'crun' && cutOff !== undefined) {
        // Nobody waits: it was let go, and went on a moment after it was looked at.
        if ((await resumeStart(join(stateDir, id), cutOff)) || (await observe(id)) === 'running') return;
      }
      if (kind === 'crun' && (await startByFifo(join(stateDir, id)))) return;
      await call('start', id, []);
    },
    observe,
    isStarted: async (id, init) => (await observe(id)) === 'running' && !(kind === 'crun' && (await waitsForStart(init))),
    delete: async (id) => {
      // A `create` that was cut off, or is not done: crun would delete the folder, call it a success, and leave the first process waiting
      // for its start for ever. That, and the command itself, have the id among their arguments.
      if (existsSync(join(stateDir, id)) && !existsSync(join(stateDir, id, statusFile))) await endProcessesWithArgument(id);
      // A plain delete first: runc >= 1.2 sleeps 100 ms in a forced one.
      const plain = await runCommand(startProgram, program(), [...globalArgs, 'delete', id]);
      if (plain.exitCode === 0 || isUnknown(plain.stderr)) return;
      const forced = await runCommand(startProgram, program(), [...globalArgs, 'delete', '--force', id]);
      if (forced.exitCode !== 0 && !isUnknown(forced.stderr)) throw runtimeFailed(path, 'delete', id, forced.stderr);
    },
    update: async (id, resources) => {
      // A file and not standard input: a child's stdin is a socket pair here, and /dev/stdin can not be opened on one.
      const file = join(stateDir, `${updatePrefix}${id}-${process.hrtime.bigint()}.json`);
      await writeFile(file, JSON.stringify(resources), { mode: 0o600 });
      try {
        await call('update', id, ['--resources', file]);
      } finally {
        await rm(file, { force: true });
      }
    },
  };
}

function isUnknown(stderr: string): boolean {
  return /does not exist|No such file or directory|container not found/i.test(stderr);
}

function runtimeFailed(path: string, command: string, id: string, stderr: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_OCI_FAILED',
    // What fails here is mostly what was asked for: a program that can not be run, a limit that the kernel does not take.
    kind: command === 'start' || command === 'update' ? 'precondition' : 'internal',
    attempted: `run ${path} ${command} for container`,
    on: id.slice(0, 13),
    why: stderr.trim().slice(0, 2_000) || 'it failed without a word',
    fix: 'see the reason; `portcullis doctor` checks the runtime',
  });
}

function unusable(name: string, path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_HANDLER_UNUSABLE',
    kind: 'precondition',
    attempted: 'open runtime handler',
    on: `${name} (${path})`,
    why,
    fix: 'install the runtime (`portcullis doctor --fix`) or correct its path in the configuration',
  });
}

/**
 * Refuses a runtime with a published flaw that its version has not fixed (a distribution's backport does not count: its number does not show it).
 * @throws PortcullisError RUNTIME_HANDLER_VULNERABLE
 */
export function refuseVulnerable(handler: Pick<RuntimeHandler, 'name' | 'path' | 'kind' | 'version'>): void {
  const open = openAdvisories(handler.kind, handler.version, () => false).map((advisory) => advisory.cve);
  if (open.length === 0) return;
  throw new PortcullisError({
    code: 'RUNTIME_HANDLER_VULNERABLE',
    kind: 'precondition',
    attempted: 'open runtime handler',
    on: `${handler.name} (${handler.path} ${handler.version})`,
    why: `the configuration says \`strict: true\`, and ${open.join(', ')} are open in this version`,
    fix: 'install a version that has them fixed, or run without `strict`: `portcullis doctor` says what guards against each',
    details: { open },
  });
}
