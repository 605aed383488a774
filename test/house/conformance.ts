import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasGo } from './peers.ts';
import type { Counts } from './test-process.ts';

/** The script of the conformance suite, and how long it may take. */
interface ConformanceSuite {
  readonly script: string;
  readonly limitMs: number;
}

/** The suite needs some minutes. */
const critest: ConformanceSuite = { script: 'test/conformance/run.ts', limitMs: 1_200_000 };
/** How long the processes have to end after SIGTERM. */
const graceMs = 5000;

/**
 * Runs the conformance suite as one test. Without Go, which builds its peers, it counts as skipped. A suite
 * that does not end in time has failed, and its processes are killed. Everything that it prints is written
 * when it has ended, because other tests print meanwhile.
 */
export async function runConformance(out: NodeJS.WritableStream): Promise<Counts> {
  if (!existsSync(critest.script)) return { passed: 0, failed: 0, skipped: 0 };
  if (!hasGo()) {
    out.write('- conformance: critest is built with Go, which is not installed: skipped\n');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const { held, printed } = await runLimited(critest);
  out.write(`\nconformance\n${printed}${held ? '✔' : '✖'} conformance\n\n`);
  return { passed: held ? 1 : 0, failed: held ? 0 : 1, skipped: 0 };
}

interface SuiteResult {
  /** Whether the suite ended in time, and with 0. */
  readonly held: boolean;
  readonly printed: string;
}

/** Runs a suite in a separate process group. */
export async function runLimited({ script, limitMs }: ConformanceSuite): Promise<SuiteResult> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-conformance-'));
  // Processes that the suite leaves behind would keep a pipe open.
  const log = join(folder, 'log');
  const fd = openSync(log, 'a');
  const suite = spawn(process.execPath, [script], { stdio: ['ignore', fd, fd], detached: true });
  const end = (signal: NodeJS.Signals): void => {
    try {
      if (suite.pid !== undefined) process.kill(-suite.pid, signal);
    } catch {
      // Every process of the group has ended.
    }
  };
  // The group is not that of the terminal, so a signal to this process must reach it.
  const pass = (signal: NodeJS.Signals): void => {
    end('SIGKILL');
    process.off(signal, pass);
    process.kill(process.pid, signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  let last: NodeJS.Timeout | undefined;
  const timer = setTimeout(() => {
    writeSync(fd, `  the suite did not end within ${limitMs / 1000} s and was killed\n`);
    end('SIGTERM');
    last = setTimeout(end, graceMs, 'SIGKILL');
  }, limitMs);
  try {
    const [status] = (await once(suite, 'exit')) as [number | null];
    return { held: status === 0, printed: readFileSync(log, 'utf8') };
  } finally {
    clearTimeout(timer);
    clearTimeout(last);
    // Ends processes that the suite started and left behind.
    end('SIGKILL');
    for (const signal of signals) process.off(signal, pass);
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}
