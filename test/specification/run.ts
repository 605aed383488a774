/**
 * `npm run test:spec [-- --histories N] [--seed S] [--trace FILE]…`: checks Life, and traces of the simulator
 * or of files against it (README.md).
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { registerStandIns } from '../simulation/stand-ins.ts';
import { checkLife, checkPlanted, checkSound, checkTraces } from './checks.ts';
import { readRun } from './events.ts';
import { versionOfTlc, withoutTlc } from './tlc.ts';

const { values } = parseArgs({
  options: {
    /** The number of pod histories of the simulator; a third as many of image histories. */
    histories: { type: 'string', default: '1200' },
    seed: { type: 'string', default: '1' },
    /**
     * Runs that other suites recorded (their `--trace FILE`). The specification itself is not checked again
     * then.
     */
    trace: { type: 'string', multiple: true, default: [] },
  },
});

const missing = withoutTlc();
if (missing !== false) {
  console.error(`specification: ${missing}`);
  process.exit(4);
}
const begin = performance.now();
const failures: string[] = [];
const reported = (check: () => string): void => {
  const start = performance.now();
  try {
    console.log(`✔ ${check()} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  } catch (cause) {
    failures.push(String(cause));
    console.log(`✖ ${cause instanceof Error ? cause.message : String(cause)}`);
  }
};
if (values.trace.length > 0) {
  const runs = values.trace.map(readRun);
  reported(() => checkTraces(runs));
} else {
  console.log(versionOfTlc());
  checkLife().forEach(reported);
  reported(checkSound);
  reported(checkPlanted);
  registerStandIns();
  const { recordHistories } = await import('./simulated.ts');
  for (const [kind, share] of [
    ['pods', 1],
    ['images', 1 / 3],
  ] as const) {
    const { runs, broken } = await recordHistories(
      kind,
      Number(values.seed),
      Math.ceil(Number(values.histories) * share),
    );
    reported(() => {
      assert.deepEqual(broken, []);
      return checkTraces(runs);
    });
  }
}
console.log(`${failures.length} failures, ${((performance.now() - begin) / 1000).toFixed(0)} s`);
process.exit(failures.length === 0 ? 0 : 1);
