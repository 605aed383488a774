import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { painter, shortenDigests, textWidth, wrap } from '../output/terminal.ts';
import type { Paper, Style } from '../output/terminal.ts';

/** Output of the quickstart: chapters of steps, each with its findings and duration. */
export interface StepReport {
  chapter(title: string): void;
  /**
   * Runs one step. Prints its title, a check mark, its duration, and the lines that `report` returns for its
   * result. A step that throws is shown with the reason; the error is thrown again.
   */
  step<T>(
    title: string,
    body: () => Promise<T> | T,
    report?: (value: T) => string | readonly string[],
  ): Promise<T>;
  /** Prints lines between steps, unchanged. */
  say(...lines: readonly string[]): void;
  /** Prints the closing line. Returns whether every step succeeded. */
  close(): boolean;
  /** Ends the line of the running step, and prints a last line. Steps that go on print nothing more. */
  interrupt(last: string): void;
  isInterrupted(): boolean;
  /** The steps so far, for machine-readable output. */
  readonly steps: readonly Step[];
}

export interface Step {
  readonly chapter: string;
  readonly title: string;
  readonly held: boolean;
  readonly ms: number;
  /** The findings of the step, or the reasons of its failure. */
  readonly found: readonly string[];
}

export function createStepReport(paper: Paper, clock: () => number = () => performance.now()): StepReport {
  const paint = painter(paper.colour);
  const [good, bad, running] = paper.unicode ? ['✓', '✗', '…'] : ['ok', 'NO', '..'];
  const began = clock();
  const steps: Step[] = [];
  let chapterTitle = '';
  let interrupted = false;
  const write = (text: string): void => {
    if (!interrupted) paper.write(text);
  };

  const line = (mark: string, title: string, time: string): string => {
    const gap = Math.max(1, paper.width - 4 - textWidth(mark) - textWidth(title) - textWidth(time));
    return `  ${mark} ${title}${' '.repeat(gap)}${time}`.trimEnd();
  };
  const show = (mark: string, style: Style, title: string, ms: number | undefined): void => {
    const time = ms === undefined ? '' : duration(ms);
    const text = line(mark, title, time).replace(mark, paint(style, mark));
    write(
      `${paper.live ? '\r\u001b[2K' : ''}${time === '' ? text : text.slice(0, -time.length) + paint('dim', time)}`,
    );
  };
  const details = (lines: string | readonly string[]): void => {
    const reported = (typeof lines === 'string' ? [lines] : lines).flatMap((text) =>
      wrap(shortenDigests(text), paper.width - 6),
    );
    for (const text of reported) write(`${paint('dim', `      ${text}`)}\n`);
  };

  return {
    steps,
    chapter: (title) => {
      chapterTitle = title;
      write(`\n${paint('bold', title)}\n`);
    },
    say: (...lines) => write(lines.map((text) => `${text}\n`).join('')),
    async step(title, body, report) {
      if (paper.live) show(running, 'yellow', title, undefined);
      const started = clock();
      const end = (mark: string, style: Style, found: string | readonly string[]): void => {
        const ms = clock() - started;
        steps.push({
          chapter: chapterTitle,
          title,
          held: mark === good,
          ms,
          found: typeof found === 'string' ? [found] : found,
        });
        show(mark, style, title, ms);
        write('\n');
        details(found);
      };
      try {
        const value = await body();
        end(good, 'green', report?.(value) ?? []);
        return value;
      } catch (thrown) {
        const reported = isPortcullisError(thrown)
          ? [thrown.failure.why, thrown.failure.fix, `[${thrown.code}]`]
          : [reasonOf(thrown)];
        end(
          bad,
          'red',
          reported.flatMap((text) => text.split('\n')),
        );
        throw thrown;
      }
    },
    close() {
      const held = steps.filter((step) => step.held).length;
      const whole = held === steps.length;
      const seconds = ((clock() - began) / 1000).toFixed(1);
      const verdict = whole
        ? `${good} all ${held} steps succeeded`
        : `${bad} ${steps.length - held} of ${steps.length} steps failed`;
      write(`\n${paint(whole ? 'green' : 'red', verdict)} in ${seconds} s\n`);
      return whole;
    },
    interrupt(last) {
      write(`\n${last}\n`);
      interrupted = true;
    },
    isInterrupted: () => interrupted,
  };
}

function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
