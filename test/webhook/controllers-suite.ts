import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fixtureContent, serveFixtures } from '../../trust/evidence/fixtures/fixture-registry.ts';
import { administratorToken } from '../fixtures/kubernetes/api-server.ts';
import { programOf } from '../fixtures/kubernetes/processes.ts';
import { findTool } from '../fixtures/tools.ts';
import { startCluster } from '../services-watch/cluster.ts';
import {
  clusterAddress,
  eventually,
  fixtureKeys,
  makeLinks,
  pathOf,
  serviceAccountConfig,
  shippedObjects,
  startReplica,
} from './test-cluster.ts';
import type { KubernetesObject } from './test-cluster.ts';

const tools = ['etcd', 'kube-apiserver', 'kube-controller-manager'];
const missing = tools.find((name) => findTool(name).skip !== false);
const skip = missing === undefined ? false : `no ${missing}: bash test/peers/get ${missing}`;

/** Writes a kubeconfig of the administrator. */
function administratorConfig(folder: string, port: number): string {
  const file = join(folder, 'administrator.kubeconfig');
  writeFileSync(
    file,
    `apiVersion: v1
kind: Config
current-context: test
contexts: [{ name: test, context: { cluster: test, user: administrator } }]
clusters: [{ name: test, cluster: { server: "https://127.0.0.1:${port}", certificate-authority: pki/ca.crt } }]
users: [{ name: administrator, user: { token: "${administratorToken}" } }]
`,
    { mode: 0o600 },
  );
  return file;
}

interface ReplicaSet {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly replicas: number };
}
interface Deployment {
  readonly spec: { readonly template: { readonly metadata: object } };
}
interface Pod {
  readonly spec: { readonly containers: readonly { readonly image: string }[] };
}

test('a restart of a Deployment that is older than the webhook makes one ReplicaSet', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-webhook-controllers-'));
  makeLinks();
  const registry = await serveFixtures(fixtureContent(), { referrers: true });
  t.after(() => registry.close());
  const image = `${registry.host}/bundle/ecdsa-p256:1`;
  const cluster = await startCluster(folder);
  t.after(() => cluster.stop());
  const create = (object: KubernetesObject) => cluster.ask('POST', pathOf(object), object);
  const listed = async <T>(path: string): Promise<readonly T[]> =>
    ((await cluster.ask('GET', path)) as { readonly items: readonly T[] }).items;
  const sets = () => listed<ReplicaSet>('/apis/apps/v1/namespaces/shop/replicasets');
  const manager = programOf(
    'kube-controller-manager',
    [
      ...['--kubeconfig', administratorConfig(folder, cluster.port), '--leader-elect=false'],
      ...['--controllers=deployment-controller,replicaset-controller', '--secure-port=0'],
    ],
    folder,
  );
  manager.start();
  t.after(() => manager.end());
  await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: 'shop' } });
  const labels = { app: 'old' };
  await create({
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'old', namespace: 'shop' } },
    spec: {
      ...{ replicas: 1, selector: { matchLabels: labels } },
      template: { metadata: { labels }, spec: { containers: [{ name: 'app', image }] } },
    },
  });
  await eventually(30_000, async () => assert.equal((await sets()).length, 1));
  for (const object of shippedObjects()) {
    const spec = { ...(object['spec'] as object), clusterIP: clusterAddress };
    if (object.kind !== 'Deployment') await create(object.kind === 'Service' ? { ...object, spec } : object);
  }
  const replica = await startReplica(
    [
      ...['--kubeconfig', await serviceAccountConfig(cluster, folder), '--listen', `${clusterAddress}:443`],
      ...['--policy-from-cluster', '--policy-files', fixtureKeys, '--trust-state', join(folder, 'trust')],
    ],
    folder,
  );
  t.after(() => replica.end('SIGKILL'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const rules = [{ images: ['127.0.0.1:*/**'], require: { cosign: { key: 'ecdsa-p256.pub' } } }];
  await create({
    ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', metadata: { name: 'base' } },
    rules,
  });
  const path = '/apis/apps/v1/namespaces/shop/deployments/old';
  const restart = async (): Promise<void> => {
    const { spec, ...rest } = (await cluster.ask('GET', path)) as unknown as Deployment;
    const annotations = { 'kubectl.kubernetes.io/restartedAt': 'now' };
    const metadata = { ...spec.template.metadata, annotations };
    await cluster.ask('PUT', path, { ...rest, spec: { ...spec, template: { ...spec.template, metadata } } });
  };
  await eventually(30_000, restart);
  await eventually(30_000, async () => {
    const images = (await listed<Pod>('/api/v1/namespaces/shop/pods')).map(
      ({ spec }) => spec.containers[0]?.image ?? '',
    );
    assert.ok(
      images.some((one) => one.startsWith(`${image}@sha256:`)),
      JSON.stringify(images),
    );
  });
  await sleep(5_000);
  assert.equal((await sets()).length, 2, replica.log());
});
