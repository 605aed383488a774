/**
 * `npm run bench`: runs critest's own benchmarks on this daemon and on containerd, alternately in one run,
 * and prints the ratios of their medians. Timings never fail the run. Needs `test/peers/get crictl critest
 * images containerd runc`.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { peers, repository } from '../test/conformance/endpoint.ts';
import { requirePeers, run, runPeer } from '../test/peers/runtimes.ts';
import { runInside } from './run-inside.ts';
import { percentile, readSamples, summed } from './samples.ts';
import type { Samples } from './samples.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '2' },
    only: { type: 'string' },
    parameters: { type: 'string' },
  },
});
requirePeers(['critest', 'critimages', 'containerd', 'runc']);
const parameters = values.parameters ?? join(repository, 'test/peers/bench-params.yaml');
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
run(process.execPath, ['packaging/build.ts', '--bundle-only']);

const critest = (reports: string): string[] => [
  // One seed: the order of the benchmarks decides which layers are present when images are pulled.
  ...[
    '-benchmark',
    '-ginkgo.focus',
    'benchmark',
    '-ginkgo.seed',
    '7',
    '-benchmarking-params-file',
    parameters,
  ],
  ...['-benchmarking-output-dir', reports, '-report-dir', reports, '-ginkgo.no-color'],
];
for (let round = 1; round <= Number(values.rounds); round += 1) {
  for (const runtime of ['portcullis', 'containerd'].filter(
    (name) => values.only === undefined || values.only === name,
  )) {
    const reports = join(folder, runtime, String(round));
    mkdirSync(reports, { recursive: true });
    console.log(`round ${round}: ${runtime} (load ${loadavg()[0]?.toFixed(1) ?? '?'})`);
    if (runtime === 'portcullis')
      runInside([join(peers, 'bin/critest'), ...endpointsOf('SOCKET'), ...critest(reports)]);
    else
      runPeer('containerd', folder, (socket) => [
        join(peers, 'bin/critest'),
        ...endpointsOf(socket),
        ...critest(reports),
      ]);
  }
}

const ours = collect('portcullis');
const theirs = collect('containerd');
console.log(
  `\n${cpus().length} processors, kernel ${release()}; medians in ms (95th percentile), ratio of the medians\n`,
);
console.log('| operation | portcullis | containerd | ratio |\n|---|---|---|---|');
for (const [name, parts] of rows(ours)) {
  const [a, b] = [ours, theirs].map((samples) => summed(samples, parts));
  if (a === undefined || b === undefined || a.length === 0) continue;
  const ratio = b.length === 0 ? '–' : (percentile(a, 0.5) / percentile(b, 0.5)).toFixed(2);
  console.log(`| ${name} | ${format(a)} | ${b.length === 0 ? '–' : format(b)} | ${ratio} |`);
}
rmSync(folder, { recursive: true, force: true });

function rows(samples: Samples): [string, string[]][] {
  const single = [...samples.keys()].map((name): [string, string[]] => [name, [name]]);
  return [
    ...single,
    ['CreateContainer + StartContainer', ['CreateContainer', 'StartContainer']],
    ['StopPod + RemovePod', ['StopPod', 'RemovePod']],
  ];
}

function format(values: readonly number[]): string {
  return `${percentile(values, 0.5).toFixed(1)} (${percentile(values, 0.95).toFixed(1)})`;
}

function collect(runtime: string): Samples {
  const all = new Map<string, number[]>();
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    const reports = join(folder, runtime, String(round));
    if (!existsSync(reports)) continue;
    for (const [name, samples] of readSamples(reports)) all.set(name, [...(all.get(name) ?? []), ...samples]);
  }
  return all;
}

function endpointsOf(socket: string): string[] {
  return ['-runtime-endpoint', `unix://${socket}`, '-image-endpoint', `unix://${socket}`];
}
