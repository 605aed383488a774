/**
 * `npm run test:chaos [-- --kills N] [--seed S] [--only PART,…]`: kills and faults at random moments and at
 * rest; see README.md.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeRun } from '../specification/events.ts';
import { readJournal } from '../specification/journal.ts';
import { isApart, leaveOthersMounts, runApart, onEndSignal } from './own-namespaces.ts';
import { atRest } from './at-rest.ts';
import { acts } from './acts.ts';
import type { Act } from './acts.ts';
import { stopAndLook } from './ending.ts';
import { neverExercised } from './exercised.ts';
import type { Exercised } from './exercised.ts';
import { failDuringActs, loadFaults, recordPoints, startAct } from './faults.ts';
import { readFault } from './faults/orders.ts';
import { killDuringActs, measureActs, openScene } from './kills.ts';
import type { Scene } from './kills.ts';
import { limitDuringActs } from './limits.ts';
import { killOthers, victims } from './other-processes.ts';
import { openObserver } from './outside.ts';
import { createRandom } from '../fixtures/random.ts';
import { setStage } from './stage.ts';
import { killDuringStops } from './stops.ts';

/** The parts of the suite, and the share of the kills and faults that each gets. */
const shares = { kills: 0.4, others: 0.25, workers: 0.1, faults: 0.15, reads: 0.05, limits: 0.05, rest: 0 };
type Part = keyof typeof shares;
const parts = Object.keys(shares) as Part[];

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    pods: { type: 'string', default: '10' },
    /** Parts of the suite, separated by commas; without it all of them. */
    only: { type: 'string', default: parts.join() },
    /** One fault, as a failure names it, with --act. */
    fault: { type: 'string' },
    /** One request by its name, to look into it. */
    act: { type: 'string' },
    runtime: { type: 'string', default: 'crun' },
    /**
     * Makes all mounts shared first, as systemd does on a node; without it the daemon makes its folders
     * shared mounts itself.
     */
    shared: { type: 'boolean', default: false },
    /** Uses dist/ or the sources as they are. */
    'no-build': { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    /**
     * A file for the history of the daemon's records: `npm run test:spec -- --trace FILE` checks it against
     * the specification.
     */
    trace: { type: 'string' },
  },
});

if (!isApart()) {
  if (!values['no-build']) {
    const root = join(import.meta.dirname, '../..');
    const build = spawnSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (build.status !== 0) process.exit(build.status ?? 1);
  }
  process.exit(
    await runApart(import.meta.filename, process.argv.slice(2), (text) => process.stdout.write(text)),
  );
}

const begin = performance.now();
leaveOthersMounts();
if (values.shared) execFileSync('mount', ['--make-rshared', '/']);
const stage = await setStage(values.runtime);
stage.traced = values.trace !== undefined;
const observer = openObserver(stage);
onEndSignal(() => {
  observer.endAll();
  void stage.close().finally(() => process.exit(130));
});
const failures: string[] = [];
const figures: string[] = [];
const exercised: Exercised[] = [];
let scene: Scene | undefined;
try {
  const untouched = observer.look();
  scene = await openScene(stage, observer);
  const chosen = acts.filter(({ name }) => values.act === undefined || name === values.act);
  const random = createRandom(Number(values.seed));
  const print = (line: string): void => {
    if (values.verbose || line.startsWith('FAILED')) console.log(line);
  };
  const total = Number(values.kills);
  if (!Number.isInteger(total) || total < 1) throw new Error(`--kills ${values.kills} is not a count`);
  const only = values.only.split(',');
  const unknown = only.filter((name) => !(name in shares));
  if (unknown.length > 0) throw new Error(`--only ${unknown.join()} is none of ${parts.join()}`);
  const does = (part: Part): boolean => only.includes(part);
  const sum = parts.filter(does).reduce((all, part) => all + shares[part], 0);
  const share = (part: Part): number => Math.ceil((total * shares[part]) / sum);
  const durations =
    does('kills') || does('others')
      ? await measureActs(scene, chosen, total < 3 * acts.length ? 1 : 3)
      : new Map<Act, number>();
  if (durations.size > 0)
    console.log([...durations].map(([act, ms]) => `${act.name} ${ms.toFixed(1)} ms`).join(', '));
  if (does('kills')) {
    const count = share('kills');
    const report = await killDuringActs(scene, durations, { count, random, print });
    const ofStops = Math.ceil(count / acts.length);
    const stops = await killDuringStops(scene, { count: ofStops, random, print });
    failures.push(...report.failures, ...stops.failures);
    exercised.push({ kind: 'kills during requests', tries: report.kills, hits: report.cut });
    exercised.push({ kind: 'kills during stops', tries: ofStops, hits: stops.cut });
    figures.push(`${ofStops} kills of a daemon that stops (${stops.cut} before its end)`);
    figures.push(
      `${report.kills} kills during ${chosen.length} requests (${report.cut} before the answer, ${report.again} again while recovering)`,
    );
  }
  if (does('others')) {
    const report = await killOthers(scene, durations, {
      count: share('others'),
      random,
      print,
      ...(values.act !== undefined && { act: values.act }),
    });
    failures.push(...report.failures);
    for (const victim of victims)
      exercised.push({
        kind: `kills of ${victim}`,
        tries: report.tries[victim],
        hits: report.kills[victim],
      });
    figures.push(
      `${victims.map((victim) => `${report.kills[victim]} of ${report.tries[victim]} kills of ${victim}`).join(', ')} (${report.monitorLost} exits lost)`,
    );
  }
  const withFaults = (['workers', 'faults', 'reads'] as const).filter(does);
  if (withFaults.length > 0) {
    const control = await loadFaults(scene);
    const recorded = await recordPoints(scene, control, chosen);
    const points = new Set([...recorded.values()].flat(2).map(({ thread, point }) => `${thread}/${point}`));
    if (values.verbose) console.log([...points].sort().join('\n'));
    const fault = values.fault === undefined ? undefined : readFault(values.fault);
    for (const part of withFaults) {
      const list = values.act === startAct ? [] : chosen;
      const input = {
        count: share(part),
        random,
        print,
        recorded,
        part,
        ...(fault !== undefined && { fault }),
      };
      const report = await failDuringActs(scene, control, list, input);
      failures.push(...report.failures);
      exercised.push({ kind: part, tries: report.faults, hits: report.fired });
      figures.push(
        `${report.faults} ${{ workers: 'ends of Workers', faults: 'faults', reads: 'faults of reads' }[part]} at ${points.size} points (${report.fired} came, ${report.refused} requests refused, ${report.ended} daemons ended, ${report.leftToStart} left files to the next start)`,
      );
    }
  }
  if (does('limits')) {
    const report = await limitDuringActs(scene, chosen, { count: share('limits'), random, print });
    failures.push(...report.failures);
    exercised.push({ kind: 'limits', tries: report.limits, hits: report.refused + report.oomKills });
    figures.push(
      `${report.limits} limits of descriptors and memory (${report.refused} requests refused, ${report.oomKills} OOM kills, ${report.ended} daemons ended)`,
    );
  }
  if (does('rest')) {
    const rest = await atRest(scene, Number(values.pods));
    failures.push(...rest.failures);
    exercised.push({ kind: 'ends at rest', tries: rest.rounds, hits: rest.rounds });
    figures.push(rest.figures);
  }
  failures.push(...neverExercised(exercised));
  const left = await stopAndLook(scene.daemon, observer, untouched);
  if (values.trace !== undefined)
    writeRun(values.trace, readJournal(stage.root, `chaos, seed ${values.seed}`, stage.starts));
  if (left.length > 0) failures.push(`after the stop:\n  ${left.join('\n  ')}`);
  // A stop that no request waits for has a time limit of its own.
  const held = readFileSync(stage.daemonLog, 'utf8').match(/^portcullis: ended although .*$/gm) ?? [];
  if (held.length > 0) failures.push(`${held.length} stops were held up: ${held[0]}`);
} catch (thrown) {
  failures.push(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
} finally {
  for (const failure of failures) console.log(`✖ ${failure}`);
  await scene?.daemon.stop();
  observer.endAll();
  await stage.close();
}
console.log(
  `${figures.join('; ')}; ${failures.length} failures, seed ${values.seed}, ${((performance.now() - begin) / 1000).toFixed(0)} s`,
);
process.exit(failures.length === 0 ? 0 : 1);
