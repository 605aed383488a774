import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { hasGo } from './peers.ts';
import type { Counts } from './tests.ts';

const script = 'test/conformance/run.ts';

/** Runs the conformance suite as one test. Without Go, which builds its peers, it counts as skipped. */
export async function runConformance(out: NodeJS.WritableStream): Promise<Counts> {
  if (!existsSync(script)) return { passed: 0, failed: 0, skipped: 0 };
  out.write('\nconformance\n');
  if (!hasGo()) {
    out.write('- critest is built with Go, which is not installed: skipped\n');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const suite = spawn(process.execPath, [script], { stdio: 'inherit' });
  const [status] = (await once(suite, 'exit')) as [number | null];
  const held = status === 0;
  out.write(`${held ? '✔' : '✖'} conformance\n`);
  return { passed: held ? 1 : 0, failed: held ? 0 : 1, skipped: 0 };
}
