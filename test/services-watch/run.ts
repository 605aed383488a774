/**
 * `npm run test:services-watch [-- --services N] [--seconds N] [--rate N] [--keep DIR]`: a real
 * kube-apiserver on a real etcd with 5,000 services; one process watches them and programs nf_tables, in its
 * own namespaces (README.md).
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { ServiceList } from '../../cni-plugins/services/control/protocol.ts';
import { buildPeers } from '../fixtures/build-peers.ts';
import { daemonFlags } from '../fixtures/daemon-flags.ts';
import { bundleWatcher } from './bundled.ts';
import { startCluster } from './cluster.ts';
import { openKernelEvents } from './kernel-events.ts';
import { openWire } from './proxy.ts';
import type { WatcherAnswer } from './watcher.ts';
import {
  bytesOf,
  createService,
  deleteService,
  each,
  namespace,
  podAddress,
  serviceName,
  setEndpoints,
} from './workload.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '5000' },
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '50' },
    keep: { type: 'string' },
  },
});
const [count, seconds, rate] = [Number(values.services), Number(values.seconds), Number(values.rate)];
/** In units of 10^6 bytes; resident memory, including its shared part. */
const mostMegabytes = 150;
const mostMs = 1000;

if (!buildPeers(['etcd', 'kube-apiserver'])) process.exit(4);

const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'portcullis-services-watch-'));
mkdirSync(folder, { recursive: true });
// The API server needs its own address, a cluster address needs a route, and a backend needs an address.
for (const command of [
  'link add br0 type bridge',
  'addr add 192.0.2.1/24 dev br0',
  'link set br0 up',
  'route add default dev br0',
  'addr add 192.0.2.10/32 dev lo',
])
  execFileSync('ip', command.split(' '));

const bundled = await bundleWatcher();
process.on('exit', () => rmSync(bundled.folder, { recursive: true, force: true }));
const cluster = await startCluster(folder);
const wire = await openWire(cluster.port);
const events = openKernelEvents();
const ending: ChildProcess[] = [];
process.on('exit', () => {
  for (const child of ending) child.kill('SIGKILL');
});

const logFile = join(folder, 'watcher.log');
const log = openSync(logFile, 'a');
/** Resolves when everything of the cluster is in place: the watcher logs this, and gets no request. */
async function startWatcher(): Promise<ChildProcess> {
  const said = statSync(logFile).size;
  const child = fork(bundled.program, [cluster.kubeconfig(wire.port), join(folder, 'network.db')], {
    execArgv: [...daemonFlags],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    stdio: ['ignore', 'inherit', log, 'ipc'],
  });
  ending.push(child);
  while (!readFileSync(logFile).subarray(said).includes('the services of the cluster are in force')) {
    assert.equal(child.exitCode, null, `the watcher ended: see ${logFile}`);
    await sleep(100);
  }
  return child;
}
async function ask(child: ChildProcess): Promise<WatcherAnswer> {
  const answered = once(child, 'message');
  child.send('ask');
  return ((await answered) as [WatcherAnswer])[0];
}

/**
 * Returns resident memory in megabytes: now, or the peak since the last request of the peak. Answering a
 * request takes more than watching.
 */
const residentOf = ({ pid }: ChildProcess, which: 'VmHWM' | 'VmRSS'): number => {
  const kibibytes = new RegExp(`${which}:\\s+(\\d+)`, 'u').exec(
    readFileSync(`/proc/${pid ?? 0}/status`, 'utf8'),
  )?.[1];
  // 5 resets the peak (proc(5), clear_refs).
  if (which === 'VmHWM') writeFileSync(`/proc/${pid ?? 0}/clear_refs`, '5');
  return (Number(kibibytes ?? NaN) * 1024) / 1e6;
};

/** The contents of the cluster: addresses of pods by service. */
const truth = new Map<number, readonly string[]>();
const clusterAddress = new Map<number, string>();
let nextPod = 0;
const pods = (howMany: number): string[] => Array.from({ length: howMany }, () => podAddress(++nextPod));
async function add(index: number, addresses: readonly string[]): Promise<string> {
  const address = await createService(cluster, index, addresses);
  truth.set(index, addresses);
  clusterAddress.set(index, address);
  return address;
}
async function set(index: number, addresses: readonly string[]): Promise<void> {
  await setEndpoints(cluster, index, addresses);
  truth.set(index, addresses);
}
async function drop(index: number): Promise<void> {
  await deleteService(cluster, index);
  truth.delete(index);
}

const since = (start: number): string => `${((performance.now() - start) / 1000).toFixed(1)} s`;
let start = performance.now();
await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
const indexes = Array.from({ length: count }, (_, index) => index + 1);
await each(indexes, 16, async (index) => void (await add(index, pods(3))));
// Service 0 is real: a server answers.
const backend = createServer((socket) => socket.end('here'));
backend.listen(8080, '192.0.2.10');
await once(backend, 'listening');
const virtual = await add(0, ['192.0.2.10']);
console.log(`${count} services are in the cluster after ${since(start)}`);

start = performance.now();
let watcher = await startWatcher();
const syncSeconds = since(start);
const peaks = [residentOf(watcher, 'VmHWM')];
console.log(`started, listed and in the kernel after ${syncSeconds}`);

/** One connection after another through the virtual address, during all phases. */
const plane = { connections: 0, failures: [] as string[], slowestMs: 0, over: false };
async function connectOnce(): Promise<void> {
  const begun = performance.now();
  const socket = connect({ host: virtual, port: 80, timeout: 2000 });
  const why = await new Promise<string | undefined>((resolve) => {
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('end', () => resolve(text === 'here' ? undefined : `answered ${text}`));
    socket.on('timeout', () => resolve('no answer'));
    socket.on('error', (error) => resolve(error.message));
  });
  socket.destroy();
  plane.connections++;
  plane.slowestMs = Math.max(plane.slowestMs, performance.now() - begun);
  if (why !== undefined) plane.failures.push(why);
}
const connecting = (async () => {
  while (!plane.over) {
    await connectOnce();
    await sleep(20);
  }
})();

/**
 * Times in ms from before the request to the API until the kernel has the change, and from the API's answer.
 */
interface Lag {
  readonly what: string;
  readonly sinceAsked: number;
  readonly sinceAnswered: number;
}
const patienceMs = 60_000;
/**
 * Longer than the grace period of removed services, and than the interval between comparisons of the kernel.
 */
const settleMs = 65_000;
/** Returns the result of `seen`, or throws why it never came. */
async function within(seen: Promise<number>, what: string): Promise<number> {
  const at = await Promise.race([seen, sleep(patienceMs, undefined, { ref: false })]);
  if (at !== undefined) return at;
  const { listed: _listed, ...rest } = await ask(watcher);
  return assert.fail(
    `${what} not in the kernel within ${patienceMs / 1000} s: ${JSON.stringify(rest)}; it reported ${events.messages()} changes`,
  );
}
async function lagOf(what: string, sign: () => Buffer, act: () => Promise<unknown>): Promise<Lag> {
  const asked = performance.now();
  const early = events.seen(sign());
  await act();
  const answered = performance.now();
  const at = await within(early, what);
  return { what, sinceAsked: at - asked, sinceAnswered: Math.max(0, at - answered) };
}
const change = async (index: number): Promise<Lag> => {
  const addresses = pods(3);
  return lagOf(
    'endpoints',
    () => bytesOf(addresses[0]!),
    () => set(index, addresses),
  );
};
let nextService = count;
const create = async (): Promise<Lag> => {
  const index = ++nextService;
  const addresses = pods(3);
  const lag = events.seen(bytesOf(addresses[0]!));
  const asked = performance.now();
  await add(index, addresses);
  const answered = performance.now();
  const at = await within(lag, 'create');
  return { what: 'create', sinceAsked: at - asked, sinceAnswered: Math.max(0, at - answered) };
};
const remove = (index: number): Promise<Lag> =>
  lagOf(
    'delete',
    () => bytesOf(clusterAddress.get(index)!),
    () => drop(index),
  );

// Churn at a steady rate, without waiting for earlier changes.
start = performance.now();
const under: Promise<Lag>[] = [];
const total = rate * seconds;
for (let turn = 0; turn < total; turn++) {
  await sleep(Math.max(0, (turn * 1000) / rate - (performance.now() - start)));
  if (turn % 10 === 8) under.push(create());
  else if (turn % 10 === 9 && turn > 0) under.push(remove(1 + Math.floor(turn / 10)));
  else under.push(change(Math.floor(count / 2) + ((turn * 37) % Math.floor(count / 2))));
}
const took = (performance.now() - start) / 1000;
const lags = await Promise.all(under);
const sorted = (of: (lag: Lag) => number): number[] => lags.map(of).sort((a, b) => a - b);
const at = (list: readonly number[], share: number): number =>
  list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? NaN;
const [asked, answered] = [sorted((lag) => lag.sinceAsked), sorted((lag) => lag.sinceAnswered)];
const figure = (list: readonly number[]): string =>
  `${at(list, 0.5).toFixed(0)} / ${at(list, 0.99).toFixed(0)} / ${at(list, 1).toFixed(0)} ms`;
console.log(
  `${lags.length} changes in ${took.toFixed(1)} s; in the kernel since asked p50/p99/most ${figure(asked)}, since answered ${figure(answered)}`,
);

/** Compares the control socket's services with the cluster's. */
async function compare(): Promise<void> {
  const { listed } = await ask(watcher);
  const { services } = JSON.parse(listed) as ServiceList;
  const found = new Map<string, string>();
  for (const { name, source, backends } of services) {
    // Services that are ending are listed as well.
    if (source === undefined) continue;
    const now = backends
      .filter(({ state, address }) => state === 'in service' && !address.includes(':'))
      .map(({ address }) => address);
    found.set(name, [...new Set(now)].sort().join());
  }
  for (const [index, addresses] of truth)
    assert.equal(
      found.get(`${namespace}/${serviceName(index)}`),
      [...addresses].sort().join(),
      serviceName(index),
    );
  const surplus = [...found.keys()].filter(
    (name) =>
      name.startsWith(namespace) && !name.endsWith('.external') && !truth.has(Number(name.split('-').at(-1))),
  );
  assert.deepEqual(surplus, []);
}
peaks.push(residentOf(watcher, 'VmHWM'));
await sleep(settleMs);
const settled = residentOf(watcher, 'VmRSS');
peaks.push(residentOf(watcher, 'VmHWM'));
await compare();

// The API server is killed: services stay. It is started again: changes arrive.
start = performance.now();
await cluster.killApiServer();
await sleep(3000);
await cluster.startApiServer();
const downSeconds = since(start);
const afterKill = await change(1 + Math.floor(count / 4));
await compare();
console.log(
  `API server killed, back after ${downSeconds}; the next change in the kernel ${afterKill.sinceAsked.toFixed(0)} ms after it was asked for`,
);

// The watcher is disconnected while much changes and etcd compacts: it gets 410, and lists again.
const before = await ask(watcher);
wire.cut();
const missed = Array.from({ length: 20 }, (_, turn) => 1 + Math.floor(count / 3) + turn);
const signs = missed.map((index) => [index, pods(3)] as const);
await each(signs, 4, ([index, addresses]) => set(index, addresses));
const gone = 1 + Math.floor(count / 3) + 40;
await drop(gone);
await cluster.compact();
await cluster.killApiServer();
await cluster.startApiServer();
const seen = [
  ...signs.map(([index, addresses]) => [serviceName(index), events.seen(bytesOf(addresses[0]!))] as const),
  [`${serviceName(gone)}, removed`, events.seen(bytesOf(clusterAddress.get(gone)!))] as const,
];
start = performance.now();
wire.heal();
for (const [what, came] of seen) await within(came, what);
// The kernel shows the last change; removed services leave the list when both lists of the API are complete.
for (const patience = performance.now() + 30_000; ; await sleep(200))
  try {
    await compare();
    break;
  } catch (thrown) {
    if (performance.now() > patience) throw thrown;
  }
const listedAgain = (await ask(watcher)).figures.lists - before.figures.lists;
assert.ok(listedAgain >= 2, `both collections were listed again, not ${listedAgain}`);
console.log(
  `etcd compacted without a watcher: 410, listed ${listedAgain} times again, ${signs.length + 1} missed changes in the kernel ${since(start)} after the connection was restored`,
);

// The watcher is killed: the kernel continues. It is started again: it touches only what changed.
const messagesBefore = events.messages();
watcher.kill('SIGKILL');
await once(watcher, 'exit');
const whileDead = pods(3);
await set(5 + Math.floor(count / 4), whileDead);
start = performance.now();
const back = events.seen(bytesOf(whileDead[0]!));
watcher = await startWatcher();
await back;
peaks.push(residentOf(watcher, 'VmHWM'));
await compare();
const restart = `watcher killed, back and converged after ${since(start)}; the kernel reported ${events.messages() - messagesBefore} changes`;
console.log(restart);

plane.over = true;
await connecting;
const end = await ask(watcher);
watcher.send('end');
await once(watcher, 'exit');
events.close();
wire.close();
backend.close();
await cluster.stop();

const peak = Math.max(...peaks);
const wrong = [
  ...(at(answered, 1) > mostMs
    ? [`a change took ${at(answered, 1).toFixed(0)} ms, more than ${mostMs}`]
    : []),
  ...(peak > mostMegabytes ? [`${peak.toFixed(0)} MB at most, more than ${mostMegabytes}`] : []),
  ...(plane.failures.length > 0
    ? [`${plane.failures.length} connections failed: ${[...new Set(plane.failures)].join('; ')}`]
    : []),
  ...(end.figures.refused > 0 ? [`${end.figures.refused} services were refused`] : []),
];
if (values.keep === undefined && wrong.length === 0) rmSync(folder, { recursive: true });
else console.log(`kept: ${folder}`);
for (const one of wrong) console.log(one);
console.log(
  `${wrong.length === 0 ? 'ok' : 'FAILED'}: ${count} services, ${end.figures.slices} slices, synced in ${syncSeconds}, ${lags.length} changes at ${rate}/s in the kernel after the API's answer ` +
    `p50 / p99 / most ${figure(answered)}; ${peak.toFixed(0)} MB at most (${peaks.map((one) => one.toFixed(0)).join(', ')}: started, churned, settling, started again), ${settled.toFixed(0)} MB settled; ` +
    `${plane.connections} connections through a virtual address, ${plane.failures.length} failed, the slowest ${plane.slowestMs.toFixed(0)} ms`,
);
process.exit(wrong.length === 0 ? 0 : 1);
