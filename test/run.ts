/**
 * `npm test`: builds the peers that tests are compared with, beside the tests that use none of them. Then it
 * runs every test beside the conformance suite and the quicker gates, and then the fuzzing beside the other
 * gates. The last line is the count: `N passed, N failed, N skipped`.
 * Files whose tests touch nothing of their process share one with others (shared-process.ts).
 * A file with a failed test runs once more, alone, after all others, unless it kills or draws from a seed
 * (retry-failed.ts). Tests that pass only then are listed and counted in the closing lines (`N flaky`): they
 * do not fail the run.
 * With paths (`npm test -- base/storage test/e2e/main-path.test.ts`) only the tests there run, once, each
 * file in a process of its own, without gates.
 * Daemons and commands run from the bundle, as in a release: they start in half the time.
 * PORTCULLIS_COVERAGE=1 runs them from their sources and reports code coverage at the end.
 * PORTCULLIS_TEST_TIMES=1 prints the files that use the most processor time at the end.
 */
import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metafileVariable } from './fixtures/built-bundle.ts';
import { runConformance } from './house/conformance.ts';
import { coverageOf } from './house/coverage.ts';
import { gates, runGates } from './house/gates.ts';
import { testGroups, testsIn } from './house/groups.ts';
import { runFuzzing } from './house/fuzzing.ts';
import { getPeers } from './house/peers.ts';
import { interpreterFirst } from './house/interpreter.ts';
import { lasting, leftovers } from './house/leftovers.ts';
import { untracked, writtenInto } from './house/checkout.ts';
import { closingLines } from './house/closing.ts';
import { add, runAgain } from './house/retry-failed.ts';
import { interleave } from './house/lanes.ts';
import { costReport, processorTime } from './house/processor-time.ts';
import { canUsePeers, inSharedProcesses, separately } from './house/shared-process.ts';
import { runTests } from './house/tests.ts';

const root = join(import.meta.dirname, '..');
process.chdir(root);

const besideTheCode = testGroups.besideTheCode.map(testsIn);
const acrossModules = testGroups.acrossModules.map(testsIn);
const byThemselves = testGroups.byThemselves.map(testsIn);

/** Returns the files of the patterns, in the order of the patterns. */
function filesOf(patterns: readonly string[], paths: readonly string[]): string[] {
  return patterns
    .flatMap((pattern) => globSync(pattern).sort())
    .filter(
      (file) =>
        paths.length === 0 ||
        paths.some((path) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`)),
    );
}

const started = performance.now();
// Every test file, Worker and command loads the same sources: each is stripped of its types and compiled
// once.
process.env['NODE_COMPILE_CACHE'] ??= join(root, 'node_modules/.cache/portcullis-compiled');
// esbuild, the type checker of lint, Go's compiler and most peers are Go programs. With Go's default, they
// spend a fifth to a third of their processor time on garbage.
process.env['GOGC'] ??= '400';
const python = interpreterFirst('python3', process.env['PATH'] ?? '');
process.env['PATH'] = python.path;
const paths = process.argv.slice(2);
const whole = paths.length === 0;
const out = process.stdout;
const before = leftovers();
const checkout = untracked(root);
const nothing = { passed: 0, failed: 0, skipped: 0 };
const peersBuilt = whole ? getPeers(out) : Promise.resolve(nothing);

const measured = process.env['PORTCULLIS_COVERAGE'] === '1';
const ownFolder = mkdtempSync(join(tmpdir(), 'portcullis-test-run-'));
const metafile = join(ownFolder, 'metafile.json');
if (measured) Object.assign(process.env, { NODE_V8_COVERAGE: ownFolder, PORTCULLIS_SOURCE: '1' });
else if (whole)
  execFileSync(process.execPath, ['packaging/build.ts', '--bundle-only', '--metafile', metafile], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
if (whole && !measured) Object.assign(process.env, { PORTCULLIS_BUNDLE: '1', [metafileVariable]: metafile });
const gatesNow = gates.filter(({ isTests, isLate }) => isTests !== true && isLate !== true);
const gatesLater = gates.filter(({ isLate }) => isLate === true);
// The gates only compute, and many tests only wait: the gates take the processor time that the tests leave.
// They begin when dist/ is complete: a folder that is renamed would disturb those that list all files.
const gatesRun = whole ? runGates(out, gatesNow, 10) : Promise.resolve([]);
// The conformance suite mostly waits, and has its own namespaces, like the tests. A measured run has no
// bundle yet, and building one would disturb the tests.
const conformanceNow = whole && !measured ? peersBuilt.then(() => runConformance(out)) : undefined;
// Their errors are reported where their results are awaited, after the tests.
for (const running of [gatesRun, conformanceNow]) running?.catch(() => undefined);
const besideFiles = filesOf(besideTheCode, paths);
const code = whole ? inSharedProcesses(besideFiles) : separately(besideFiles);
const withoutPeers = code.filter((files) =>
  files.every((file) => !canUsePeers(file, readFileSync(file, 'utf8'))),
);
// Files of both groups share nothing. Many mostly wait: while processors are idle, more files run.
const beside = await runTests(out, {
  title: 'tests',
  processes: withoutPeers,
  later: {
    processes: interleave(
      separately(filesOf(acrossModules, paths)),
      code.filter((files) => !withoutPeers.includes(files)),
    ),
    when: peersBuilt,
  },
  concurrency: 3,
  mostWhileIdle: 10,
});
const failedNow = await gatesRun;
await conformanceNow;
// These gates only read files and compute, which no test observes, and these tests leave processor time.
const gatesLast = whole ? runGates(out, gatesLater, 19) : Promise.resolve([]);
const alone = await runTests(out, {
  title: 'tests by themselves',
  processes: separately(filesOf(byThemselves, paths)),
  concurrency: 1,
});
delete process.env['NODE_V8_COVERAGE'];
// A file runs again while nothing else runs.
if (beside.failedFiles.size + alone.failedFiles.size > 0) await gatesLast;
const { counts, failures, flaky, reasons } = await runAgain(out, [beside, alone], whole);
const coverage = measured ? coverageOf(ownFolder) : Promise.resolve('');
// The fuzzing and the gates have nothing to wait for.
const [fuzzing, conformance, failedLater] = whole
  ? await Promise.all([runFuzzing(out), conformanceNow ?? runConformance(out), gatesLast])
  : [nothing, nothing, []];
const gatesFailed = [...failedNow, ...failedLater];
out.write(await coverage);
rmSync(ownFolder, { recursive: true, force: true });
python.remove();
const left = await lasting(before);
for (const thing of left) out.write(`left behind: ${thing}\n`);
const written = writtenInto(root, checkout);
for (const path of written) out.write(`written into the checkout: ${path}\n`);

out.write(costReport());
out.write(closingLines({ flaky, failures, reasons }));

const total = add(await peersBuilt, counts, fuzzing, conformance);
out.write(
  `\n${((performance.now() - started) / 1000).toFixed(0)} s, processor time ${(processorTime() / 1000).toFixed(0)} s, ${flaky.length} flaky`,
);
if (gatesFailed.length > 0) out.write(`, gates that failed: ${gatesFailed.join(', ')}`);
out.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode =
  total.failed > 0 || gatesFailed.length > 0 || left.length > 0 || written.length > 0 || total.passed === 0
    ? 1
    : 0;
