/**
 * The suite itself, as the service of a systemd in a container (`run.ts`): prepares the machine, starts our
 * daemon by its unit, and then does what docs/kubelet.md says about minikube.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, cpSync, createWriteStream, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { isNodeReady, until } from '../cluster/nodes/cluster.ts';
import type { NodeObject } from '../cluster/nodes/cluster.ts';
import { makeKey, openPublisher, registryName } from '../fixtures/publisher.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { policyOf } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { imageRegistry, publishControlPlane } from '../kubeadm/images.ts';
import { hostName, homeOf, kubernetesVersion, output, prepareMachine, socket } from './machine.ts';
import { createStepResults } from '../fixtures/step-results.ts';

const [folder = ''] = process.argv.slice(2);
const repository = join(import.meta.dirname, '../..');
const { counts, report } = createStepResults();

prepareMachine(folder);
process.env['HOME'] = '/root';
const registry = await startRegistry();
mkdirSync('/etc/portcullis/policy', { recursive: true });
const publisher = openPublisher(
  registry,
  await makeKey(join(folder, 'k.key'), '/etc/portcullis/policy/kubernetes.pub'),
);
/** minikube 1.36.0 passes a flag that etcd 3.6 no longer has. */
const etcdScript = `#!/bin/sh
for word in "$@"; do
  shift
  case $word in --proxy-refresh-interval=*) ;; *) set -- "$@" "$word" ;; esac
done
exec /usr/local/libexec/etcd "$@"
`;
const minikube = findTool('minikube').path;
const kubectl = (...words: string[]): string => output(minikube, 'kubectl', '--', ...words);
const steps: readonly (readonly [string, () => unknown])[] = [
  ['the unit of the daemon starts, with the shipped policy for kube-system', startDaemonUnit],
  ['the images that kubeadm names are signed', publishImages],
  ['minikube start creates a cluster from signed images', start],
  ['the node is Ready, and its runtime is Portcullis', isReady],
  ['a pod from a signed image runs', signedRuns],
  ['a pod from an unsigned image does not start, with the reason in the events', unsignedIsRefused],
  ['minikube start starts a stopped cluster again', stopsAndStarts],
  ['minikube delete leaves no container and no kubelet', deletes],
];
try {
  for (const [name, act] of steps) if (!(await report(name, act))) break;
} finally {
  keepLogs(join(folder, 'logs'));
  await publisher.close();
  await registry.close();
}
console.log(`minikube: ${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 ? 0 : 1);

/** The policy, the mirror and the network of docs/kubelet.md, and a rule for the images of the pods. */
async function startDaemonUnit(): Promise<void> {
  const policy = '/etc/portcullis/policy';
  copyFileSync(join(repository, 'packaging/policies/kubernetes.yaml'), join(policy, 'kubernetes.yaml'));
  writeFileSync(
    join(policy, 'pods.yaml'),
    policyOf(`  - images: ["${registryName}/**"]\n    require: { cosign: { key: kubernetes.pub } }\n`),
  );
  const mirror = { url: registry.url, origin: false };
  writeFileSync(
    '/etc/portcullis/config.yaml',
    JSON.stringify({ registries: { mirrors: { [imageRegistry]: mirror, [registryName]: mirror } } }),
  );
  output('portcullis', 'policy', 'check', policy);
  output('portcullis', 'network', 'create', 'pods', '--subnet', '10.210.0.0/16');
  output('systemctl', 'start', 'portcullisd');
}

/** Signs the images, and puts the programs where minikube looks before it downloads them. */
async function publishImages(): Promise<void> {
  const config = join(folder, 'kubeadm.json');
  writeFileSync(
    config,
    JSON.stringify({
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'ClusterConfiguration',
      kubernetesVersion,
      proxy: { disabled: true },
      dns: { disabled: true },
    }),
  );
  await publishControlPlane(publisher, config, { etcd: etcdScript });
  const cache = join(homeOf(folder), '.minikube/cache/linux/amd64', kubernetesVersion);
  mkdirSync(cache, { recursive: true });
  for (const name of ['kubeadm', 'kubelet', 'kubectl']) copyFileSync(findTool(name).path, join(cache, name));
}

/** The command of docs/kubelet.md, then what this machine requires, which has no internet. */
async function start(): Promise<void> {
  await runMinikube(
    'start',
    ...['--driver=none', '--container-runtime=containerd', `--cri-socket=${socket}`, '--cni=false'],
    '--extra-config=kubeadm.ignore-preflight-errors=ImagePull,SystemVerification',
    // The images of these parts are not among those of test/kubeadm.
    ...['--extra-config=kubeadm.skip-phases=addon/kube-proxy,addon/coredns', '--install-addons=false'],
    '--disable-optimizations',
    ...[`--kubernetes-version=${kubernetesVersion}`, '--force', '--preload=false', '--cache-images=false'],
    '--extra-config=kubelet.fail-cgroupv1=false',
  );
}

/** Runs minikube with its output and its log in a file. @throws with the end of its output */
async function runMinikube(...words: string[]): Promise<void> {
  const child = spawn(minikube, [...words, '--alsologtostderr', '--v=1'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, MINIKUBE_WANTUPDATENOTIFICATION: 'false', MINIKUBE_IN_STYLE: 'false' },
  });
  const log = createWriteStream(join(folder, 'minikube.log'), { flags: 'a' });
  let [text, all] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (some: string) => (text += some));
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (some: string) => {
      all += some;
      log.write(some);
    });
  const [code] = (await once(child, 'close')) as [number | null];
  log.end();
  if (code !== 0)
    throw new Error(`minikube ${words.join(' ')} ended with ${code}:\n${text}\n${all.slice(-4000)}`);
}

async function isReady(): Promise<void> {
  const look = async (): Promise<readonly NodeObject[]> =>
    (JSON.parse(kubectl('get', 'nodes', '-o', 'json')) as { readonly items: readonly NodeObject[] }).items;
  await until('the node is Ready', look, (nodes) => nodes.length === 1 && nodes.every(isNodeReady));
  const runtime = kubectl(
    'get',
    'nodes',
    '-o',
    'jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}',
  );
  assert.match(runtime, /^portcullis:/u);
  assert.equal(kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}'), hostName);
}

async function signedRuns(): Promise<void> {
  const { reference } = await publisher.publish('app/signed:1');
  await until(
    'the namespace has an account',
    async () => kubectl('get', 'serviceaccounts', '-o', 'name'),
    (names) => names.includes('serviceaccount/default'),
  );
  kubectl('run', 'signed', '--image', reference, '--', 'sh', '-c', 'echo started; exec sleep 3600');
  kubectl('wait', 'pod/signed', '--for=condition=Ready', '--timeout=120s');
  await until(
    'the log has the line',
    async () => kubectl('logs', 'signed'),
    (text) => text === 'started\n',
  );
}

async function unsignedIsRefused(): Promise<void> {
  const { reference } = await publisher.publish('app/unsigned:1', {}, { sign: false });
  kubectl('run', 'unsigned', '--image', reference, '--', 'sleep', '3600');
  await until(
    'the pod has an event with the reason',
    async () => kubectl('get', 'events', '-o', 'json', '--field-selector', 'involvedObject.name=unsigned'),
    (text) => text.includes('SignatureValidationFailed'),
  );
  kubectl('delete', 'pod', 'unsigned', '--now');
}

function runningContainers(): readonly string[] {
  return output('crictl', 'ps', '-q')
    .split('\n')
    .filter((id) => id !== '');
}

/** Stops the cluster as docs/kubelet.md says. */
async function stopsAndStarts(): Promise<void> {
  await assert.rejects(runMinikube('stop'), /docker ps/u);
  output('systemctl', 'stop', 'kubelet');
  output('crictl', 'stop', '--timeout', '10', ...runningContainers());
  assert.deepEqual(runningContainers(), []);
  await start();
  await isReady();
  kubectl('wait', 'pod/signed', '--for=condition=Ready', '--timeout=120s');
}

async function deletes(): Promise<void> {
  await runMinikube('delete');
  assert.deepEqual(runningContainers(), []);
  assert.equal(output('crictl', 'pods', '-q'), '');
  assert.equal(existsSync('/etc/kubernetes/manifests/etcd.yaml'), false);
  assert.throws(() => output('systemctl', 'is-active', 'kubelet'));
  // It asks docker here as well, and then omits the last step.
  assert.ok(existsSync('/var/lib/minikube'), 'docs/kubelet.md says that minikube leaves this folder');
}

/** The suite copies them out of the machine, whose /tmp and /var/log are its own. */
function keepLogs(place: string): void {
  mkdirSync(place);
  const minikubeLog = join(folder, 'minikube.log');
  if (existsSync(minikubeLog)) copyFileSync(minikubeLog, join(place, 'minikube.log'));
  if (existsSync('/var/log/pods')) cpSync('/var/log/pods', join(place, 'pods'), { recursive: true });
  for (const unit of ['kubelet', 'portcullisd', 'containerd'])
    writeFileSync(join(place, `${unit}.log`), output('journalctl', '--no-pager', '-u', unit));
}
