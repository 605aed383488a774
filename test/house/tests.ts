import { existsSync, readFileSync } from 'node:fs';
import { run } from 'node:test';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { workersOfBundle } from '../fixtures/bundled-workers-flag.ts';
import { inLanes } from './lanes.ts';
import { watchOverdue } from './overdue.ts';
import { recordProcessorTime } from './processor-time.ts';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Suite {
  readonly title: string;
  readonly files: readonly string[];
  /** The number of test files that run at a time, each in a separate process. */
  readonly concurrency: number;
  /** The number of test files that run at a time while processors are idle. Default: `concurrency`. */
  readonly mostWhileIdle?: number;
  /** Time limit for a test file, in ms, so that a file that hangs fails. Default: {@link fileLimit}. */
  readonly limitMs?: number;
}

const fileLimit = 600_000;

export interface Results {
  readonly counts: Counts;
  /**
   * Every failed test, to be named again next to the count, because readers start at the end of a long log.
   */
  readonly failures: readonly string[];
  /** The error messages of failed tests, by their texts in `failures`. */
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
  const reasons = new Map<string, string>();
  const failedFiles = new Map<string, Counts>();
  const counts = { passed: 0, failed: 0, skipped: 0 };
  if (suite.files.length === 0) return { counts, failures, reasons, failedFiles };
  out.write(`\n${suite.title}\n`);
  const { limitMs = fileLimit, concurrency, mostWhileIdle = concurrency } = suite;
  const unwatch = watchOverdue(suite.files, limitMs, (file) => {
    out.write(`  the process of ${file} did not exit within ${limitMs / 1000} s and was killed\n`);
  });
  const add = async (path: string): Promise<void> => {
    const result = await runFile(path, limitMs);
    out.write(result.text);
    for (const key of ['passed', 'failed', 'skipped'] as const) counts[key] += result.counts[key];
    failures.push(...result.failures);
    for (const [failure, reason] of result.reasons) reasons.set(failure, reason);
    // A process that ended without a summary was killed, crashed, or exited early: it is not run again.
    if (!result.success && result.hasSummary) failedFiles.set(relative('.', path), result.counts);
  };
  await inLanes(suite.files, add, { least: concurrency, most: mostWhileIdle });
  unwatch();
  return { counts, failures, reasons, failedFiles };
}

interface FileResult {
  readonly counts: Counts;
  readonly success: boolean;
  /** The process of the file counted its tests at its end. */
  readonly hasSummary: boolean;
  readonly failures: readonly string[];
  readonly reasons: ReadonlyMap<string, string>;
  /** A line, and for a failed file also its output and errors. */
  readonly text: string;
}

async function runFile(path: string, limitMs: number): Promise<FileResult> {
  const file = relative('.', path);
  const failures: Failure[] = [];
  const reasons = new Map<string, string>();
  let [errors, output] = ['', ''];
  let counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  let [success, hasSummary, skippedSuites] = [false, false, 0];
  const started = performance.now();
  const { execArgv, read } = recordProcessorTime();
  const flags = [...execArgv, '--import', resolveSources, ...preloadOf(path), ...workersOfBundle()];
  const stream = run({ files: [path], concurrency: 1, timeout: limitMs, execArgv: flags });
  stream.on('test:stdout', ({ message }) => (output += message));
  stream.on('test:stderr', ({ message }) => (output += message));
  stream.on('test:fail', (event) => {
    // the subtest itself was shown
    if ((event.details.error as Error & { failureType?: string }).failureType === 'subtestsFailed') return;
    const cause: unknown = event.details.error.cause;
    const place = relative('.', event.file ?? '');
    const failure = { place, line: event.line ?? 0, name: event.name };
    failures.push(failure);
    reasons.set(failureText(failure, file), cause instanceof Error ? cause.message : inspect(cause));
    errors += `  ✖ ${place}:${event.line ?? 0} ${event.name}\n${indent(cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause))}`;
  });
  // Node counts no skipped suite and no test in it.
  stream.on('test:pass', ({ details, skip }) => {
    if (details.type === 'suite' && skip !== undefined) skippedSuites++;
  });
  // The process of the file sends a summary, then the runner sends one that also counts the process itself.
  stream.on('test:summary', (event) => {
    const { tests, passed, skipped, todo } = event.counts;
    counts = {
      passed,
      failed: tests - passed - skipped - todo,
      skipped: skipped + todo + skippedSuites,
    };
    success = event.success;
    hasSummary ||= event.file !== undefined;
  });
  for await (const _event of stream);
  const wallMs = performance.now() - started;
  read(file, wallMs);
  const missing = success ? missingTests(counts, hasSummary) : undefined;
  if (missing !== undefined) {
    success = false;
    failures.push({ place: file, line: 0, name: missing });
    errors += `  ✖ ${file} ${missing}\n`;
    if (!hasSummary) counts = { ...counts, passed: 0 };
  }
  // Node counts a failed hook of a suite as no test.
  if (!success) counts = { ...counts, failed: Math.max(1, counts.failed) };
  const failedText = counts.failed === 0 ? '' : `, ${counts.failed} failed`;
  const skippedText = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
  const line = `${success ? '✔' : '✖'} ${file} (${counts.passed} passed${failedText}${skippedText}, ${(wallMs / 1000).toFixed(1)} s)\n`;
  return {
    counts,
    success,
    hasSummary,
    failures: failures.map((failure) => failureText(failure, file)),
    reasons,
    text: `${errors}${line}${success ? '' : indent(output)}`,
  };
}

const fixture = (name: string): string => pathToFileURL(join(import.meta.dirname, '../fixtures', name)).href;
const resolveSources = fixture('resolve-sources.ts');
const privateNamespaces = fixture('private-namespaces.ts');

/**
 * Returns the flags that preload private-namespaces.ts, for a file that imports it: the process outside the
 * namespaces then loads nothing else, which halves the time that the file takes to load.
 */
function preloadOf(path: string): readonly string[] {
  // A file that is missing fails when it runs.
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return /^import '[^']*\/fixtures\/private-namespaces\.ts';$/mu.test(text)
    ? ['--import', privateNamespaces]
    : [];
}

/** Returns why a file that Node reports as passed has not passed: Node only looks at its exit status. */
function missingTests({ passed, failed, skipped }: Counts, hasSummary: boolean): string | undefined {
  if (!hasSummary) return 'declares no tests, or exited before its last test ended';
  return passed + failed + skipped === 0 ? 'declares no tests' : undefined;
}

interface Failure {
  /** The file that declares the test, which may be a fixture. */
  readonly place: string;
  readonly line: number;
  readonly name: string;
}

/** Begins with the test file, by which a failure is found again after a second run. */
function failureText({ place, line, name }: Failure, file: string): string {
  return place === file ? `${file}:${line} ${name}` : `${file}: ${name} (${place}:${line})`;
}

function indent(text: string): string {
  return text === '' ? '' : `${text.trimEnd().replace(/^/gm, '      ')}\n`;
}
