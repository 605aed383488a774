import { join } from 'node:path';
import { execa } from 'execa';
import type { Counts } from './tests.ts';

/**
 * Runs `npm run test:fuzz` for two minutes, always with the same seed, so that a new finding comes from the
 * change. It prints more than the last line only for a finding.
 */
export async function runFuzzing(out: NodeJS.WritableStream): Promise<Counts> {
  out.write('\nfuzzing\n');
  const script = join(import.meta.dirname, '..', 'fuzz/run.ts');
  const options = { reject: false, all: true, stdin: 'ignore' } as const;
  const { exitCode, all: output } = await execa(
    process.execPath,
    [script, '--minutes', '2', '--seed', '1'],
    options,
  );
  const passed = exitCode === 0;
  out.write(passed ? `✔ ${output.trimEnd().split('\n').at(-1) ?? ''}\n` : `${output.trimEnd()}\n✖ fuzzing\n`);
  return { passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 };
}
