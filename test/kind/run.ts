/**
 * `npm run test:kind [-- --keep-logs DIR]`: creates a cluster by kind on a node image with our daemon
 * (README.md).
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isNodeReady, openSegment, until } from '../cluster/nodes/cluster.ts';
import type { NodeObject } from '../cluster/nodes/cluster.ts';
import { buildPrograms } from '../cluster/programs.ts';
import { buildPeers } from '../fixtures/build-peers.ts';
import { runProgram } from '../fixtures/command.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { makeKey, openPublisher } from '../fixtures/publisher.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';
import { lasting, leftovers } from '../house/leftovers.ts';
import { controlPlanePrograms, publishControlPlane } from '../kubeadm/images.ts';
import { buildNodeRoot, debianRoot, kubernetesVersion } from './node-image.ts';
import { createStepResults } from '../fixtures/step-results.ts';

const { values } = parseArgs({ options: { 'keep-logs': { type: 'string' } } });
buildPrograms(['kind', 'kubeadm', 'kubelet', 'kubectl', 'crictl', ...controlPlanePrograms]);
const absent = [
  ...(existsSync(join(debianRoot, 'etc/os-release')) ? [] : ['kind-root']),
  ...(findDocker().skip === false ? [] : ['docker']),
];
if (absent.length > 0 && !buildPeers(absent)) process.exit(4);

/** The network of docker that kind uses if it exists. */
const network = { name: 'kind', subnet: '172.30.0.0/16', gateway: '172.30.0.1' };
const image = 'portcullis-node:test';
const node = 'kind-control-plane';

const atFirst = leftovers();
const folder = mkdtempSync(join(tmpdir(), 'portcullis-kind-'));
const { counts, report } = createStepResults();
openSegment();
const registry = await startRegistry({ everywhere: true });
const publicKey = join(folder, 'k.pub');
const publisher = openPublisher(registry, await makeKey(join(folder, 'k.key'), publicKey));
let docker: Docker | undefined;
const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['a node image has our daemon in place of containerd', buildImage],
  ['the images that kubeadm names are signed', publishImages],
  ['kind create cluster starts a control plane from signed images', create],
  ['the node is Ready, and its runtime is Portcullis', isReady],
  ['a pod from a signed image runs', signedRuns],
  ['a pod from an unsigned image does not start, with the reason in the events', unsignedIsRefused],
  ['kind delete cluster leaves no container', deletes],
];
try {
  for (const [name, act] of steps) if (!(await report(name, act))) break;
} finally {
  if (values['keep-logs'] !== undefined) await keepLogs(values['keep-logs']);
  await docker?.end();
  await publisher.close();
  await registry.close();
  rmSync(folder, { recursive: true, force: true });
}
const left = (await lasting(atFirst)).filter((line) => line.includes(folder));
for (const one of left) console.log(`left behind: ${one}`);
console.log(`kind: ${counts.passed} passed, ${counts.failed} failed; ${left.length} left behind`);
process.exit(counts.failed === 0 && left.length === 0 ? 0 : 1);

function running(): Docker {
  assert.ok(docker, 'docker was not started');
  return docker;
}

async function buildImage(): Promise<void> {
  const mirror = `http://${network.gateway}:${registry.host.split(':').at(-1)}`;
  const archive = await buildNodeRoot(folder, mirror, publicKey);
  mkdirSync(join(folder, 'docker'));
  const flags = ['--add-runtime', `here=${runtimeForThisMachine()}`, '--default-runtime', 'here'];
  docker = await startDocker({ folder: join(folder, 'docker'), ownFirewall: true, flags });
  const changes = ['ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]', 'ENV container=docker'].flatMap(
    (change) => ['--change', change],
  );
  await docker.ok('import', ...changes, archive, image);
  rmSync(archive);
  await docker.ok(
    'network',
    'create',
    '--subnet',
    network.subnet,
    '--gateway',
    network.gateway,
    network.name,
  );
}

/**
 * Docker gives a privileged container every capability of the kernel, and runc fails if the machine itself
 * lacks one. Writes a script that removes those from the configuration of containers and of their processes,
 * and starts runc.
 */
function runtimeForThisMachine(): string {
  const mask = BigInt(`0x${/^CapBnd:\s*(\S+)/mu.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''}`);
  const names = execFileSync('capsh', ['--decode=1ffffffffff'], { encoding: 'utf8' });
  const lacking = names
    .trim()
    .replace(/^.*=/u, '')
    .split(',')
    .filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 0n)
    .map((name) => name.toUpperCase());
  const removals = lacking.map((name) => `-e 's/"${name}",//g' -e 's/,"${name}"//g'`).join(' ');
  const file = join(folder, 'runc');
  writeFileSync(
    file,
    [
      '#!/bin/sh',
      'previous=',
      'for word in "$@"; do',
      '  case $previous in --bundle) file=$word/config.json ;; --process) file=$word ;; *) file= ;; esac',
      ...(removals === '' ? [] : [`  [ -z "$file" ] || sed -i ${removals} "$file"`]),
      '  previous=$word',
      'done',
      `exec ${findDocker().bin('runc')} "$@"`,
      '',
    ].join('\n'),
    { mode: 0o755 },
  );
  if (lacking.length > 0) console.log(`this machine lacks ${lacking.join(', ')}: its containers do too`);
  return file;
}

async function publishImages(): Promise<void> {
  const config = join(folder, 'kubeadm.json');
  const apiVersion = 'kubeadm.k8s.io/v1beta4';
  const parts = { proxy: { disabled: true }, dns: { disabled: true } };
  writeFileSync(
    config,
    JSON.stringify({ apiVersion, kind: 'ClusterConfiguration', kubernetesVersion, ...parts }),
  );
  await publishControlPlane(publisher, config);
}

/** Runs kind. @throws with the end of its output */
async function kind(...words: string[]): Promise<string> {
  const { code, output, stdout } = await runProgram(
    findTool('kind').path,
    words,
    { ...running().environment, KUBECONFIG: join(folder, 'kubeconfig') },
    folder,
  );
  if (code !== 0) throw new Error(`kind ${words.join(' ')} ended with ${code}: ${output.slice(-6000)}`);
  return stdout;
}

async function create(): Promise<void> {
  const config = join(folder, 'kind.json');
  writeFileSync(
    config,
    JSON.stringify({
      kind: 'Cluster',
      apiVersion: 'kind.x-k8s.io/v1alpha4',
      networking: { disableDefaultCNI: true, kubeProxyMode: 'none', ipFamily: 'ipv4' },
      kubeadmConfigPatches: [
        'kind: ClusterConfiguration\ndns: { disabled: true }',
        'kind: KubeletConfiguration\nfailCgroupV1: false',
      ],
    }),
  );
  await kind('create', 'cluster', '--image', image, '--config', config, '--retain', '-v', '3');
}

function kubectl(...words: string[]): Promise<string> {
  return running().ok('exec', node, 'kubectl', ...words);
}

async function isReady(): Promise<void> {
  const look = async (): Promise<readonly NodeObject[]> =>
    (JSON.parse(await kubectl('get', 'nodes', '-o', 'json')) as { readonly items: readonly NodeObject[] })
      .items;
  await until('the node is Ready', look, (nodes) => nodes.length === 1 && nodes.every(isNodeReady));
  const path = 'jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}';
  assert.match(await kubectl('get', 'nodes', '-o', path), /^portcullis:/u);
}

async function signedRuns(): Promise<void> {
  const { reference } = await publisher.publish('app/signed:1');
  await until(
    'the namespace has an account',
    () => kubectl('get', 'serviceaccounts', '-o', 'name'),
    (names) => names.includes('serviceaccount/default'),
  );
  await kubectl('run', 'signed', '--image', reference, '--', 'sh', '-c', 'echo started; exec sleep 3600');
  await kubectl('wait', 'pod/signed', '--for=condition=Ready', '--timeout=120s');
  await until(
    'the log has the line',
    () => kubectl('logs', 'signed'),
    (text) => text === 'started',
  );
}

async function unsignedIsRefused(): Promise<void> {
  const { reference } = await publisher.publish('app/unsigned:1', {}, { sign: false });
  await kubectl('run', 'unsigned', '--image', reference, '--', 'sleep', '3600');
  await until(
    'the pod has an event with the reason',
    () => kubectl('get', 'events', '-o', 'json', '--field-selector', 'involvedObject.name=unsigned'),
    (text) => text.includes('SignatureValidationFailed'),
  );
}

async function deletes(): Promise<void> {
  await kind('delete', 'cluster');
  assert.equal(await running().ok('ps', '--all', '--quiet'), '');
}

async function keepLogs(place: string): Promise<void> {
  if (docker === undefined) return;
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'docker.log'), docker.log());
  writeFileSync(join(place, 'node.log'), (await docker.run('logs', node)).output);
  for (const unit of ['kubelet', 'portcullisd']) {
    const { output } = await docker.run('exec', node, 'journalctl', '--no-pager', '-u', unit);
    writeFileSync(join(place, `${unit}.log`), output);
  }
}
