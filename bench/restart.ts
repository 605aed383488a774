/**
 * `npm run bench:restart`: one client restarts this daemon and containerd in turn, in one run, each with 100
 * running pods. Prints ratios. Timings never fail the run. Needs `test/peers/get crictl critest images
 * containerd runc`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RestartFigures } from './restart-figures.ts';
import { makeCgroupRoot } from '../test/fixtures/kubelet/cgroup-root.ts';
import { requirePeers, run, runPeer } from '../test/peers/runtimes.ts';
import { runInside } from './run-inside.ts';
import { percentile } from './samples.ts';

const names = (['portcullis', 'containerd'] as const).filter(
  (name) => process.env['BENCH_ONLY'] === undefined || process.env['BENCH_ONLY'] === name,
);
requirePeers(['critimages', 'crictl', 'containerd', 'runc']);
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
run(process.execPath, ['packaging/build.ts', '--bundle-only']);
const results = new Map<string, RestartFigures>();
for (const name of names) {
  console.log(`${name} (load ${loadavg()[0]?.toFixed(1) ?? '?'})`);
  const driver = (socket: string): string[] => [
    process.execPath,
    join(import.meta.dirname, 'restart-driver.ts'),
    socket,
    name,
    join(folder, name),
  ];
  // A kubelet removes the cgroups of pods; the runtimes do not.
  const cgroups = makeCgroupRoot('cgroupfs', `pc-bench-${name}`);
  const printed = name === 'portcullis' ? runInside(driver('SOCKET')) : runPeer(name, folder, driver);
  cgroups.remove();
  const line = printed.split('\n').find((one) => one.startsWith('::figures '));
  if (line !== undefined) results.set(name, JSON.parse(line.slice('::figures '.length)) as RestartFigures);
}
rmSync(folder, { recursive: true, force: true });
const rows = [
  ['SIGTERM until the process has ended, ms', 'stop'],
  ['started until all is listed, ms', 'listed'],
  ['started until a command and a new pod ran, ms', 'serving'],
] as const;
console.log(
  `\n${cpus().length} processors, kernel ${release()}; median (worst); in brackets our ratio to that peer\n`,
);
console.log(`| what | ${names.join(' | ')} | ratio |\n|---|---|---|---|`);
for (const [what, key] of rows) {
  const cell = (name: string): string => {
    const list = results.get(name)?.[key] ?? [];
    return `${percentile(list, 0.5).toFixed(0)} (${percentile(list, 1).toFixed(0)})`;
  };
  const [ours, theirs] = names.map((name) => percentile(results.get(name)?.[key] ?? [], 0.5));
  console.log(
    `| ${what} | ${names.map(cell).join(' | ')} | ${((ours ?? Number.NaN) / (theirs ?? Number.NaN)).toFixed(2)} |`,
  );
}
