import { existsSync, readFileSync } from 'node:fs';
import { run } from 'node:test';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { workersOfBundle } from '../fixtures/bundled-workers-flag.ts';
import { recordProcessorTime } from './processor-time.ts';
import type { TestProcess } from './shared-process.ts';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface FileResult {
  readonly counts: Counts;
  readonly success: boolean;
  /** The process of the file counted its tests at its end. */
  readonly hasSummary: boolean;
  readonly failures: readonly string[];
  readonly reasons: ReadonlyMap<string, string>;
  /** A line, and for a failed file also its output and errors. */
  readonly text: string;
}

/** Runs one file in a process of its own. */
export async function runFile(path: string, limitMs: number): Promise<FileResult> {
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
  const line = lineOf(file, success, counts, wallMs);
  return {
    counts,
    success,
    hasSummary,
    failures: failures.map((failure) => failureText(failure, file)),
    reasons,
    text: `${errors}${line}${success ? '' : indent(output)}`,
  };
}

function lineOf(file: string, success: boolean, counts: Counts, wallMs: number): string {
  const failedText = counts.failed === 0 ? '' : `, ${counts.failed} failed`;
  const skippedText = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
  const seconds = (wallMs / 1000).toFixed(1);
  return `${success ? '✔' : '✖'} ${file} (${counts.passed} passed${failedText}${skippedText}, ${seconds} s)\n`;
}

/**
 * Runs files in one process.
 * @returns the results of all files if each passed, or the first failure
 */
export async function runShared(
  files: TestProcess,
  limitMs: number,
): Promise<
  | { readonly results: ReadonlyMap<string, FileResult> }
  | {
      readonly failure: string;
      /** The file of the failed test, if one failed. */
      readonly file: string | undefined;
    }
> {
  const results = new Map<string, FileResult>();
  let [failure, success] = ['', false];
  let failedFile: string | undefined;
  let counts = { passed: 0, failed: 0, skipped: 0 };
  const started = performance.now();
  const { execArgv, read } = recordProcessorTime();
  const flags = [...execArgv, '--import', resolveSources, ...workersOfBundle()];
  const argv = [...files];
  const stream = run({ files: [severalFiles], argv, concurrency: 1, timeout: limitMs, execArgv: flags });
  stream.on('test:fail', ({ name, nesting, details }) => {
    const { cause, message } = details.error;
    failure ||= `${name}: ${cause instanceof Error ? (cause.stack ?? cause.message) : message}`;
    // The suite of a file has its name, and fails after its tests.
    if (nesting === 0 && files.includes(name)) failedFile ??= name;
  });
  stream.on('test:pass', ({ name, nesting, details, skip, todo }) => {
    if (details.type === 'suite' && nesting === 0) {
      results.set(name, passedFile(name, counts, details.duration_ms));
      counts = { passed: 0, failed: 0, skipped: 0 };
    } else if (skip !== undefined || todo !== undefined) counts.skipped++;
    else if (details.type !== 'suite') counts.passed++;
  });
  stream.on('test:summary', (event) => (success = event.success));
  for await (const _event of stream);
  read(`${files[0]} and ${files.length - 1} others`, performance.now() - started);
  const empty = files.find((file) => {
    const of = results.get(file)?.counts;
    return of === undefined || of.passed + of.skipped === 0;
  });
  if (success && empty === undefined) return { results };
  const missing = `${empty ?? 'one of them'} declares no tests, or exited before its last test ended`;
  return { failure: failure === '' ? missing : failure, file: failedFile };
}

function passedFile(file: string, counts: Counts, wallMs: number): FileResult {
  const text = lineOf(file, true, counts, wallMs);
  return { counts, success: true, hasSummary: true, failures: [], reasons: new Map(), text };
}

/** Returns the result of files of which each passes in a process of its own, and not with the others. */
export function passedOnlyAlone(files: TestProcess, failure: string): FileResult {
  const name = `fails in one process with ${files.length - 1} other files`;
  const text = `  ✖ ${files[0]} ${name}\n${indent(failure)}`;
  const reasons = new Map([[failureText({ place: files[0] ?? '', line: 0, name }, files[0] ?? ''), failure]]);
  return {
    counts: { passed: 0, failed: 1, skipped: 0 },
    success: false,
    hasSummary: false,
    failures: [...reasons.keys()],
    reasons,
    text,
  };
}

const fixture = (name: string): string => pathToFileURL(join(import.meta.dirname, '../fixtures', name)).href;
const resolveSources = fixture('resolve-sources.ts');
const severalFiles = join(import.meta.dirname, '../fixtures/several-files.ts');
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
