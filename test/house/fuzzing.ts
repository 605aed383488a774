import { join } from 'node:path';
import { execa } from 'execa';
import type { Counts } from './test-process.ts';

/**
 * Runs `npm run test:fuzz` for 12 seconds, always with the same seed, so that a new finding comes from the
 * change. It has the lowest priority, because other tests run beside it. It prints more than the last line
 * only for a finding.
 */
export async function runFuzzing(out: NodeJS.WritableStream): Promise<Counts> {
  const script = join(import.meta.dirname, '..', 'fuzz/run.ts');
  const options = { reject: false, all: true, stdin: 'ignore' } as const;
  const { exitCode, all: output } = await execa(
    'nice',
    ['-n', '19', process.execPath, script, '--minutes', '0.2', '--seed', '1'],
    options,
  );
  const passed = exitCode === 0;
  const shown = passed ? `✔ ${output.trimEnd().split('\n').at(-1) ?? ''}` : `${output.trimEnd()}\n✖ fuzzing`;
  out.write(`\nfuzzing\n${shown}\n`);
  return { passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 };
}
