import { relative } from 'node:path';
import { isFinal } from './final-failure.ts';
import { inLanes } from './lanes.ts';
import { watchOverdue } from './overdue.ts';
import type { TestProcess } from './shared-process.ts';
import { passedOnlyAlone, runFile, runShared } from './test-process.ts';
import type { Counts, FileResult } from './test-process.ts';

export interface Suite {
  readonly title: string;
  readonly processes: readonly TestProcess[];
  /** Processes that can begin only later, merged with those that wait then. */
  readonly later?: { readonly processes: readonly TestProcess[]; readonly when: Promise<unknown> };
  /** The number of test processes that run at a time. */
  readonly concurrency: number;
  /** The number of test processes that run at a time while processors are idle. Default: `concurrency`. */
  readonly mostWhileIdle?: number;
  /** Time limit for a test process, in ms, so that one that hangs fails. Default: {@link processLimit}. */
  readonly limitMs?: number;
}

const processLimit = 600_000;

export interface Results {
  readonly counts: Counts;
  /**
   * Every failed test, to be named again next to the count, because readers start at the end of a long log.
   */
  readonly failures: readonly string[];
  /** The failures of shared processes that did not appear again. */
  readonly flaky: readonly string[];
  /** The error messages of failed tests, by their texts in `failures` and `flaky`. */
  readonly reasons: ReadonlyMap<string, string>;
  /** The files of `failures`, relative to the root, with the counts of each. */
  readonly failedFiles: ReadonlyMap<string, Counts>;
}

/**
 * Runs test files with Node's test runner. Prints one line for each file, and all details and output of a
 * failed test.
 */
export async function runTests(out: NodeJS.WritableStream, suite: Suite): Promise<Results> {
  const failures: string[] = [];
  const flaky: string[] = [];
  const reasons = new Map<string, string>();
  const failedFiles = new Map<string, Counts>();
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const all = [...suite.processes, ...(suite.later?.processes ?? [])];
  if (all.length === 0) return { counts, failures, flaky, reasons, failedFiles };
  out.write(`\n${suite.title}\n`);
  const { limitMs = processLimit, concurrency, mostWhileIdle = concurrency } = suite;
  const unwatch = watchOverdue(all.flat(), limitMs, (file) => {
    out.write(`  the process of ${file} did not exit within ${limitMs / 1000} s and was killed\n`);
  });
  const add = (path: string, result: FileResult): void => {
    out.write(result.text);
    for (const key of ['passed', 'failed', 'skipped'] as const) counts[key] += result.counts[key];
    failures.push(...result.failures);
    for (const [failure, reason] of result.reasons) reasons.set(failure, reason);
    // A process that ended without a summary was killed, crashed, or exited early: it is not run again.
    if (!result.success && result.hasSummary) failedFiles.set(relative('.', path), result.counts);
  };
  const runOne = async (files: TestProcess): Promise<void> => {
    const shared = files.length > 1 ? await runShared(files, limitMs) : undefined;
    if (shared !== undefined && 'results' in shared) {
      for (const [file, result] of shared.results) add(file, result);
      return;
    }
    // A failure is found and explained more easily in a process without other tests.
    let isFailed = false;
    for (const file of files) {
      const result = await runFile(file, limitMs);
      isFailed ||= !result.success;
      add(file, result);
    }
    if (shared === undefined || isFailed) return;
    const result = passedOnlyAlone(files, shared.failure);
    // The machine may have been busy, as when a file by itself fails only once (retry-failed.ts).
    const isOnce =
      shared.file !== undefined && !isFinal(shared.file) && 'results' in (await runShared(files, limitMs));
    if (!isOnce) return add(files[0] ?? '', result);
    out.write(result.text);
    flaky.push(...result.failures);
    for (const [failure, reason] of result.reasons) reasons.set(failure, reason);
  };
  const later = suite.later && { items: suite.later.processes, when: suite.later.when };
  await inLanes(suite.processes, runOne, { least: concurrency, most: mostWhileIdle, later });
  unwatch();
  return { counts, failures, flaky, reasons, failedFiles };
}
