/** `npm run test:spec [-- --trace FILE]…`: checks Life, or holds traces of files against it (README.md). */
import { parseArgs } from 'node:util';
import { checkLife, checkPlanted, checkSound, checkTraces } from './checks.ts';
import { readRun } from './events.ts';
import { versionOfTlc, withoutTlc } from './tlc.ts';

const { values } = parseArgs({
  options: {
    /** Runs that were recorded by other suites (`--trace FILE` of theirs). The specification itself is not checked again then. */
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
const told = (check: () => string): void => {
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
  told(() => checkTraces(runs));
} else {
  console.log(versionOfTlc());
  checkLife().forEach(told);
  told(checkSound);
  told(checkPlanted);
}
console.log(`${failures.length} failures, ${((performance.now() - begin) / 1000).toFixed(0)} s`);
process.exit(failures.length === 0 ? 0 : 1);
