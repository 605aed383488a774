/**
 * `npm run test:policy-watch [-- --pods N] [--policies N] [--keep DIR]`: a real kube-apiserver on a real etcd
 * with 5,000 pods and 500 NetworkPolicies; one process follows them and programs nf_tables for its pods, in
 * its own namespaces (README.md).
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { findTool } from '../fixtures/tools.ts';
import { daemonFlags } from '../fixtures/daemon-flags.ts';
import { startCluster } from '../services-watch/cluster.ts';
import { openKernelEvents } from '../services-watch/kernel-events.ts';
import { openWire } from '../services-watch/proxy.ts';
import { each } from '../services-watch/workload.ts';
import { createAccess } from './access.ts';
import { bundleWatcher } from './bundled.ts';
import type { OwnPod, WatcherAnswer } from './watcher.ts';
import {
  appOf,
  bytesOf,
  createPod,
  namespaceName,
  namespaceOf,
  podAddress,
  podBase,
  policyApps,
  policyBase,
  policyOf,
  setStatus,
} from './workload.ts';
import type { PaperPod, Sizes } from './workload.ts';

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '5000' },
    policies: { type: 'string', default: '500' },
    keep: { type: 'string' },
  },
});
const sizes: Sizes = {
  namespaces: 100,
  pods: Number(values.pods),
  policies: Number(values.policies),
  own: 10,
};
/** In units of 10^6 bytes; resident memory, including its shared part. */
const mostMegabytes = 200;
const mostMs = 1000;
const patienceMs = 60_000;
const nodeName = 'node-1';

const missing = ['etcd', 'kube-apiserver'].filter((tool) => findTool(tool).skip !== false);
if (missing.length > 0) {
  console.log(`skipped 1: ${missing.join(' and ')} missing (test/peers/get ${missing.join(' ')})`);
  process.exit(0);
}

const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'portcullis-policy-watch-'));
mkdirSync(folder, { recursive: true });
// The API server needs its own address.
for (const command of [
  'link add up0 type bridge',
  'addr add 192.0.2.1/24 dev up0',
  'link set up0 up',
  'route add default dev up0',
])
  execFileSync('ip', command.split(' '));

const since = (start: number): string => `${((performance.now() - start) / 1000).toFixed(1)} s`;
const bundled = await bundleWatcher();
process.on('exit', () => rmSync(bundled.folder, { recursive: true, force: true }));
const cluster = await startCluster(folder);
const wire = await openWire(cluster.port);
const access = await createAccess(cluster, folder, wire.port);
const events = openKernelEvents();
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

const log = openSync(join(folder, 'watcher.log'), 'a');
async function startWatcher(): Promise<ChildProcess> {
  const child = fork(bundled.program, [access.kubeconfig, folder, nodeName], {
    execArgv: [...daemonFlags],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    stdio: ['ignore', 'inherit', log, 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child, 'message');
  return child;
}
async function ask(child: ChildProcess, question: 'ask' | readonly OwnPod[] = 'ask'): Promise<WatcherAnswer> {
  const answered = once(child, 'message');
  child.send(question);
  return ((await answered) as [WatcherAnswer])[0];
}
async function synced(child: ChildProcess): Promise<void> {
  for (const end = performance.now() + patienceMs; performance.now() < end; await sleep(50)) {
    const { cluster: known } = (await ask(child)).policies;
    if (known?.synced === true && known.pods >= truth.size && known.away === undefined) return;
  }
  assert.fail('the cluster did not arrive');
}
const residentOf = ({ pid }: ChildProcess, which: 'VmHWM' | 'VmRSS'): number => {
  const text = readFileSync(`/proc/${pid ?? 0}/status`, 'utf8');
  return (Number(new RegExp(`${which}:\\s+(\\d+)`, 'u').exec(text)?.[1] ?? NaN) * 1024) / 1e6;
};

// The cluster.
let start = performance.now();
const truth = new Map<string, PaperPod>();
await each([...Array(sizes.namespaces).keys()], 8, async (index) => {
  await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: namespaceName(index) } });
});
let nextAddress = 0;
const add = async (pod: PaperPod): Promise<void> => {
  await createPod(cluster, pod);
  truth.set(pod.name, pod);
};
await each([...Array(sizes.pods).keys()], 16, async (index) => {
  await add({
    ...{ name: `pod-${index}`, namespace: namespaceOf(index, sizes), app: appOf(index) },
    ...{ address: podAddress(++nextAddress), node: `node-${2 + (index % 200)}` },
  });
});
await each([...Array(sizes.policies).keys()], 8, async (index) => {
  await cluster.ask('POST', policyBase(namespaceName(index % sizes.namespaces)), policyOf(index, sizes));
});
console.log(`${sizes.pods} pods and ${sizes.policies} policies created in ${since(start)}`);

// The node.
start = performance.now();
let watcher = await startWatcher();
await synced(watcher);
const syncSeconds = since(start);
const own: OwnPod[] = [];
for (let index = 0; index < sizes.own; index++) {
  const pod = { name: `own-${index}`, namespace: namespaceName(index), app: appOf(0) };
  const uid = await createPod(cluster, { ...pod, address: '', node: nodeName }).catch(async () => {
    // A pod without an address has no status yet.
    const { metadata } = (await cluster.ask('GET', `${podBase(pod.namespace)}/${pod.name}`)) as {
      metadata: { uid: string };
    };
    return metadata.uid;
  });
  own.push({ ...pod, uid, labels: { app: pod.app } });
}
const { addresses } = await ask(watcher, own);
for (const { name, namespace } of own) {
  const address = addresses[name] ?? '';
  await setStatus(cluster, { namespace, name }, { phase: 'Running', address });
  truth.set(name, { name, namespace, app: appOf(0), address, node: nodeName });
}

/** Returns the members of each group in the kernel, one line a group. */
function kernelGroups(): string[] {
  const { nftables } = JSON.parse(
    execFileSync('nft', ['-j', 'list', 'table', 'inet', 'portcullis_rules'], {
      encoding: 'utf8',
      maxBuffer: 256 * 1024 * 1024,
    }),
  ) as { nftables: { set?: { name: string; elem?: string[] } }[] };
  return nftables
    .flatMap(({ set }) =>
      set?.name.startsWith('pods4_') === true ? [(set.elem ?? []).toSorted().join()] : [],
    )
    .toSorted();
}
/** Returns the expected groups, from the objects that were written to the API. */
function rightGroups(): string[] {
  const groups = new Map<string, string[]>();
  for (let index = 0; index < sizes.policies; index++) {
    const namespace = namespaceName(index % sizes.namespaces);
    const [selected, from] = policyApps(index, sizes);
    if (!own.some((pod) => pod.namespace === namespace && pod.labels['app'] === selected)) continue;
    groups.set(
      `${namespace} ${from}`,
      [...truth.values()]
        .filter((pod) => pod.namespace === namespace && pod.app === from)
        .map(({ address }) => address)
        .toSorted(),
    );
  }
  return [...groups.values()].map((group) => group.join()).toSorted();
}
async function compare(): Promise<void> {
  for (const end = performance.now() + 20_000; ; await sleep(100))
    try {
      assert.deepEqual(kernelGroups(), rightGroups());
      return;
    } catch (thrown) {
      if (performance.now() > end) throw thrown;
    }
}
await compare();

// Changes, and when the kernel had them.
const patient = async (seen: Promise<number>, what: string): Promise<number> =>
  (await Promise.race([seen, sleep(patienceMs, undefined, { ref: false })])) ??
  assert.fail(`${what} not in the kernel within ${patienceMs / 1000} s`);
const lagOf = async (what: string, bytes: Buffer, act: () => Promise<unknown>): Promise<number> => {
  const seen = events.seen(bytes);
  await act();
  const answered = performance.now();
  return Math.max(0, (await patient(seen, what)) - answered);
};
let nextBlock = 0;
const changePolicy = (): Promise<number> => {
  const index = nextBlock % sizes.own;
  nextBlock += 1;
  const block = `203.0.${nextBlock >> 8}.${nextBlock & 255}`;
  return lagOf('policy', bytesOf(block), () =>
    cluster.ask(
      'PUT',
      `${policyBase(namespaceName(index))}/policy-${index}`,
      policyOf(index, sizes, `${block}/32`),
    ),
  );
};
/** Pods of the first namespaces that policies of the node's pods name. */
const peersOfOwn = [...truth.values()].filter(
  ({ namespace, app, name }) =>
    name.startsWith('pod-') && app === appOf(1) && own.some((pod) => pod.namespace === namespace),
);
let turn = 0;
const changePod = (): Promise<number> => {
  const pod = peersOfOwn[turn++ % peersOfOwn.length];
  assert.ok(pod !== undefined);
  const address = podAddress(++nextAddress);
  truth.set(pod.name, { ...pod, address });
  return lagOf('pod', bytesOf(address), () => setStatus(cluster, pod, { phase: 'Running', address }));
};
const endPod = (): Promise<number> => {
  const pod = peersOfOwn[turn++ % peersOfOwn.length];
  const known = truth.get(pod?.name ?? '');
  assert.ok(pod !== undefined && known !== undefined);
  truth.delete(pod.name);
  return lagOf('end of a pod', bytesOf(known.address), () =>
    setStatus(cluster, pod, { phase: 'Succeeded', address: known.address }),
  );
};
const lags: Record<string, number[]> = { policy: [], pod: [], end: [] };
for (let index = 0; index < 30; index++) {
  lags['policy']?.push(await changePolicy());
  lags['pod']?.push(await changePod());
}
for (let index = 0; index < 10; index++) lags['end']?.push(await endPod());
peersOfOwn.splice(0, peersOfOwn.length, ...peersOfOwn.filter(({ name }) => truth.has(name)));
const worst = (list: readonly number[]): string =>
  `${[...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]?.toFixed(0)} / ${Math.max(...list).toFixed(0)} ms`;
await compare();
const peaks = [residentOf(watcher, 'VmHWM')];

// Many changes of all pods at once.
start = performance.now();
await each(
  [...truth.values()].filter(({ name }) => name.startsWith('pod-')).slice(0, 1000),
  16,
  async (pod) => {
    const address = podAddress(++nextAddress);
    truth.set(pod.name, { ...pod, address });
    await setStatus(cluster, pod, { phase: 'Running', address });
  },
);
const churnSeconds = since(start);
await compare();
console.log(`1,000 pods changed in ${churnSeconds}, compared after ${since(start)}`);

// The API server is killed: policies stay. It is started again: changes arrive.
await cluster.killApiServer();
await sleep(3000);
assert.notDeepEqual(kernelGroups(), []);
assert.notEqual((await ask(watcher)).policies.cluster?.away, undefined);
await cluster.startApiServer();
console.log(
  `API server killed and back; the next change in the kernel after ${(await changePolicy()).toFixed(0)} ms`,
);
await compare();

// Nothing is watched while pods and policies change and etcd compacts: 410, and a new list.
const before = (await ask(watcher)).policies.cluster?.lists ?? 0;
wire.cut();
const missed = peersOfOwn.slice(0, 10);
for (const pod of missed) {
  truth.delete(pod.name);
  await cluster.ask('DELETE', `${podBase(pod.namespace)}/${pod.name}?gracePeriodSeconds=0`);
}
await cluster.compact();
await cluster.killApiServer();
await cluster.startApiServer();
start = performance.now();
wire.heal();
peersOfOwn.splice(0, missed.length);
await changePod();
await compare();
const listed = ((await ask(watcher)).policies.cluster?.lists ?? 0) - before;
console.log(`etcd compacted while nothing was watched: ${listed} lists, compared after ${since(start)}`);
assert.ok(listed >= 1);

// The token is replaced, and the former one is invalid.
await access.renewToken();
wire.cut();
await sleep(200);
wire.heal();
start = performance.now();
await changePod();
console.log(`token replaced and the connection cut: the next change in the kernel after ${since(start)}`);
await compare();
peaks.push(residentOf(watcher, 'VmHWM'));

// The watcher is killed and started while the API server is away: the stored state is in force.
await sleep(12_000);
await cluster.killApiServer();
watcher.kill('SIGKILL');
await once(watcher, 'exit');
start = performance.now();
watcher = await startWatcher();
assert.equal((await ask(watcher)).policies.cluster?.synced, false);
await compare();
console.log(`watcher killed and started without the API server: compared after ${since(start)}`);
await cluster.startApiServer();
await changePolicy();
await changePod();
await compare();
peaks.push(residentOf(watcher, 'VmHWM'));
const settled = residentOf(watcher, 'VmRSS');

const { policies } = await ask(watcher);
watcher.send('end');
await once(watcher, 'exit');
events.close();
wire.close();
await cluster.stop();

const peak = Math.max(...peaks);
const slowest = Math.max(...Object.values(lags).flat());
const wrong = [
  ...(slowest > mostMs ? [`a change took ${slowest.toFixed(0)} ms, more than ${mostMs}`] : []),
  ...(peak > mostMegabytes ? [`${peak.toFixed(0)} MB at most, more than ${mostMegabytes}`] : []),
  ...(policies.problems.length > 0 ? policies.problems : []),
];
for (const { name } of own) execFileSync('umount', [join(folder, `netns-${name}`)]);
if (values.keep === undefined && wrong.length === 0) rmSync(folder, { recursive: true });
else console.log(`kept: ${folder}`);
for (const one of wrong) console.log(one);
console.log(
  `${wrong.length === 0 ? 'ok' : 'FAILED'}: ${sizes.pods} pods, ${sizes.policies} policies, synced in ${syncSeconds}; in the kernel after the API's answer, p50 / most: ` +
    `policy ${worst(lags['policy'] ?? [])}, pod ${worst(lags['pod'] ?? [])}, end of a pod ${worst(lags['end'] ?? [])}; ` +
    `${peak.toFixed(0)} MB at most (${peaks.map((one) => one.toFixed(0)).join(', ')}), ${settled.toFixed(0)} MB at the end`,
);
process.exit(wrong.length === 0 ? 0 : 1);
