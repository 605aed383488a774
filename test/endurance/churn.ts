/** `npm run test:churn [-- --minutes N] [--lanes N]`: see README.md. Runs in its own namespaces. */
import '../fixtures/private-namespaces.ts';
import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openObserver } from '../chaos/outside.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { watchEvents } from './events.ts';
import { growthOf } from './flat.ts';
import type { Sample } from './flat.ts';
import { liveImage, livePod, newWork } from './lanes.ts';
import type { Ask } from './lanes.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    /** Number of concurrent pods; four per processor keep the machine busy. */
    lanes: { type: 'string', default: String(4 * availableParallelism()) },
    /** Seconds between two samples. */
    every: { type: 'string', default: '60' },
  },
});
/** Time before the first sample: everything that is loaded, compiled or created once exists by then. */
const warmUpMs = 30_000;
/** The daemon gets no requests for this long before a sample is taken. */
const quietMs = 3_000;

const stage = await openStage();
const once: Ask = (_name, request) => request();
const work = await newWork(stage);
const samples: Sample[] = [];
const failures: string[] = [];
const rounds = new Map<number, number>();
try {
  const { reference } = await stage.publish('app/a:1');
  const image = await stage.pull(reference);
  const events = await watchEvents(stage);
  const observer = openObserver({
    ...stage.folders,
    registryPid: stage.registry.pid,
    cgroupParent: stage.cgroupParent,
  });
  const lane = async (number: number, until: number): Promise<void> => {
    while (performance.now() < until && failures.length === 0) {
      const round = (rounds.get(number) ?? 0) + 1;
      rounds.set(number, round);
      if (round % 20 === 0) await liveImage(stage, number, round, once, work);
      await livePod(stage, image, number, round, once, work);
    }
  };
  const churn = async (ms: number): Promise<void> => {
    const until = performance.now() + ms;
    const ends = await Promise.allSettled(
      Array.from({ length: Number(values.lanes) }, (_, number) => lane(number, until)),
    );
    for (const end of ends) if (end.status === 'rejected') failures.push(String(end.reason));
  };
  const end = performance.now() + Number(values.minutes) * 60_000;
  const begun = performance.now();
  await churn(Math.min(warmUpMs, Number(values.every) * 1000));
  while (failures.length === 0) {
    await pause(quietMs);
    const sample = {
      minute: (performance.now() - begun) / 60_000,
      ...usageOf(stage),
      outside: observer.look(),
    };
    samples.push(sample);
    console.log(lineOf(sample));
    if (performance.now() >= end) break;
    await churn(Math.min(Number(values.every) * 1000, Math.max(1000, end - performance.now())));
  }
  if (failures.length === 0) failures.push(...growthOf(samples), ...events.missing());
  // A stream that delivers nothing misses nothing: each pod has two containers.
  if (events.complete() < 2 * work.pods)
    failures.push(`${events.complete()} containers had all their events, of ${work.pods} pods with two each`);
  if (work.pods === 0 || work.pulls === 0) failures.push('no pod or no image was created and removed');
  await events.stop();
} catch (thrown) {
  failures.push(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
} finally {
  await stage.close().catch((thrown: unknown) => failures.push(String(thrown)));
}
for (const failure of failures) console.log(`✖ ${failure}`);
console.log(
  `${work.pods} pods with two containers each, ${work.execs} commands, ${work.sessions} sessions, ${work.pulls} pulls and removals, ` +
    `${samples.length} looks; ${failures.length} failures`,
);
process.exit(failures.length === 0 ? 0 : 1);

function usageOf({ daemon }: Stage): Pick<Sample, 'residentMiB' | 'descriptors' | 'threads'> {
  const threads = Number(/^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]);
  return { ...daemon.usage(), threads };
}

function lineOf({ minute, residentMiB, descriptors, threads, outside }: Sample): string {
  const figures = `${residentMiB.toFixed(0)} MiB, ${descriptors} descriptors, ${threads} threads, ${outside.length} things outside`;
  return `minute ${minute.toFixed(1)}: ${figures}; ${work.pods} pods, ${work.pulls} pulls, load ${loadavg()[0]?.toFixed(1) ?? ''}`;
}
