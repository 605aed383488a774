import { readFileSync } from 'node:fs';
import type { Counts, Results } from './tests.ts';
import { runTests } from './tests.ts';

/** So many files with failures are a defect, not bad luck: they are not run again. */
const mostFiles = 5;

export function add(...all: readonly Counts[]): Counts {
  const sum = (of: (counts: Counts) => number): number => all.reduce((total, counts) => total + of(counts), 0);
  return { passed: sum((c) => c.passed), failed: sum((c) => c.failed), skipped: sum((c) => c.skipped) };
}

/** Words of tests that kill processes or draw from a seed, in a file's name or text. `process.kill(pid, 0)` only asks. */
const killsOrSeeds = /SIGKILL|\.kill\((?![^()]*, 0\))|\bkills?\b|[Ss]eed|SEED|Math\.random|\brandom(?:Bytes|Int)?\(|\bchaos\b|\bcrash\b/u;

/**
 * Whether the first failure of a test file counts, whatever a second run would say. A kill comes at another moment in a second run, and what
 * a seed found once is a defect: both are lost where a second run passes. Each file is judged by its own name and text, so no list has to be kept.
 */
export function isFinal(file: string): boolean {
  return killsOrSeeds.test(`${file}\n${readFileSync(file, 'utf8')}`);
}

/**
 * Runs the files that failed once more, one at a time, when nothing runs beside them: a test that waits for the kernel on a machine full of
 * other tests may wait in vain. Files that kill or draw from a seed are final ({@link isFinal}). What fails again has failed; what passes is
 * named and counted as flaky: a defect of its test, or of the product, that has to be found.
 * @param rerun false when every failure is final, as where a developer runs one file
 * @returns the counts of all suites, with the second run's in place of the first's for the files that ran twice; and the tests that failed only in the first
 */
export async function runAgain(
  out: NodeJS.WritableStream,
  suites: readonly Results[],
  rerun: boolean,
): Promise<{ readonly counts: Counts; readonly failures: readonly string[]; readonly flaky: readonly string[] }> {
  const counts = add(...suites.map((suite) => suite.counts));
  const failures = suites.flatMap((suite) => suite.failures);
  const failedFiles = new Map(suites.flatMap((suite) => [...suite.failedFiles]));
  if (!rerun || failedFiles.size === 0 || failedFiles.size > mostFiles) return { counts, failures, flaky: [] };
  const files = [...failedFiles.keys()].filter((file) => !isFinal(file));
  const isAgain = (failure: string): boolean => files.some((file) => failure.startsWith(`${file}:`));
  const second = await runTests(out, { title: 'failed, once more and alone', files, concurrency: 1 });
  const first = add(...files.map((file) => failedFiles.get(file) ?? { passed: 0, failed: 0, skipped: 0 }));
  return {
    counts: {
      passed: counts.passed - first.passed + second.counts.passed,
      failed: counts.failed - first.failed + second.counts.failed,
      skipped: counts.skipped - first.skipped + second.counts.skipped,
    },
    failures: [...failures.filter((failure) => !isAgain(failure)), ...second.failures],
    flaky: failures.filter((failure) => isAgain(failure) && !second.failures.includes(failure)),
  };
}
