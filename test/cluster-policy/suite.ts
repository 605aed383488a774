import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { AdminPolicyStatus } from '../../cni-plugins/index.ts';
import { makeServerCertificate } from '../../trust/x509/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { ApiServer } from '../fixtures/kubernetes/api-server.ts';
import { patience } from '../fixtures/daemon.ts';
import { expectServing, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { eventually, startReplica } from '../webhook/test-cluster.ts';
import { asUser, collectionOf, shipped, startNodeCluster } from './test-cluster.ts';
import type { ClusterObject } from './test-cluster.ts';

const missing = ['etcd', 'kube-apiserver'].find((name) => findTool(name).skip !== false);
const skip = missing === undefined ? false : `no ${missing}: bash test/peers/get ${missing}`;
const nodeName = 'node-1';
/** The time in which a report of the node has to arrive, also on a busy machine. */
const reportMs = 200_000;

let [folder, kubeconfig] = ['', ''];
let cluster: ApiServer;
let stage: Stage;
let [signed, unsigned] = ['', ''];

const policies = '/apis/portcullis.dev/v1alpha1/trustpolicies';
const policy = (name: string, rules: readonly object[]): ClusterObject => ({
  ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', metadata: { name }, rules },
});
const signedRule = {
  images: ['good.test/**'],
  require: { cosign: { key: 'k.pub' } },
  entitlements: { ceiling: 'privileged' },
};
const create = (object: ClusterObject): Promise<Record<string, unknown>> =>
  cluster.ask('POST', collectionOf(object), object);
async function replaceRules(name: string, rules: readonly object[]): Promise<void> {
  const known = await cluster.ask('GET', `${policies}/${name}`);
  await cluster.ask('PUT', `${policies}/${name}`, { ...known, rules });
}

async function statusOfNode(): Promise<AdminPolicyStatus> {
  const socket = ['--admin-socket', join(folder, 'state/admin.sock')];
  const { stdout, output } = await portcullis(
    ['policy', 'status', ...socket, '--output', 'json'],
    process.env,
  );
  assert.notEqual(stdout, '', output);
  return JSON.parse(stdout) as AdminPolicyStatus;
}
type State = NonNullable<AdminPolicyStatus['cluster']>['state'];
const untilState = (state: State, ms = patience * 4): Promise<AdminPolicyStatus> =>
  eventually(ms, async () => {
    const status = await statusOfNode();
    assert.equal(status.cluster?.state, state, JSON.stringify(status));
    return status;
  });

interface Status {
  readonly revision: string;
  readonly observedGeneration: number;
  readonly conditions: readonly Condition[];
  readonly problems: readonly { readonly path: string; readonly message: string }[];
}
interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly lastHeartbeatTime: string;
}
/** Waits until the status of an object says this of its present generation. */
const untilHolds = (name: string, type: string, status: string): Promise<Status> =>
  eventually(patience * 4, async () => {
    const object = (await cluster.ask('GET', `${policies}/${name}`)) as {
      status?: Status;
      metadata: { generation: number };
    };
    assert.equal(object.status?.observedGeneration, object.metadata.generation);
    const found = object.status.conditions.find((one) => one.type === type);
    assert.equal(found?.status, status, JSON.stringify(object.status));
    return object.status;
  });

const pull = (reference: string): Promise<string> => stage.pull(reference);
const refusedPull = async (reference: string): Promise<string> =>
  (await failureOf(stage.pull(reference))).message;

interface PodEvent {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly involvedObject: { readonly uid: string; readonly fieldPath?: string };
  readonly source: { readonly component: string; readonly host: string };
}
const eventsOf = async (reason: string): Promise<readonly PodEvent[]> => {
  const { items } = (await cluster.ask('GET', `/api/v1/namespaces/${podNamespace}/events`)) as {
    items: readonly PodEvent[];
  };
  return items.filter((event) => event.reason === reason);
};
const conditionsOfNode = async (): Promise<readonly Condition[]> =>
  ((await cluster.ask('GET', `/api/v1/nodes/${nodeName}`)) as { status: { conditions: Condition[] } }).status
    .conditions;
const untilCondition = (type: string, status: string, message = /./u): Promise<Condition> =>
  eventually(reportMs, async () => {
    const found = (await conditionsOfNode()).find((one) => one.type === type);
    assert.equal(found?.status, status, JSON.stringify(found));
    assert.match(found.message, message);
    return found;
  });

before(async () => {
  if (skip !== false) return;
  folder = mkdtempSync(join(tmpdir(), 'pc-cluster-policy-'));
  chmodSync(folder, 0o711);
  cluster = await startNodeCluster(folder);
  for (const file of ['node-role.yaml', 'kubelet-role.yaml', 'node-reports.yaml', 'webhook/definitions.yaml'])
    for (const object of shipped(file)) await create(object);
  await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: podNamespace } });
  for (const name of [nodeName, 'node-2'])
    await create({ ...{ apiVersion: 'v1', kind: 'Node' }, metadata: { name, labels: { zone: 'a' } } });
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'of the kubelet' };
  await cluster.ask('PATCH', `/api/v1/nodes/${nodeName}/status`, { status: { conditions: [ready] } });
  ({ kubeconfig } = asUser(cluster, `system:node:${nodeName}`, 'system:nodes'));
  const files = join(folder, 'policy-files');
  mkdirSync(files);
  const config = join(folder, 'config.yaml');
  const settings = { kubeconfig, nodeName, policies: true, policyFiles: files };
  writeFileSync(config, JSON.stringify({ cluster: settings }));
  stage = await openStage({
    ...{ folder, subscribed: true, flags: ['--config', config] },
    prepare() {
      copyFileSync(join(folder, 'policy/k.pub'), join(files, 'k.pub'));
      return Promise.resolve({});
    },
  });
  ({ reference: signed } = await stage.publish('app/signed:1'));
  ({ reference: unsigned } = await stage.publish(
    'app/unsigned:1',
    { config: { Env: ['A=b'] } },
    { sign: false },
  ));
});
after(async () => {
  if (skip !== false) return;
  try {
    await stage.close();
  } finally {
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a cluster without a TrustPolicy means that the node denies everything', { skip }, async () => {
  const status = await untilState('empty');
  assert.equal(status.revision, undefined);
  assert.match(await refusedPull(signed), /the cluster has no TrustPolicy/u);
});

test('objects of the cluster are in force within seconds, and their status says so', { skip }, async () => {
  await create(policy('base', [signedRule]));
  const begun = performance.now();
  const status = await untilState('current');
  console.log(`in force after ${Math.round(performance.now() - begun)} ms`);
  assert.deepEqual(status.cluster?.objects, [{ kind: 'TrustPolicy', name: 'base', generation: 1 }]);
  await pull(signed);
  assert.match(await refusedPull(unsigned), /rule trustpolicy\.base\.yaml:\d+/u);
  const { revision } = await untilHolds('base', 'InForce', 'True');
  assert.equal(revision, status.revision);
});

test(
  'an image is refused at admission and by the node with the same tree of reasons',
  { skip, timeout: 120_000 },
  async () => {
    const files = ['--policy-from-cluster', '--policy-files', join(folder, 'policy-files')];
    const { args: tls, authority } = await certificateIn(folder);
    const replica = await startReplica(
      [
        ...['--kubeconfig', asUser(cluster, 'administrator', 'system:masters').kubeconfig, ...files],
        ...['--listen', '127.0.0.1:7443', '--service', 'default/hook', '--trust-state', join(folder, 'hook')],
        ...['--registry-mirror', `good.test=${stage.registry.url}`, ...tls, '--drain', '0s'],
      ],
      folder,
    );
    const hook = {
      ...{ name: 'images.portcullis.dev', admissionReviewVersions: ['v1'], sideEffects: 'None' },
      ...{ failurePolicy: 'Fail', timeoutSeconds: 10 },
      clientConfig: { url: `${replica.url.replace('127.0.0.1', 'localhost')}/validate`, caBundle: authority },
      rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
    };
    const configuration = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
    await cluster.ask('POST', configuration, { metadata: { name: 'hook' }, webhooks: [hook] });
    const pod = (image: string): ClusterObject => ({
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bad', namespace: podNamespace } },
      spec: { containers: [{ name: 'app', image }] },
    });
    let atAdmission = '';
    try {
      await eventually(patience * 4, () =>
        cluster.ask('POST', `${collectionOf(pod(signed))}?dryRun=All`, pod(signed)),
      );
      atAdmission = await create(pod(unsigned)).then(
        () => assert.fail('the API server created a pod of an unsigned image'),
        (error: unknown) => String(error),
      );
    } finally {
      await cluster.ask('DELETE', `${configuration}/hook`);
      await replica.end('SIGTERM');
    }
    // Without the webhook, the pod exists, and only the node decides.
    await eventually(patience * 4, () => create(pod(unsigned)));
    const onNode = await refusedPull(unsigned);
    const [webhookTree, nodeTree] = [
      treeOf(atAdmission.replaceAll('\\n', '\n').replaceAll('\\"', '"')),
      treeOf(onNode),
    ];
    assert.equal(nodeTree.length, 3, onNode);
    const [, verdict] = /verdicts show ([0-9a-f]+)/u.exec(onNode) ?? assert.fail(onNode);
    assert.match(atAdmission, new RegExp(`verdict sha256:${verdict}`, 'u'), 'both gave the same verdict');
    assert.deepEqual(webhookTree, nodeTree, `${atAdmission}\n${onNode}`);
  },
);

test('an object with a problem is reported in its status, and opens nothing', { skip }, async () => {
  const { revision } = await statusOfNode();
  const everything = { images: ['**'], allow: 'unverified' };
  await create(policy('broken', [everything, { images: ['a/**'], deny: 'x', excpt: ['b'] }]));
  const status = await untilHolds('broken', 'Valid', 'False');
  assert.ok(
    status.problems.some(({ path }) => path === 'rules[1].excpt'),
    JSON.stringify(status),
  );
  const other = await untilHolds('base', 'InForce', 'False');
  assert.match(JSON.stringify(other.conditions), /trustpolicy\.broken\.yaml/u);
  const refused = await untilState('refused');
  assert.equal(refused.revision, revision);
  assert.match(refused.cluster?.problem?.why ?? '', /excpt/u);
  await pull(signed);
  assert.match(await refusedPull(unsigned), /trustpolicy\.base\.yaml/u);
  // A file that the operator of the node did not provide.
  await replaceRules('broken', [
    { images: ['a/**'], require: { cosign: { key: join(folder, 'policy/k.pub') } } },
  ]);
  await eventually(patience * 4, async () =>
    assert.match((await statusOfNode()).cluster?.problem?.why ?? '', /not in cluster\.policyFiles/u),
  );
  await cluster.ask('DELETE', `${policies}/broken`);
  await untilState('current');
  await untilHolds('base', 'InForce', 'True');
});

test(
  'without the API server, the policy stays in force, also after kill -9',
  { skip, timeout: 200_000 },
  async () => {
    const { revision } = await untilState('current');
    await cluster.kill();
    await untilState('unreachable');
    await pull(signed);
    await stage.restart({ kill: true });
    const status = await statusOfNode();
    assert.equal(status.revision, revision);
    await pull(signed);
    assert.match(await refusedPull(unsigned), /trustpolicy\.base\.yaml/u);
    await cluster.start();
    await replaceRules('base', [{ images: ['**'], deny: 'closed' }]);
    await eventually(patience * 4, async () => assert.match(await refusedPull(signed), /closed/u));
    await replaceRules('base', [signedRule]);
    await eventually(patience * 4, () => pull(signed));
  },
);

test(
  'a policy that the cluster removed does not return without the API server',
  { skip, timeout: 200_000 },
  async () => {
    await stage.restart({
      kill: true,
      meanwhile: async () => void (await cluster.ask('DELETE', `${policies}/base`)),
    });
    await untilState('empty');
    await cluster.kill();
    await stage.restart({ kill: true });
    assert.match(await refusedPull(signed), /the cluster has no TrustPolicy/u);
    assert.equal((await statusOfNode()).cluster?.state, 'empty');
    await cluster.start();
    await create(policy('base', [signedRule]));
    await untilState('current');
  },
);

test(
  'images out of policy become an event of the pod and a condition of the node',
  { skip, timeout: 600_000 },
  async () => {
    const spec = { nodeName, containers: [{ name: 'main', image: signed }] };
    const metadata = { name: 'web', namespace: podNamespace };
    const made = (await create({ apiVersion: 'v1', kind: 'Pod', metadata, spec })) as {
      metadata: { uid: string };
    };
    const image = await pull(signed);
    const pod = await runPod(stage, 'web', { metadata: { ...metadata, uid: made.metadata.uid, attempt: 0 } });
    await runContainer(stage, pod, { image, reference: signed, command: ['sleep', '6000'] });
    // A pod that the cluster does not have.
    const other = await runPod(stage, 'other', {
      metadata: { name: 'other', namespace: 'elsewhere', uid: 'of-nobody', attempt: 0 },
    });
    await runContainer(stage, other, { image, reference: signed, command: ['sleep', '6000'] });
    const before = await untilCondition('ImagesOutOfPolicy', 'False');
    await untilCondition('ImagePolicyNotInForce', 'False');

    const begun = performance.now();
    await replaceRules('base', [{ images: ['good.test/app/**'], deny: 'revoked' }]);
    const [event, ...more] = await eventually(reportMs, async () => {
      const found = await eventsOf('ImageOutOfPolicy');
      assert.notEqual(found.length, 0, stage.daemon.log().slice(-2000));
      return found;
    });
    console.log(`an event after ${Math.round(performance.now() - begun)} ms`);
    assert.equal(event?.type, 'Warning');
    assert.equal(event.involvedObject.uid, made.metadata.uid);
    assert.equal(event.involvedObject.fieldPath, 'spec.containers{main}');
    assert.deepEqual(event.source, { component: 'portcullisd', host: nodeName });
    assert.match(event.message, /container main: the policy no longer admits good\.test\/app\/signed:1/u);
    assert.match(event.message, /revoked/u);
    assert.deepEqual(more, []);
    const out = await untilCondition('ImagesOutOfPolicy', 'True', /2 running containers in 2 pods/u);
    console.log(`a condition after ${Math.round(performance.now() - begun)} ms`);
    assert.match(out.message, /good\.test\/app\/signed:1 \(denied by rule trustpolicy\.base\.yaml:\d+\)/u);
    assert.doesNotMatch(out.message, /elsewhere|web/u, 'a Node object names no pods');
    assert.notEqual(before.reason, out.reason);
    assert.equal((await conditionsOfNode()).find(({ type }) => type === 'Ready')?.message, 'of the kubelet');

    // The same decision once more, and by a restarted daemon, is no other event.
    const found = (): number => stage.daemon.log().split('a running container is out of policy').length;
    const foundBefore = found();
    // The times of conditions are seconds.
    await pause(1_100);
    await stage.restart();
    await eventually(reportMs, async () => {
      await Promise.resolve();
      assert.ok(found() >= foundBefore + 2);
    });
    await replaceRules('base', [
      { images: ['good.test/app/**'], deny: 'revoked' },
      { images: ['x/**'], deny: 'y' },
    ]);
    await untilState('current');
    const again = await eventually(reportMs, async () => {
      const condition = await untilCondition('ImagesOutOfPolicy', 'True');
      // The restarted daemon has reported what it found.
      assert.notEqual(condition.lastHeartbeatTime, out.lastHeartbeatTime);
      return condition;
    });
    assert.equal(again.lastTransitionTime, out.lastTransitionTime);
    assert.equal((await eventsOf('ImageOutOfPolicy')).length, 1);

    await replaceRules('base', [signedRule]);
    await eventually(reportMs, async () => {
      const [admitted] = await eventsOf('ImageInPolicy');
      assert.equal(admitted?.type, 'Normal');
      assert.match(admitted.message, /admits good\.test\/app\/signed:1 again/u);
    });
    await untilCondition('ImagesOutOfPolicy', 'False');
    await expectServing(stage, image);
    await removePod(stage, pod);
    await removePod(stage, other);
  },
);

test(
  'a RuntimeClass without a handler on the node is a condition, unless it is for other nodes',
  { skip, timeout: 600_000 },
  async () => {
    const of = (name: string, handler: string, nodeSelector?: object): ClusterObject => ({
      ...{ apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name }, handler },
      ...(nodeSelector !== undefined && { scheduling: { nodeSelector } }),
    });
    await create(of('usual', 'crun'));
    await create(of('elsewhere', 'nowhere', { zone: 'b' }));
    await create(of('sandboxed', 'kata', { zone: 'a' }));
    const found = await untilCondition('RuntimeClassWithoutHandler', 'True', /sandboxed \(handler kata\)/u);
    assert.doesNotMatch(found.message, /nowhere|usual/u);
    await cluster.ask('DELETE', '/apis/node.k8s.io/v1/runtimeclasses/sandboxed');
    await untilCondition('RuntimeClassWithoutHandler', 'False');
  },
);

test('an identity of a node can write the conditions of its own node only', { skip }, async () => {
  const patchOf = (fields: object, node: string): [string, string, object] => [
    'PATCH',
    `/api/v1/nodes/${node}/status`,
    fields,
  ];
  const own = { status: { conditions: [{ type: 'ImagesOutOfPolicy', status: 'True', reason: 'Test' }] } };
  const kubelet = asUser(cluster, `system:node:${nodeName}`, 'system:nodes');
  assert.equal((await kubelet.ask(...patchOf(own, 'node-2')))['reason'], 'Forbidden');
  const daemon = asUser(cluster, `portcullis:node:${nodeName}`, 'portcullis:nodes');
  const denied = async (what: string, ...request: [string, string, object]): Promise<void> => {
    const answer = await daemon.ask(...request);
    assert.equal(answer['reason'], 'Forbidden', `${what}: ${JSON.stringify(answer)}`);
    assert.match(String(answer['message']), /portcullis-node/u, what);
  };
  // A new policy is evaluated some time after it was written; it was written long ago.
  await denied('another node', ...patchOf(own, 'node-2'));
  const ready = {
    status: { conditions: [{ type: 'Ready', status: 'False', reason: 'Test', message: 'x' }] },
  };
  await denied('a condition of the kubelet', ...patchOf(ready, nodeName));
  await denied(
    'addresses',
    ...patchOf({ status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] } }, nodeName),
  );
  await denied(
    'ports',
    ...patchOf({ status: { daemonEndpoints: { kubeletEndpoint: { Port: 1 } } } }, nodeName),
  );
  await denied('capacity', ...patchOf({ status: { capacity: { cpu: '64' } } }, nodeName));
  await denied('labels', ...patchOf({ metadata: { labels: { zone: 'c' } } }, nodeName));
  assert.equal((await daemon.ask(...patchOf(own, nodeName)))['kind'], 'Node');

  const event = (host: string, kind = 'Pod'): object => ({
    metadata: { name: `test-${host}-${kind.toLowerCase()}`, namespace: podNamespace },
    involvedObject: { kind, namespace: podNamespace, name: 'web', apiVersion: 'v1' },
    ...{ reason: 'Test', message: 'test', type: 'Normal', source: { component: 'portcullisd', host } },
  });
  const events = `/api/v1/namespaces/${podNamespace}/events`;
  assert.equal((await daemon.ask('POST', events, event(nodeName)))['kind'], 'Event');
  await denied('an event of another node', 'POST', events, event('node-2'));
  await denied('an event about something else', 'POST', events, event(nodeName, 'Secret'));
  await cluster.ask('POST', events, event('node-2'));
  await denied('an event that another node wrote', 'PATCH', `${events}/test-node-2-pod`, {
    source: { host: nodeName },
  });
});

/** Makes the certificate of a webhook on this machine. */
async function certificateIn(
  path: string,
): Promise<{ readonly args: readonly string[]; readonly authority: string }> {
  const [from, until] = [new Date(Date.now() - 60_000), new Date(Date.now() + 3_600_000)];
  const made = await makeServerCertificate({ names: ['localhost'], from, until });
  const [certificate, key] = [join(path, 'hook.crt'), join(path, 'hook.key')];
  writeFileSync(certificate, made.certificate);
  writeFileSync(key, made.key, { mode: 0o600 });
  const authority = Buffer.from(made.authority).toString('base64');
  return { args: ['--tls-cert', certificate, '--tls-key', key], authority };
}

/** Returns the lines of the tree of reasons in a refusal, without what surrounds it. */
function treeOf(refusal: string): readonly string[] {
  const tree = refusal.slice(refusal.indexOf('- good.test'));
  const [lines = ''] = tree.split(/(?:; |\n\s*)sign the image/u);
  return lines.split('\n').map((line) => line.trim());
}
