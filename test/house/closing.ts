/** The lines of all reasons together: CI shows only the end of a run's output. */
const mostLines = 40;
const mostLinesEach = 8;
const longestLine = 160;

/** The results that the closing lines of a run report. */
export interface Closing {
  /** Tests that failed only the first time. */
  readonly flaky: readonly string[];
  readonly failures: readonly string[];
  /** The error messages, by the texts of the tests. */
  readonly reasons: ReadonlyMap<string, string>;
}

/** Returns a line for each failed test, and the first lines of its error message below it. */
export function closingLines({ flaky, failures, reasons }: Closing): string {
  const most = Math.min(mostLinesEach, Math.floor(mostLines / (flaky.length + failures.length)));
  const entry = (title: string, test: string): string =>
    [`${title}: ${test}`, ...firstLines(reasons.get(test) ?? '', most)].map((line) => `${line}\n`).join('');
  return [
    ...flaky.map((test) => entry('passed only the second time', test)),
    ...failures.map((test) => entry('failed', test)),
  ].join('');
}

function firstLines(message: string, most: number): string[] {
  return message
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(0, most)
    .map((line) => `  ${line.length > longestLine ? `${line.slice(0, longestLine)}…` : line}`);
}
