import { run } from 'node:test';
import { relative } from 'node:path';
import { inspect } from 'node:util';
import { watchOverdue } from './overdue.ts';

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
  /** The files of `failures`, relative to the root, with the counts of each. */
  readonly failedFiles: ReadonlyMap<string, Counts>;
}

/**
 * Runs test files with Node's test runner. Prints one line for each file, and all details and output of a
 * failed test.
 */
export async function runTests(out: NodeJS.WritableStream, suite: Suite): Promise<Results> {
  const failures: string[] = [];
  const failedFiles = new Map<string, Counts>();
  if (suite.files.length === 0)
    return { counts: { passed: 0, failed: 0, skipped: 0 }, failures, failedFiles };
  out.write(`\n${suite.title}\n`);
  /** Failures whose file is not known yet: the events of a file come together, and its summary comes last. */
  const pending: Failure[] = [];
  const settle = (file: string): void =>
    void failures.push(...pending.splice(0).map((failure) => failureText(failure, file)));
  const output = new Map<string, string>();
  let counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const { limitMs = fileLimit } = suite;
  const unwatch = watchOverdue(suite.files, limitMs, (file) => {
    out.write(`  the process of ${file} did not exit within ${limitMs / 1000} s and was killed\n`);
  });
  const stream = run({ files: [...suite.files], concurrency: suite.concurrency, timeout: limitMs });
  stream.on('test:stdout', ({ file, message }) => output.set(file, (output.get(file) ?? '') + message));
  stream.on('test:stderr', ({ file, message }) => output.set(file, (output.get(file) ?? '') + message));
  stream.on('test:fail', (event) => {
    // the subtest itself was shown
    if ((event.details.error as Error & { failureType?: string }).failureType === 'subtestsFailed') return;
    const cause: unknown = event.details.error.cause;
    const place = relative('.', event.file ?? '');
    pending.push({ place, line: event.line ?? 0, name: event.name });
    // The process of the file failed: perhaps no summary follows.
    if (relative('.', event.name) === place) settle(place);
    out.write(
      `  ✖ ${place}:${event.line ?? 0} ${event.name}\n${indent(cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause))}`,
    );
  });
  stream.on('test:summary', (event) => {
    const { tests, passed, skipped, todo } = event.counts;
    const sums = { passed, failed: tests - passed - skipped - todo, skipped: skipped + todo };
    if (event.file === undefined) {
      counts = sums;
      return;
    }
    const file = relative('.', event.file);
    settle(file);
    const skippedText = sums.skipped === 0 ? '' : `, ${sums.skipped} skipped`;
    out.write(
      `${event.success ? '✔' : '✖'} ${file} (${passed} passed${sums.failed === 0 ? '' : `, ${sums.failed} failed`}${skippedText}, ${(event.duration_ms / 1000).toFixed(1)} s)\n`,
    );
    if (!event.success) {
      failedFiles.set(file, sums);
      out.write(indent(output.get(event.file) ?? ''));
    }
    output.delete(event.file);
  });
  for await (const _event of stream);
  unwatch();
  for (const failure of pending) failures.push(failureText(failure, failure.place));
  return { counts, failures, failedFiles };
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
