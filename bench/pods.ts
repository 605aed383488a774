/**
 * `npm run bench:pods`: one client drives this daemon, containerd and CRI-O in turn, in one run. Measures
 * pods and containers one after another, the time until the kernel holds nothing of them, memory with 50
 * pods, and 100 pods at once. Prints ratios. Timings never fail the run. Needs `test/peers/get crictl critest
 * images containerd runc crio`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { PodFigures } from './pods-figures.ts';
import { makeCgroupRoot } from '../test/fixtures/kubelet/cgroup-root.ts';
import { requirePeers, run, runPeer } from '../test/peers/runtimes.ts';
import { runInside } from './run-inside.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const names = ['portcullis', 'containerd', 'crio'].filter(
  (name) => values.only === undefined || values.only.split(',').includes(name),
);
requirePeers([
  'critimages',
  'crictl',
  ...(names.includes('containerd') ? ['containerd', 'runc'] : []),
  ...(names.includes('crio') ? ['crio', 'pinns'] : []),
]);
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
run(process.execPath, ['packaging/build.ts', '--bundle-only']);

const results = new Map<string, PodFigures>();
for (const name of names) {
  console.log(`${name} (load ${loadavg()[0]?.toFixed(1) ?? '?'})`);
  const driver = (socket: string): string[] => [
    process.execPath,
    join(import.meta.dirname, 'pods-driver.ts'),
    socket,
    name,
    join(folder, name),
  ];
  // A kubelet removes the cgroups of pods; the runtimes do not.
  const cgroups = makeCgroupRoot('cgroupfs', `pc-bench-${name}`);
  const printed =
    name === 'portcullis'
      ? runInside(driver('SOCKET'))
      : runPeer(name as 'containerd' | 'crio', folder, driver);
  cgroups.remove();
  const line = printed.split('\n').find((one) => one.startsWith('::figures '));
  if (line !== undefined) results.set(name, JSON.parse(line.slice('::figures '.length)) as PodFigures);
}
rmSync(folder, { recursive: true, force: true });

const rows: [string, (figures: PodFigures) => number][] = [
  ...Object.keys(results.values().next().value?.samples ?? {}).map(
    (name): [string, (figures: PodFigures) => number] => [
      `${name}, ms`,
      (figures) => percentile(figures.samples[name] ?? [], 0.5),
    ],
  ),
  ['memory without pods, MB', ({ idle }) => idle / 2 ** 20],
  ['memory with 50 pods, MB', ({ withFifty }) => withFifty / 2 ** 20],
  ['100 pods at once: all run, ms', ({ hundredUp }) => hundredUp],
  ['100 pods at once: all removed, ms', ({ hundredGone }) => hundredGone],
  ['100 pods at once: until the kernel shows nothing, ms', ({ hundredSilent }) => hundredSilent],
];
console.log(
  `\n${cpus().length} processors, kernel ${release()}; medians; in brackets our ratio to that peer\n`,
);
console.log(`| what | ${names.join(' | ')} |\n|---|${names.map(() => '---|').join('')}`);
for (const [what, of] of rows) {
  const ours = results.get('portcullis');
  const cells = names.map((name) => {
    const figures = results.get(name);
    if (figures === undefined) return '–';
    const ratio =
      ours === undefined || name === 'portcullis' ? '' : ` (${(of(ours) / of(figures)).toFixed(2)})`;
    return `${of(figures).toFixed(1)}${ratio}`;
  });
  console.log(`| ${what} | ${cells.join(' | ')} |`);
}
