/**
 * `npm run bench:memory [-- --rounds N]`: starts the daemon without pods, from the bundle, and prints
 * its memory from its first answer on.
 */
import './bundle.ts';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { prepareNamespaces, startDaemon } from '../test/conformance/endpoint.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
/** Milliseconds after the first answer. */
const moments = [0, 500, 1000, 2000, 3000, 5000, 10_000];

if (process.env['BENCH_MEMORY_INSIDE'] !== '1') {
  const again = ['-m', '-n', process.execPath, import.meta.filename, '--rounds', values.rounds];
  const env = { ...process.env, BENCH_MEMORY_INSIDE: '1' };
  execFileSync('unshare', again, { stdio: 'inherit', env });
  process.exit(0);
}

prepareNamespaces();
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
chmodSync(folder, 0o711);
mkdirSync(join(folder, 'state'));
const policy = join(folder, 'policy.yaml');
writeFileSync(policy, 'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules: []\n');

/** Memory in bytes: proportional and private (proc_pid_smaps(5)), and resident. */
interface Memory {
  readonly shared: number;
  readonly own: number;
  readonly resident: number;
}
function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (field: string): number =>
    1024 * Number(new RegExp(`^${field}:\\s+(\\d+)`, 'mu').exec(text)?.[1] ?? Number.NaN);
  return { shared: kilobytes('Pss'), own: kilobytes('Pss_Anon'), resident: kilobytes('Rss') };
}

const seen = new Map<number, Memory[]>(moments.map((moment) => [moment, []]));
for (let round = 0; round < Number(values.rounds); round += 1) {
  const daemon = await startDaemon(folder, policy);
  const answered = performance.now();
  for (const moment of moments) {
    await sleep(Math.max(0, moment - (performance.now() - answered)));
    seen.get(moment)?.push(memoryOf(daemon.pid));
  }
  await daemon.stop();
}
rmSync(folder, { recursive: true, force: true });

const mib = (memories: readonly Memory[], of: keyof Memory): string => {
  const sorted = memories.map((memory) => memory[of] / 1024 ** 2).toSorted((a, b) => a - b);
  return `${percentile(sorted, 0.5).toFixed(1)} (${percentile(sorted, 1).toFixed(1)})`;
};
console.log(`\nMiB, median (most) of ${values.rounds} starts; load ${loadavg()[0]?.toFixed(1) ?? '?'}\n`);
console.log(
  '| ms after the first answer | PSS | of this, its own pages | resident |\n| --- | --- | --- | --- |',
);
for (const [moment, memories] of seen)
  console.log(
    `| ${moment} | ${mib(memories, 'shared')} | ${mib(memories, 'own')} | ${mib(memories, 'resident')} |`,
  );
