/**
 * `npm run test:kubeadm [-- --keep-logs DIR]`: creates a cluster by kubeadm on this machine, in its own
 * namespaces (README.md).
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { createApiClient, readKubeconfig } from '../../base/kubernetes/index.ts';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import { podRanges } from '../cluster/nodes/addresses.ts';
import { isNodeReady, itemsOf, openSegment, until } from '../cluster/nodes/cluster.ts';
import type { NodeObject } from '../cluster/nodes/cluster.ts';
import { switchBridge } from '../cluster/nodes/namespaces.ts';
import { buildPrograms } from '../cluster/programs.ts';
import type { Answer } from '../fixtures/kubernetes/api.ts';
import { makeKey, openPublisher, registryName } from '../fixtures/publisher.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { policyOf } from '../fixtures/stage.ts';
import { lasting, leftovers } from '../house/leftovers.ts';
import { controlPlanePrograms, imageRegistry, publishControlPlane } from './images.ts';
import { nodeKubeconfig, openMachine } from './machine.ts';
import type { Machine } from './machine.ts';
import { createStepResults } from '../fixtures/step-results.ts';

const { values } = parseArgs({ options: { 'keep-logs': { type: 'string' } } });
const repository = join(import.meta.dirname, '../..');
buildPrograms(['kubeadm', 'kubelet', ...controlPlanePrograms]);

const atFirst = leftovers();
const folder = mkdtempSync(join(tmpdir(), 'portcullis-kubeadm-'));
const { counts, report } = createStepResults();
openSegment();
const registry = await startRegistry({ everywhere: true });
const policyFolder = join(folder, 'policy');
mkdirSync(policyFolder);
const publisher = openPublisher(registry, await makeKey(join(folder, 'k.key'), join(policyFolder, 'k.pub')));
// The control plane runs in the network of its host, with folders of the host.
writeFileSync(
  join(policyFolder, 'policy.yaml'),
  policyOf(
    [
      `  - images: ["${imageRegistry}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`,
      `  - images: ["${registryName}/**"]\n    require: { cosign: { key: k.pub } }\n`,
    ].join(''),
  ),
);
const machines: Machine[] = [];
/** Checks that namespaces on a shared machine cannot pass: the configuration of the kernel, swap, memory. */
const preflight =
  '--ignore-preflight-errors=SystemVerification,Swap,NumCPU,Mem,FileExisting-crictl,FileExisting-conntrack';
const pods = '/api/v1/namespaces/default/pods';
let api: ApiClient | undefined;
try {
  for (const index of [1, 2])
    machines.push(
      await openMachine({
        ...{ index, folder },
        policyFiles: ['policy.yaml', 'k.pub'].map((name) => join(policyFolder, name)),
        registryPort: Number(registry.host.split(':').at(-1)),
      }),
    );
  await runChecks(machines as [Machine, Machine]);
} finally {
  if (values['keep-logs'] !== undefined) keepLogs(values['keep-logs']);
  api?.close();
  for (const machine of machines) await machine.close();
  await publisher.close();
  await registry.close();
  execFileSync('ip', ['link', 'del', switchBridge]);
  rmSync(folder, { recursive: true, force: true });
}
const left = (await lasting(atFirst)).filter((line) => !line.startsWith('process') || line.includes(folder));
for (const one of left) console.log(`left behind: ${one}`);
console.log(`kubeadm: ${counts.passed} passed, ${counts.failed} failed; ${left.length} left behind`);
process.exit(counts.failed === 0 && left.length === 0 ? 0 : 1);

/** Each step needs the steps before it: the first failure ends the run. */
async function runChecks([first, second]: readonly [Machine, Machine]): Promise<void> {
  const config = join(folder, 'kubeadm.yaml');
  writeFileSync(config, clusterConfiguration(first));
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['the images that kubeadm names are signed', () => publishControlPlane(publisher, config)],
    [
      'kubeadm init starts a control plane from signed images',
      () => first.kubeadm('init', '--config', config, preflight),
    ],
    ['the daemons get their kubeconfigs from kubeadm', () => grant(config, first, second)],
    ['the first node is Ready, and no CNI configuration was written by hand', () => untilReady(1)],
    ['kubeadm join adds a second node', () => joins(first, second)],
    ['both nodes are Ready', () => untilReady(2)],
    ['pods on both nodes reach each other through a Service', () => servicesWork(first, second)],
    ['an unsigned image does not start, with the reason in the events', unsignedIsRefused],
    ['kubeadm reset leaves no pod on either machine', () => resets(first, second)],
  ];
  for (const [name, act] of steps) if (!(await report(name, act))) return;
}

/** kubeadm's configuration (kubeadm.k8s.io/v1beta4), without kube-proxy and CoreDNS. */
function clusterConfiguration({ name, address, folders }: Machine): string {
  return [
    {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'InitConfiguration',
      nodeRegistration: { name, criSocket: `unix://${folders.socket}`, taints: [] },
      localAPIEndpoint: { advertiseAddress: address },
    },
    {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'ClusterConfiguration',
      kubernetesVersion: 'v1.36.3',
      networking: { podSubnet: podRanges[0] },
      proxy: { disabled: true },
      dns: { disabled: true },
    },
    {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      cgroupDriver: 'cgroupfs',
      // This machine shares its cgroups with others.
      cgroupsPerQOS: false,
      enforceNodeAllocatable: ['none'],
      makeIPTablesUtilChains: false,
      failCgroupV1: false,
      failSwapOn: false,
      evictionHard: { 'memory.available': '1Mi', 'nodefs.available': '1Mi', 'imagefs.available': '1Mi' },
    },
  ]
    .map((document) => JSON.stringify(document))
    .join('\n---\n');
}

function signal(): AbortSignal {
  return AbortSignal.timeout(30_000);
}

function client(): ApiClient {
  assert.ok(api, 'the cluster was not created');
  return api;
}

async function get(path: string): Promise<Answer> {
  return (await client().get(path, {}, signal())) as Answer;
}

function post(path: string, body: unknown): Promise<unknown> {
  return client().send({ method: 'POST', path, body }, signal());
}

/** Creates the role of the daemons, and a kubeconfig for each of them, as docs/cluster.md says. */
async function grant(config: string, ...all: readonly Machine[]): Promise<void> {
  const [first] = all;
  assert.ok(first);
  const administrator = first.inEtc('kubernetes/admin.conf');
  api = createApiClient(() => readKubeconfig(administrator), {
    ...{ userAgent: 'test', rights: 'everything', meanwhile: 'nothing happens' },
  });
  const role = readFileSync(join(repository, 'packaging/kubernetes/node-role.yaml'), 'utf8');
  for (const document of parseAllDocuments(role)) {
    const object = document.toJS() as { readonly kind: string };
    await post(`/apis/rbac.authorization.k8s.io/v1/${object.kind.toLowerCase()}s`, object);
  }
  for (const machine of all) {
    const text = await first.kubeadm(
      ...['kubeconfig', 'user', '--config', config],
      ...['--client-name', `portcullis:node:${machine.name}`, '--org', 'portcullis:nodes'],
    );
    machine.run('mkdir', '-p', '/etc/portcullis');
    // From outside, because a secret must not be in an argument.
    writeFileSync(machine.inEtc(nodeKubeconfig.slice('/etc/'.length)), text, { mode: 0o600 });
  }
}

function untilReady(count: number): Promise<unknown> {
  return until(
    `${count} nodes are Ready`,
    async () => itemsOf(await get('/api/v1/nodes')) as readonly NodeObject[],
    (nodes) => nodes.length === count && nodes.every(isNodeReady),
    300_000,
  );
}

async function joins(first: Machine, second: Machine): Promise<void> {
  const command = await first.kubeadm('token', 'create', '--print-join-command');
  const [, ...words] = command.trim().split(/\s+/u);
  const own = ['--node-name', second.name, '--cri-socket', `unix://${second.folders.socket}`];
  await second.kubeadm(...words, ...own, preflight);
}

function server(index: number): object {
  return {
    metadata: { name: `server-${index}`, labels: { app: 'server' } },
    spec: {
      nodeName: `machine-${index}`,
      containers: [
        {
          name: 'server',
          image: `${registryName}/app/web:1`,
          command: [
            'sh',
            '-c',
            `mkdir /tmp/w; echo server-${index} > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w`,
          ],
          readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
        },
      ],
    },
  };
}

async function servicesWork(...all: readonly Machine[]): Promise<void> {
  await publisher.publish('app/web:1');
  await until(
    'the namespace has an account',
    () => get('/api/v1/namespaces/default/serviceaccounts/default'),
    () => true,
  );
  for (const [index] of all.entries()) await post(pods, server(index + 1));
  const created = (await post('/api/v1/namespaces/default/services', {
    metadata: { name: 'server' },
    spec: { selector: { app: 'server' }, ports: [{ port: 80, targetPort: 8080 }] },
  })) as { readonly spec: { readonly clusterIP: string } };
  for (const machine of all) {
    const { runtime } = machine.daemon.cri;
    const seen = new Set<string>();
    await until(
      `both servers answer a pod of ${machine.name}`,
      async () => {
        const { containers } = await runtime.listContainers({ filter: { state: { state: 1 } } });
        const own = containers.find(({ metadata }) => metadata?.name === 'server');
        const command = ['timeout', '10', 'wget', '-qO-', `http://${created.spec.clusterIP}/`];
        const { stdout } = await runtime.execSync({ containerId: own?.id ?? '', cmd: command, timeout: 20 });
        const page = Buffer.from(stdout).toString().trim();
        if (page !== '') seen.add(page);
        return [...seen].toSorted();
      },
      (found) => found.join() === 'server-1,server-2',
    );
  }
}

async function unsignedIsRefused(): Promise<void> {
  const { reference } = await publisher.publish('app/unsigned:1', {}, { sign: false });
  await post(pods, {
    metadata: { name: 'unsigned' },
    spec: { nodeName: 'machine-2', containers: [{ name: 'main', image: reference }] },
  });
  await until(
    'the pod has an event with the reason',
    async () => JSON.stringify(itemsOf(await get('/api/v1/namespaces/default/events'))),
    (text) => /SignatureValidationFailed/u.test(text),
  );
}

async function resets(...all: readonly Machine[]): Promise<void> {
  for (const machine of all.toReversed()) {
    await machine.stopKubelet();
    await machine.kubeadm('reset', '--force', '--cri-socket', `unix://${machine.folders.socket}`);
    const { items } = await machine.daemon.cri.runtime.listPodSandbox({});
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.name),
      [],
      machine.name,
    );
  }
}

function keepLogs(kept: string): void {
  for (const { name } of machines) {
    mkdirSync(join(kept, name), { recursive: true });
    for (const log of ['kubelet.log', 'daemon.log'])
      try {
        copyFileSync(join(folder, name, log), join(kept, name, log));
      } catch {
        // It did not start.
      }
  }
}
