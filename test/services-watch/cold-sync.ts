/**
 * `npm run test:services-sync [-- --services N] [--changes N]`: one process follows 45,000 services of a
 * server that speaks the list and watch protocol (`list-server.ts`), from an empty kernel; then changes one
 * at a time; then another program flushes the whole ruleset (README.md).
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { isRefusal, openNetlink } from '../../base/netlink/index.ts';
import { keyBytes } from '../../cni-plugins/services/nftables/elements.ts';
import { readSlots } from '../../cni-plugins/services/nftables/readout.ts';
import { slotSizes } from '../../cni-plugins/services/slots/sizes.ts';
import { bundleWatcher } from './bundled.ts';
import { openKernelEvents } from './kernel-events.ts';
import { bytesOf, podAddress } from './workload.ts';
import { daemonFlags } from '../fixtures/daemon-flags.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '45000' },
    changes: { type: 'string', default: '200' },
  },
});
const [count, changes] = [Number(values.services), Number(values.changes)];
/** Longer than the time in which changes are gathered: each change is delivered alone. */
const apartMs = 30;
const mostSyncSeconds = 5;
const mostChangeMs = 1;
const mostRepairSeconds = 1;

const folder = mkdtempSync(join(tmpdir(), 'portcullis-services-sync-'));
const bundled = await bundleWatcher();
const children: ChildProcess[] = [];
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(bundled.folder, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});

const api = fork(join(import.meta.dirname, 'list-server.ts'), [String(count)]);
children.push(api);
const [port] = (await once(api, 'message')) as [number];
const kubeconfig = join(folder, 'kubeconfig');
writeFileSync(
  kubeconfig,
  JSON.stringify({
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c' } }],
    clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
  }),
);

const logFile = join(folder, 'watcher.log');
const log = openSync(logFile, 'a');
let begun = performance.now();
const watcher = fork(bundled.program, [kubeconfig, join(folder, 'network.db')], {
  execArgv: [
    ...(process.env['PROFILE'] === undefined
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${process.env['PROFILE']}`]),
    ...daemonFlags,
  ],
  env: { ...process.env, MALLOC_ARENA_MAX: '1' },
  stdio: ['ignore', 'inherit', log, 'ipc'],
});
children.push(watcher);
const logged = (text: string): boolean => readFileSync(logFile).includes(text);
while (!logged('the services of the cluster are in force')) {
  assert.equal(watcher.exitCode, null, readFileSync(logFile, 'utf8'));
  await sleep(20);
}
const syncSeconds = (performance.now() - begun) / 1000;
/** User and system time of the whole process, in ms (proc(5), stat: fields 14 and 15, in ticks of 10 ms). */
const cpuOf = (): number => {
  const text = readFileSync(`/proc/${watcher.pid ?? 0}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
};
const syncCpu = cpuOf() / 1000;
const resident = (which: string): number =>
  (Number(
    new RegExp(`${which}:\\s+(\\d+)`, 'u').exec(
      readFileSync(`/proc/${watcher.pid ?? 0}/status`, 'utf8'),
    )?.[1],
  ) *
    1024) /
  1e6;
console.log(
  `${count} services listed and in the kernel after ${syncSeconds.toFixed(1)} s (${syncCpu.toFixed(1)} s of processor time), ${resident('VmHWM').toFixed(0)} MB at most`,
);

// Changes, one at a time. The wait in which changes are gathered is not counted.
// The work that the sync left is done meanwhile.
await sleep(5000);
const events = openKernelEvents();
const lags: number[] = [];
const idle = async (ms: number): Promise<number> => {
  const before = cpuOf();
  await sleep(ms);
  return cpuOf() - before;
};
const restMs = 5000;
const resting = await idle(restMs);
/** Changes the endpoints of services. @returns the processor time of each in ms, without that of resting */
const changeEach = async (
  from: number,
  wait: (addresses: readonly string[]) => Promise<void>,
): Promise<number> => {
  const cpuBefore = cpuOf();
  const begunAt = performance.now();
  for (let turn = from; turn < from + changes; turn++) {
    const addresses = [0, 1, 2].map((at) => podAddress(3 * count + 100 + 3 * turn + at));
    const ended = wait(addresses);
    api.send({ index: 1 + ((turn * 7919) % count), addresses });
    await ended;
  }
  const took = performance.now() - begunAt;
  return (cpuOf() - cpuBefore - (resting * took) / restMs) / changes;
};
const heardMs = await changeEach(0, async ([first = '']) => {
  const asked = performance.now();
  lags.push((await events.seen(bytesOf(first))) - asked);
  await sleep(apartMs);
});
events.close();
lags.sort((a, b) => a - b);
const share = (of: number): string =>
  (lags[Math.min(lags.length - 1, Math.floor(lags.length * of))] ?? NaN).toFixed(1);
// For a program that hears events of nf_tables, the kernel writes each change in the time of the process that
// makes it.
const changeMs = await changeEach(changes, () => sleep(apartMs));
console.log(
  `${changes} changes: ${changeMs.toFixed(2)} ms of processor time each, and ${heardMs.toFixed(2)} ms while a program hears the events of the kernel; in the kernel after p50 / p99 / most ${share(0.5)} / ${share(0.99)} / ${share(1)} ms`,
);

// Another program flushes everything. The first service and the last one are looked at.
const addressOf = (index: number): string => `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
const filter = openNetlink(NETLINK_NETFILTER);
const isServed = (index: number): boolean => {
  const key = keyBytes({ family: 4, address: addressOf(index), protocol: 'tcp', port: 80 });
  try {
    return slotSizes.some((size) => readSlots(filter, 4, key, size).length > 0);
  } catch (thrown) {
    if (!isRefusal(thrown, 'ENOENT')) throw thrown;
    return false;
  }
};
const samples = [1, Math.ceil(count / 2), count];
assert.ok(samples.every(isServed), 'the services are served before the flush');
// The repair may begin before nft has ended, so its end shows in the log.
const isRepaired = (): boolean => logged('they were recreated') && samples.every(isServed);
assert.ok(!isRepaired(), 'nothing was repaired before the flush');
execFileSync('nft', ['flush', 'ruleset']);
begun = performance.now();
while (!isRepaired()) {
  assert.ok(performance.now() - begun < 60_000, 'the services did not come back');
  await sleep(10);
}
const repairSeconds = (performance.now() - begun) / 1000;
console.log(`flushed by another program: all services served again after ${repairSeconds.toFixed(2)} s`);

watcher.send('end');
await once(watcher, 'exit');
const wrong = [
  ...(syncSeconds > mostSyncSeconds ? [`the sync took more than ${mostSyncSeconds} s`] : []),
  ...(changeMs > mostChangeMs ? [`a change took more than ${mostChangeMs} ms`] : []),
  ...(repairSeconds > mostRepairSeconds ? [`the repair took more than ${mostRepairSeconds} s`] : []),
];
for (const one of wrong) console.log(one);
console.log(wrong.length === 0 ? 'ok' : 'FAILED');
process.exit(wrong.length === 0 ? 0 : 1);
