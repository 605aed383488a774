import type { Counts, Results } from './tests.ts';
import { runTests } from './tests.ts';

/** So many files with failures are a defect, not bad luck: they are not run again. */
const mostFiles = 5;

export function add(...all: readonly Counts[]): Counts {
  const sum = (of: (counts: Counts) => number): number => all.reduce((total, counts) => total + of(counts), 0);
  return { passed: sum((c) => c.passed), failed: sum((c) => c.failed), skipped: sum((c) => c.skipped) };
}

/**
 * Runs the files that failed once more, one at a time, when nothing runs beside them: timings never fail a test, and a test that waits for the kernel
 * on a machine full of other tests may wait in vain. What fails again has failed; what passes is named, so that it is mended and not forgotten.
 * @param rerun false when every failure is final, as where a developer runs one file
 * @returns the counts of all suites, with the second run's in place of the first's for the files that ran twice; and the tests that passed only then
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
  const second = await runTests(out, { title: 'failed, once more and alone', files: [...failedFiles.keys()], concurrency: 1 });
  const first = add(...failedFiles.values());
  return {
    counts: {
      passed: counts.passed - first.passed + second.counts.passed,
      failed: counts.failed - first.failed + second.counts.failed,
      skipped: counts.skipped - first.skipped + second.counts.skipped,
    },
    failures: second.failures,
    flaky: failures.filter((failure) => !second.failures.includes(failure)),
  };
}
