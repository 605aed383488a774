/**
 * `npm run bench:critest [-- --rounds N] [--focus REGEX]`: runs the whole of critest on this daemon N times
 * in a row, and once on containerd in the same run. Prints what passed, and how long each run took. Needs
 * `test/peers/get crictl critest images containerd runc`.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { peers } from '../test/conformance/endpoint.ts';
import { summarise } from '../test/conformance/report.ts';
import { requirePeers, run, runPeer } from '../test/peers/runtimes.ts';
import { runInside } from './run-inside.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, focus: { type: 'string' } },
});
requirePeers(['critest', 'critimages', 'containerd', 'runc']);
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
run(process.execPath, ['packaging/build.ts', '--bundle-only']);

const critest = (socket: string, reports: string): string[] => [
  ...[
    join(peers, 'bin/critest'),
    '-runtime-endpoint',
    `unix://${socket}`,
    '-image-endpoint',
    `unix://${socket}`,
    '-ginkgo.no-color',
  ],
  // The digest in that spec belongs to an image that cannot be built again.
  ...[
    '-ginkgo.skip',
    'public image with digest',
    '-ginkgo.seed',
    '7',
    '-ginkgo.json-report',
    join(reports, 'report.json'),
  ],
  ...(values.focus === undefined ? [] : ['-ginkgo.focus', values.focus]),
];
console.log(`${cpus().length} processors, kernel ${release()}, load ${loadavg()[0]?.toFixed(1) ?? '?'}\n`);
console.log('| run | passed | failed | seconds |\n|---|---|---|---|');
const runtimes = ['containerd', ...Array.from({ length: Number(values.rounds) }, () => 'portcullis')];
for (const [round, runtime] of runtimes.entries()) {
  const reports = join(folder, String(round));
  mkdirSync(reports);
  if (runtime === 'portcullis') runInside(critest('SOCKET', reports));
  else runPeer('containerd', folder, (socket) => critest(socket, reports));
  const report: unknown = JSON.parse(readFileSync(join(reports, 'report.json'), 'utf8'));
  const { passed, failed } = summarise(report, (spec) => !spec.includes('public image with digest'));
  const [suite] = report as readonly { readonly RunTime: number }[];
  console.log(`| ${runtime} | ${passed} | ${failed} | ${((suite?.RunTime ?? 0) / 1e9).toFixed(0)} |`);
}
rmSync(folder, { recursive: true, force: true });
