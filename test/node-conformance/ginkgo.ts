import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findTool } from '../fixtures/tools.ts';
import { readSpecs } from './report.ts';
import type { Spec } from './report.ts';

/** A run of a test program of Kubernetes by ginkgo. */
interface SpecRun {
  readonly program: string;
  /** The program, and kubectl, write to this folder. */
  readonly work: string;
  /** The folder of the log and of the reports. */
  readonly reports: string;
  readonly processes: string;
  /** Longer than any healthy run, such as `90m`. */
  readonly limit: string;
  /** Regular expressions on the names of specs. */
  readonly focus: string;
  readonly skip: string;
  /** Flags of ginkgo, in addition. */
  readonly flags?: readonly string[];
  /** Arguments of the program. */
  readonly args: readonly string[];
}

/** Runs the specs, and returns those that ran. Without a report there are none: see `ginkgo.log`. */
export async function runSpecs(run: SpecRun): Promise<Spec[]> {
  const { reports, work } = run;
  mkdirSync(reports, { recursive: true });
  const report = join(reports, 'ginkgo.json');
  const log = openSync(join(reports, 'ginkgo.log'), 'w');
  const ginkgo = spawn(
    findTool('ginkgo').path,
    [
      ...[`--procs=${run.processes}`, `--timeout=${run.limit}`, '--no-color', '--silence-skips'],
      ...['--focus', run.focus, '--skip', run.skip, ...(run.flags ?? [])],
      ...[`--output-dir=${reports}`, '--json-report=ginkgo.json', run.program, '--', ...run.args],
    ],
    { cwd: work, stdio: ['ignore', log, log], env: { ...process.env, HOME: work } },
  );
  closeSync(log);
  await once(ginkgo, 'exit');
  return existsSync(report) ? readSpecs(JSON.parse(readFileSync(report, 'utf8'))) : [];
}
