import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * The unit of the fields of /proc/PID/stat (proc_pid_stat(5)): USER_HZ is 100 on every architecture that Node
 * supports.
 */
const tickMs = 10;

interface FileCost {
  readonly file: string;
  /** Processor time of the test process and of all processes below it that ended, in ms. */
  readonly processorMs: number;
  /** Time by the clock, in ms. */
  readonly wallMs: number;
}

const costs: FileCost[] = [];

/**
 * Returns the processor time of this process, and of the processes below it that ended and that a parent
 * waited for, in ms.
 */
export function processorTime(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  // utime, stime, cutime and cstime; the name in field 2 can contain spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field) * tickMs, 0);
}

/**
 * Prepares the measurement of a test process: `read` records the processor time after the process ended. It
 * measures only with PORTCULLIS_TEST_TIMES=1, because the processes below a test process that inherit
 * `execArgv` load one file more.
 */
export function recordProcessorTime(): {
  readonly execArgv: string[];
  readonly read: (file: string, wallMs: number) => void;
} {
  if (process.env['PORTCULLIS_TEST_TIMES'] !== '1') return { execArgv: [], read: () => undefined };
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-times-'));
  const to = join(folder, 'ms');
  const preload = `data:text/javascript,${encodeURIComponent(`
    import { isMainThread } from 'node:worker_threads';
    import { writeFileSync } from 'node:fs';
    import { processorTime } from ${JSON.stringify(`file://${import.meta.filename}`)};
    if (isMainThread && process.env.NODE_TEST_CONTEXT)
      process.on('exit', () => writeFileSync(${JSON.stringify(to)}, String(processorTime())));`)}`;
  return {
    execArgv: ['--import', preload],
    read: (file, wallMs) => {
      try {
        costs.push({ file, wallMs, processorMs: Number(readFileSync(to, 'utf8')) });
      } catch {
        // A killed process leaves no time.
      }
      rmSync(folder, { recursive: true });
    },
  };
}

/** Returns a table of the most expensive test files of this run, or nothing without a measurement. */
export function costReport(shown = 40, all: readonly FileCost[] = costs): string {
  if (all.length === 0) return '';
  const seconds = (ms: number): string => (ms / 1000).toFixed(1).padStart(8);
  const line = (processorMs: number, wallMs: number, name: string): string =>
    `${seconds(processorMs)}${seconds(wallMs)}  ${name}\n`;
  const sum = (of: (cost: FileCost) => number): number => all.reduce((total, cost) => total + of(cost), 0);
  const dearest = all.toSorted((a, b) => b.processorMs - a.processorMs).slice(0, shown);
  return [
    '\nprocessor time and time by the clock, in seconds\n',
    line(
      sum(({ processorMs }) => processorMs),
      sum(({ wallMs }) => wallMs),
      `all ${all.length} files`,
    ),
    ...dearest.map(({ file, processorMs, wallMs }) => line(processorMs, wallMs, file)),
  ].join('');
}
