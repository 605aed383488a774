import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { hasGo } from './peers.ts';
import type { Counts } from './tests.ts';

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
 * that does not end in time has failed, and its processes are killed.
 */
export async function runConformance(out: NodeJS.WritableStream): Promise<Counts> {
  if (!existsSync(critest.script)) return { passed: 0, failed: 0, skipped: 0 };
  out.write('\nconformance\n');
  if (!hasGo()) {
    out.write('- critest is built with Go, which is not installed: skipped\n');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const held = await runLimited(out, critest);
  out.write(`${held ? '✔' : '✖'} conformance\n`);
  return { passed: held ? 1 : 0, failed: held ? 0 : 1, skipped: 0 };
}

/** Runs a suite in a separate process group. Returns whether it ended in time, and with 0. */
export async function runLimited(
  out: NodeJS.WritableStream,
  { script, limitMs }: ConformanceSuite,
): Promise<boolean> {
  const suite = spawn(process.execPath, [script], { stdio: 'inherit', detached: true });
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
    out.write(`  the suite did not end within ${limitMs / 1000} s and was killed\n`);
    end('SIGTERM');
    last = setTimeout(end, graceMs, 'SIGKILL');
  }, limitMs);
  try {
    const [status] = (await once(suite, 'exit')) as [number | null];
    return status === 0;
  } finally {
    clearTimeout(timer);
    clearTimeout(last);
    // Ends processes that the suite started and left behind.
    end('SIGKILL');
    for (const signal of signals) process.off(signal, pass);
  }
}
