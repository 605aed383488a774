/**
 * `npm test`: runs the gates, builds the peers that tests are compared with, then runs every test, then the
 * conformance suite. The last line is the count: `N passed, N failed, N skipped`.
 * A file with a failed test runs once more, alone, after all others, unless it kills or draws from a seed
 * (again.ts). Tests that pass only then are listed and counted in the closing lines (`N flaky`): they do not
 * fail the run.
 * With paths (`npm test -- base/storage test/e2e/main-path.test.ts`) only the tests there run, once, without
 * gates.
 * Daemons and commands run from the bundle, as in a release: they start in half the time.
 * PORTCULLIS_COVERAGE=1 runs them from their sources and reports code coverage at the end.
 */
import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runConformance } from './house/conformance.ts';
import { coverageOf } from './house/coverage.ts';
import { gates, runGates } from './house/gates.ts';
import { testGroups, testsIn } from './house/groups.ts';
import { runFuzzing } from './house/fuzzing.ts';
import { getPeers } from './house/peers.ts';
import { lasting, leftovers } from './house/leftovers.ts';
import { untracked, writtenInto } from './house/checkout.ts';
import { add, runAgain } from './house/again.ts';
import { runTests } from './house/tests.ts';

const root = join(import.meta.dirname, '..');
process.chdir(root);

/**
 * Both large groups run three files at a time, and share nothing. Many mostly wait.
 */
const besideTheCode = testGroups.besideTheCode.map(testsIn);
const acrossRooms = testGroups.acrossRooms.map(testsIn);
const byThemselves = testGroups.byThemselves.map(testsIn);

function filesOf(patterns: readonly string[], paths: readonly string[]): string[] {
  return globSync([...patterns])
    .filter(
      (file) =>
        paths.length === 0 ||
        paths.some((path) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`)),
    )
    .sort();
}

const started = performance.now();
// Every test file, Worker and command loads the same sources: each is stripped of its types and compiled
// once.
process.env['NODE_COMPILE_CACHE'] ??= join(root, 'node_modules/.cache/portcullis-compiled');
const paths = process.argv.slice(2);
const whole = paths.length === 0;
const out = process.stdout;
const before = leftovers();
const checkout = untracked(root);
const gatesFailed = whole
  ? await runGates(
      out,
      gates.filter(({ isTests }) => isTests !== true),
    )
  : [];
const nothing = { passed: 0, failed: 0, skipped: 0 };
const peers = whole ? getPeers(out) : nothing;

const measured = process.env['PORTCULLIS_COVERAGE'] === '1';
const coverageFolder = mkdtempSync(join(tmpdir(), 'portcullis-coverage-'));
if (measured) Object.assign(process.env, { NODE_V8_COVERAGE: coverageFolder, PORTCULLIS_SOURCE: '1' });
else if (whole)
  execFileSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
if (whole && !measured) process.env['PORTCULLIS_BUNDLE'] = '1';
const units = await runTests(out, {
  title: 'tests beside the code',
  files: filesOf(besideTheCode, paths),
  concurrency: 3,
});
const crossing = await runTests(out, {
  title: 'tests across rooms',
  files: filesOf(acrossRooms, paths),
  concurrency: 3,
});
const alone = await runTests(out, {
  title: 'tests by themselves',
  files: filesOf(byThemselves, paths),
  concurrency: 1,
});
delete process.env['NODE_V8_COVERAGE'];
const { counts, failures, flaky } = await runAgain(out, [units, crossing, alone], whole);
const coverage = measured ? coverageOf(coverageFolder) : Promise.resolve('');
// The conformance suite mostly waits; the fuzzing has nothing to wait for.
const [fuzzing, conformance] = whole
  ? await Promise.all([runFuzzing(out), runConformance(out)])
  : [nothing, nothing];
out.write(await coverage);
rmSync(coverageFolder, { recursive: true, force: true });
const left = await lasting(before);
for (const thing of left) out.write(`left behind: ${thing}\n`);
const written = writtenInto(root, checkout);
for (const path of written) out.write(`written into the checkout: ${path}\n`);

for (const one of flaky) out.write(`passed only the second time: ${one}\n`);
for (const failure of failures) out.write(`failed: ${failure}\n`);

const total = add(peers, counts, fuzzing, conformance);
out.write(`\n${((performance.now() - started) / 1000).toFixed(0)} s, ${flaky.length} flaky`);
if (gatesFailed.length > 0) out.write(`, gates that failed: ${gatesFailed.join(', ')}`);
out.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode =
  total.failed > 0 || gatesFailed.length > 0 || left.length > 0 || written.length > 0 || total.passed === 0
    ? 1
    : 0;
