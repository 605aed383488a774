import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Counts } from './tests.ts';

const peers = ['crictl', 'critest', 'images', 'notary'];
const script = 'test/conformance/run.ts';

/** Builds the peers and runs the conformance suite, as one test; without Go it counts as skipped. */
export function runConformance(out: NodeJS.WritableStream): Counts {
  if (!existsSync(script)) return { passed: 0, failed: 0, skipped: 0 };
  out.write('\nconformance\n');
  if (spawnSync('go', ['version']).status !== 0) {
    out.write('- critest is built with Go, which is not installed: skipped\n');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const held = runs('bash', ['test/peers/get', ...peers]) && runs(process.execPath, [script]);
  out.write(`${held ? '✔' : '✖'} conformance\n`);
  return { passed: held ? 1 : 0, failed: held ? 0 : 1, skipped: 0 };
}

function runs(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'inherit' }).status === 0;
}
