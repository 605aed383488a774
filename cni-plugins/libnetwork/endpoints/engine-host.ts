import { fstatSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { StartProgram } from '../../../base/reactor/index.ts';
import type { CallPlugin, Caller } from '../../calls/plugin-call.ts';
import { execStep, inProcessStep } from '../../cni/index.ts';
import type { ExecOptions, RunStep } from '../../cni/index.ts';
import type { CnmNetwork } from '../acts/records.ts';

/** Runs plugins in the network namespace of the calling engine, whatever namespace the driver is in. */

export interface StepOptions {
  readonly callPlugin: CallPlugin;
  /** How third-party plugins are started. */
  readonly programs: ExecOptions;
}

export function stepsIn(
  caller: Caller,
  way: CnmNetwork['way'],
  { callPlugin, programs }: StepOptions,
): RunStep {
  const { netnsFd } = caller;
  if (way === 'in-process')
    return inProcessStep(callPlugin, programs.binDirs, netnsFd === undefined ? {} : { netnsFd });
  return execStep(
    netnsFd === undefined || isOwn(netnsFd)
      ? programs
      : { ...programs, startProgram: inside(programs.startProgram, netnsFd) },
  );
}

function isOwn(fd: number): boolean {
  const [own, given] = [statSync('/proc/self/ns/net'), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
}

/**
 * Wraps the command in nsenter(1), because the thread that starts programs must not be in another namespace.
 */
function inside(startProgram: StartProgram, netnsFd: number): StartProgram {
  return (program) =>
    startProgram({
      ...program,
      path: nsenter(),
      argv: ['nsenter', `--net=/proc/${process.pid}/fd/${netnsFd}`, '--', program.path],
    });
}

let found: string | undefined;
function nsenter(): string {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/bin', dirname(process.execPath)];
  found ??= folders
    .map((folder) => join(folder, 'nsenter'))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
  return found ?? '/usr/bin/nsenter';
}
