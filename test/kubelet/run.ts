/**
 * `npm run test:kubelet [-- --focus REGEX] [--keep-logs DIR] [--without-qos] [--driver systemd] [--gates
 * NAME,…]`: a real kubelet, standalone with static pods, on the daemon's socket, in private namespaces
 * (README.md).
 */
import '../fixtures/private-namespaces.ts';
import { spawnSync } from 'node:child_process';
import type { StdioOptions } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPeers } from '../fixtures/build-peers.ts';
import { layerOf } from '../fixtures/image.ts';
import { openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { writeRun } from '../specification/events.ts';
import { beginJournal, readJournal } from '../specification/journal.ts';
import type { Check, Features, Images, Node } from './checks/check.ts';
import { aloneChecks } from './checks/serial.ts';
import { lifeChecks } from './checks/life.ts';
import { networkChecks } from './checks/network.ts';
import { probeChecks } from './checks/probes.ts';
import { securityChecks } from './checks/security.ts';
import { statsChecks } from './checks/stats.ts';
import { streamChecks } from './checks/streams.ts';
import { volumeChecks } from './checks/volumes.ts';
import { findings } from '../fixtures/kubelet/findings.ts';
import { makeCgroupRoot } from '../fixtures/kubelet/cgroup-root.ts';
import { prepareNode, startKubelet } from './node/node.ts';
import { patience } from '../fixtures/kubelet/patience.ts';
import { staticPods } from './node/pods.ts';
import { added, idsIn, remainsOfPods, standing, untilNothingRemains } from './leftovers.ts';

const { values } = parseArgs({
  options: {
    focus: { type: 'string' },
    'keep-logs': { type: 'string' },
    'without-qos': { type: 'boolean', default: false },
    driver: { type: 'string', default: 'cgroupfs' },
    /**
     * Feature gates of the kubelet to enable, such as `CRIListStreaming`. The races of EventedPLEG are
     * reported as RUNTIME_CONTAINER_NAME_TAKEN.
     */
    gates: { type: 'string', default: '' },
    /**
     * A file for the state changes of the daemon's records. `npm run test:spec -- --trace FILE` checks it.
     */
    trace: { type: 'string' },
  },
});
const driver = values.driver === 'systemd' ? 'systemd' : 'cgroupfs';
const repository = join(import.meta.dirname, '../..');
/** How many checks run concurrently. In an emulated machine, too many starve each other. */
const width = process.env['IN_VM'] === undefined ? Infinity : 3;
/** The garbage collector of the kubelet runs once a minute. */
const removalPatienceMs = patience(150_000);

if (!buildPeers(['kubelet'])) process.exit(4);

// In an emulated machine the caller has built before, because a build is slow there.
if (process.env['IN_VM'] === undefined) {
  const options = { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'] satisfies StdioOptions };
  const built = spawnSync(
    process.execPath,
    [join(repository, 'packaging/build.ts'), '--bundle-only'],
    options,
  );
  if (built.status !== 0) process.exit(built.status ?? 4);
}

const policy = policyOf(
  `  - images: ["${registryName}/app/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n` +
    `  - images: ["${registryName}/narrow/**"]\n    require: { cosign: { key: k.pub } }\n`,
);
const all: readonly Check[] = [
  ...lifeChecks,
  ...probeChecks,
  ...volumeChecks,
  ...networkChecks,
  ...securityChecks,
  ...streamChecks,
  ...statsChecks,
  ...aloneChecks,
];

const atFirst = standing();
const stage = await openStage({
  policy,
  cgroupDriver: driver,
  prepare: (registry) => Promise.resolve({ 'registry.k8s.io': registry.url }),
});
if (values.trace !== undefined) beginJournal(stage.folders.root);
// The shipped example, in addition to the policy of the stage.
copyFileSync(
  join(repository, 'packaging/policies/kubernetes.yaml'),
  join(stage.folders.policy, 'kubernetes.yaml'),
);
copyFileSync(join(stage.folders.policy, 'k.pub'), join(stage.folders.policy, 'kubernetes.pub'));
await stage.daemon.reload();
const { folder } = stage.folders;
const prepared = prepareNode(folder);
const images = await publishImages(stage);
const features = await featuresOf(stage);
const manifests = join(folder, 'manifests');
const podLogs = join(folder, 'pod-logs');
const cgroupRoot = values['without-qos']
  ? undefined
  : makeCgroupRoot(driver, `portcullis-kubelet-${process.pid}`);
const before = standing();
const gates = values.gates.split(',').filter((name) => name !== '');
const kubelet = await startKubelet({
  configuration: { featureGates: Object.fromEntries(gates.map((name) => [name, true])) },
  ...(cgroupRoot !== undefined && { cgroupRoot: cgroupRoot.path }),
  folder,
  socket: stage.folders.socket,
  manifests,
  podLogs,
});
const pods = staticPods(manifests, folder, kubelet.server);
const node: Node = {
  stage,
  kubelet,
  pods,
  images,
  folder,
  features,
  cgroups: { perQos: cgroupRoot !== undefined, driver },
};

const counts = { passed: 0, failed: 0, skipped: 0 };
const focus = values.focus === undefined ? undefined : new RegExp(values.focus);
const selected = all.filter((check) => focus?.test(check.name) ?? true);
const apply = (check: Check): void => {
  if (check.skip?.(node) === undefined) for (const manifest of check.pods?.(node) ?? []) pods.apply(manifest);
};
const together = selected.filter((check) => check.alone !== true);
for (let at = 0; at < together.length; at += width) {
  const batch = together.slice(at, at + width);
  batch.forEach(apply);
  await Promise.all(batch.map(run));
  if (at + width < together.length) for (const name of pods.names()) pods.remove(name);
}
for (const check of selected.filter((one) => one.alone === true)) {
  apply(check);
  await run(check);
}

for (const name of pods.names()) pods.remove(name);
await report('without manifests, every pod is removed', () => pods.untilGone());
const ids = idsIn(kubelet.log());
const left = [
  ...(await untilNothingRemains(() => remainsOfPods(stage, podLogs, before, ids), removalPatienceMs)),
];
const complaints = [...findings(kubelet.log())];
const held = /^portcullis: ended although .*$/m.exec(stage.daemon.log())?.[0];
if (held !== undefined) complaints.push(held);
for (const one of complaints) console.log(`a complaint: ${one}`);
const lived = kubelet.isAlive() && stage.daemon.isAlive();
await kubelet.stop();
cgroupRoot?.remove();
keepLogs();
if (values.trace !== undefined) writeRun(values.trace, readJournal(stage.folders.root, 'kubelet'));
prepared.close();
let closed = true;
try {
  await stage.close();
} catch (cause) {
  closed = false;
  console.log(`the daemon did not stop cleanly: ${String(cause)}`);
}
left.push(...added(atFirst, standing(ids)));
for (const one of left) console.log(`left behind: ${one}`);
const { passed, failed, skipped } = counts;
console.log(
  `kubelet ${spawnSync(findTool('kubelet').path, ['--version'], { encoding: 'utf8' }).stdout.trim()}: ` +
    `${passed} passed, ${failed} failed, ${skipped} skipped; ${left.length} left behind, ${complaints.length} complaints`,
);
process.exit(failed === 0 && left.length === 0 && complaints.length === 0 && lived && closed ? 0 : 1);

async function run(check: Check): Promise<void> {
  const why = check.skip?.(node);
  if (why === undefined) return report(check.name, () => check.run(node));
  counts.skipped += 1;
  console.log(`skipped: ${check.name}: ${why}`);
}

async function report(name: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
    counts.passed += 1;
    console.log(`✔ ${name}`);
  } catch (cause) {
    counts.failed += 1;
    console.log(`✖ ${name}\n    ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

async function publishImages({ publish }: Stage): Promise<Images> {
  const page = await layerOf([
    { name: 'folder/', type: 'directory', mode: 0o755 },
    { name: 'folder/page', body: 'a page of data\n' },
  ]);
  const clusterOwn = async (name: string): Promise<string> =>
    (await publish(name)).reference.replace(registryName, 'registry.k8s.io');
  return {
    app: (await publish('app/a:1')).reference,
    spare: (await publish('app/spare:1')).reference,
    unsigned: (await publish('app/unsigned:1', {}, { sign: false })).reference,
    data: (await publish('app/data:1', { base: false, layers: [page] })).reference,
    narrow: (await publish('narrow/a:1')).reference,
    agent: await clusterOwn('agents/node-agent:1'),
    etcd: await clusterOwn('etcd:1'),
  };
}

async function featuresOf({ daemon }: Stage): Promise<Features> {
  const { runtimeHandlers } = await daemon.cri.runtime.status({});
  const own = runtimeHandlers.find((one) => one.name === '')?.features;
  return { userNamespaces: own?.userNamespaces ?? false };
}

function keepLogs(): void {
  const kept = values['keep-logs'];
  if (kept === undefined) return;
  mkdirSync(kept, { recursive: true });
  for (const name of ['kubelet.log', 'daemon.log']) copyFileSync(join(folder, name), join(kept, name));
  writeFileSync(join(kept, 'findings.txt'), complaints.join('\n'));
}
