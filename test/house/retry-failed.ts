import { isFinal } from './final-failure.ts';
import { separately } from './shared-process.ts';
import type { Counts } from './test-process.ts';
import type { Results } from './tests.ts';
import { runTests } from './tests.ts';

/** With this many failed files the failures count as a defect, and no file is run again. */
const mostFiles = 5;

export function add(...all: readonly Counts[]): Counts {
  const sum = (of: (counts: Counts) => number): number =>
    all.reduce((total, counts) => total + of(counts), 0);
  return { passed: sum((c) => c.passed), failed: sum((c) => c.failed), skipped: sum((c) => c.skipped) };
}

/**
 * Runs failed files again, one at a time, while nothing else runs: a test that waits for the kernel may time
 * out on a machine that is busy with other tests. Failures of files that kill or use a seed are final ({@link
 * isFinal}). A file that fails again has failed. A file that passes is named and counted as flaky: its test
 * or the product has a defect that must be found. If the second run skips more tests than the first one, the
 * first failures are final. What the suites report as flaky stays flaky.
 * @param rerun false if every failure is final, for example when a developer runs one file
 * @returns the counts of all suites, with the counts of the second run for files that ran twice, the tests
 *   that failed only in the first run, and the error messages of failed tests
 */
export async function runAgain(
  out: NodeJS.WritableStream,
  suites: readonly Results[],
  rerun: boolean,
): Promise<{
  readonly counts: Counts;
  readonly failures: readonly string[];
  readonly flaky: readonly string[];
  readonly reasons: ReadonlyMap<string, string>;
}> {
  const counts = add(...suites.map((suite) => suite.counts));
  const failures = suites.flatMap((suite) => suite.failures);
  const reasons = new Map(suites.flatMap((suite) => [...suite.reasons]));
  const failedFiles = new Map(suites.flatMap((suite) => [...suite.failedFiles]));
  const flaky = suites.flatMap((suite) => suite.flaky);
  if (!rerun || failedFiles.size === 0 || failedFiles.size > mostFiles)
    return { counts, failures, flaky, reasons };
  const files = [...failedFiles.keys()].filter((file) => !isFinal(file));
  const isAgain = (failure: string): boolean => files.some((file) => failure.startsWith(`${file}:`));
  const second = await runTests(out, {
    title: 'failed, once more and alone',
    processes: separately(files),
    concurrency: 1,
  });
  const first = add(...files.map((file) => failedFiles.get(file) ?? { passed: 0, failed: 0, skipped: 0 }));
  // A test that is skipped the second time has not passed.
  if (second.counts.skipped > first.skipped) return { counts, failures, flaky, reasons };
  return {
    counts: {
      passed: counts.passed - first.passed + second.counts.passed,
      failed: counts.failed - first.failed + second.counts.failed,
      skipped: counts.skipped - first.skipped + second.counts.skipped,
    },
    failures: [...failures.filter((failure) => !isAgain(failure)), ...second.failures],
    flaky: [
      ...flaky,
      ...failures.filter((failure) => isAgain(failure) && !second.failures.includes(failure)),
    ],
    reasons: new Map([...reasons, ...second.reasons]),
  };
}
