import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fixtureContent, serveFixtures } from '../../trust/evidence/fixtures/fixture-registry.ts';
import type { FixtureRegistry } from '../../trust/evidence/fixtures/fixture-registry.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import { exportPolicy } from '../../trust/import/index.ts';
import { loadPolicy } from '../../trust/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { decideUnseen } from '../../trust/verdict/index.ts';
import { findTool } from '../fixtures/tools.ts';
import { startCluster } from '../services-watch/cluster.ts';
import type { Cluster } from '../services-watch/cluster.ts';
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
import type { KubernetesObject, Replica } from './test-cluster.ts';

const missing = ['etcd', 'kube-apiserver'].find((name) => findTool(name).skip !== false);
const skip = missing === undefined ? false : `no ${missing}: bash test/peers/get ${missing}`;
const lifetimeSeconds = 60;

let folder = '';
let cluster: Cluster;
let registry: FixtureRegistry;
let replica: Replica;
let args: readonly string[] = [];
const others: Replica[] = [];
const content = fixtureContent();
const digest = content.get('bundle/ecdsa-p256')?.tags.get('1') ?? '';
let [signed, unsigned] = ['', ''];
const policies = '/apis/portcullis.dev/v1alpha1/trustpolicies';

const pod = (name: string, image: string): KubernetesObject => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'shop' } },
  spec: { containers: [{ name: 'app', image }] },
});
const deployment = (name: string, image: string): KubernetesObject => ({
  ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace: 'shop' } },
  spec: {
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'app', image }] } },
  },
});
const policy = (name: string, rules: readonly object[]): KubernetesObject => ({
  ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', metadata: { name } },
  rules,
});
const signedRule = { images: ['127.0.0.1:*/**'], require: { cosign: { key: 'ecdsa-p256.pub' } } };

const create = (object: KubernetesObject, query = ''): Promise<Record<string, unknown>> =>
  cluster.ask('POST', `${pathOf(object)}${query}`, object);

interface Status {
  readonly revision: string;
  readonly rules: number;
  readonly observedGeneration: number;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    readonly message: string;
  }[];
  readonly problems: readonly { readonly path: string; readonly line: number; readonly message: string }[];
}

/** Waits until the status of a policy is about its present generation. */
async function statusOf(name: string): Promise<Status> {
  return eventually(10_000, async () => {
    const { status, metadata } = (await cluster.ask('GET', `${policies}/${name}`)) as {
      status?: Status;
      metadata: { generation: number };
    };
    assert.equal(status?.observedGeneration, metadata.generation, replica.log());
    return status;
  });
}

const holds = ({ conditions }: Status, type: string): string | undefined =>
  conditions.find((one) => one.type === type)?.status;

async function replacePolicy(name: string, rules: readonly object[]): Promise<void> {
  const known = await cluster.ask('GET', `${policies}/${name}`);
  await cluster.ask('PUT', `${policies}/${name}`, { ...known, rules });
}

before(async () => {
  if (skip !== false) return;
  folder = mkdtempSync(join(tmpdir(), 'portcullis-webhook-suite-'));
  makeLinks();
  registry = await serveFixtures(content, { referrers: true });
  [signed, unsigned] = [`${registry.host}/bundle/ecdsa-p256:1`, `${registry.host}/bundle/ecdsa-p384:1`];
  cluster = await startCluster(folder);
  for (const object of shippedObjects()) {
    const isService = object.kind === 'Service';
    await create(
      isService ? { ...object, spec: { ...(object['spec'] as object), clusterIP: clusterAddress } } : object,
    );
  }
  await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: 'shop' } });
  args = [
    ...['--kubeconfig', await serviceAccountConfig(cluster, folder)],
    ...['--policy-from-cluster', '--policy-files', fixtureKeys, '--trust-state', join(folder, 'trust')],
    ...['--certificate-lifetime', `${lifetimeSeconds}s`, '--drain', '1s'],
  ];
  replica = await startReplica([...args, '--listen', `${clusterAddress}:443`], folder);
});
after(async () => {
  if (skip !== false) return;
  for (const one of [replica, ...others]) await one.end('SIGKILL');
  await cluster.stop();
  await registry.close();
  rmSync(folder, { recursive: true });
});

test('without a policy everything is refused with the reason', { skip }, async () => {
  await eventually(20_000, () =>
    assert.rejects(create(pod('early', signed), '?dryRun=All'), /the cluster has no TrustPolicy/),
  );
});

test('a policy of the cluster is in force within seconds, and its status says so', { skip }, async () => {
  await create(policy('base', [signedRule]));
  const begun = performance.now();
  await eventually(5_000, () => create(pod('first', signed), '?dryRun=All'));
  console.log(`in force after ${Math.round(performance.now() - begun)} ms`);
  const status = await statusOf('base');
  assert.equal(holds(status, 'Valid'), 'True');
  assert.equal(holds(status, 'InForce'), 'True');
  assert.match(status.revision, /^sha256:/);
  assert.equal(status.rules, 1);
});

test('an unsigned image is refused at admission with the tree of reasons', { skip }, async () => {
  for (const object of [pod('bad', unsigned), deployment('bad', unsigned)])
    await assert.rejects(create(object), (error: Error) => {
      assert.match(error.message, /admission webhook .* denied the request: 1 of 1 image may not run/);
      assert.match(error.message, /TRUST_SIGNATURE_OTHER_KEY/);
      assert.match(error.message, /rule trustpolicy\.base\.yaml:\d+ /);
      return true;
    });
  const objects = (await cluster.ask('GET', '/api/v1/namespaces/shop/pods')) as { items: unknown[] };
  assert.deepEqual(objects.items, [], 'a refusal and a dry run leave nothing');
});

test('a signed image is admitted with the digest of the decision', { skip }, async () => {
  const made = (await create(pod('good', signed))) as { spec: { containers: { image: string }[] } };
  assert.equal(made.spec.containers[0]?.image, `${signed}@${digest}`);
  const { spec } = (await create(deployment('good', signed))) as {
    spec: { template: { spec: { containers: { image: string }[] } } };
  };
  assert.equal(spec.template.spec.containers[0]?.image, `${signed}@${digest}`);
});

test('a debug container needs a decision, and other changes of a pod do not', { skip }, async () => {
  const path = '/api/v1/namespaces/shop/pods/good';
  const debug = async (image: string): Promise<unknown> => {
    const known = (await cluster.ask('GET', path)) as { spec: object };
    const ephemeralContainers = [{ name: 'debug', image, targetContainerName: 'app' }];
    return cluster.ask('PUT', `${path}/ephemeralcontainers`, {
      ...known,
      spec: { ...known.spec, ephemeralContainers },
    });
  };
  await assert.rejects(debug(unsigned), /1 of 1 image may not run\\nPod shop\/good, container debug/);
  await replacePolicy('base', [{ images: ['**'], deny: 'closed' }]);
  await eventually(5_000, () =>
    assert.rejects(create(pod('closed', signed), '?dryRun=All'), /denies: closed/),
  );
  const known = (await cluster.ask('GET', path)) as { metadata: object };
  await cluster.ask('PUT', path, { ...known, metadata: { ...known.metadata, labels: { a: 'b' } } });
  await replacePolicy('base', [signedRule]);
  await eventually(5_000, () => debug(signed));
});

test(
  'a broken policy is reported with its place, and the last valid one stays in force',
  { skip },
  async () => {
    const { revision } = await statusOf('base');
    await create(
      policy('broken', [{ images: ['a/**'], require: { cosign: { key: 'none.pub' } }, excpt: ['b'] }]),
    );
    const status = await statusOf('broken');
    assert.equal(holds(status, 'Valid'), 'False');
    assert.equal(holds(status, 'InForce'), 'False');
    assert.ok(
      status.problems.some(({ path, line }) => path === 'rules[0].require.cosign.key' && line > 1),
      JSON.stringify(status),
    );
    assert.ok(
      status.problems.some(({ path }) => path === 'rules[0].excpt'),
      JSON.stringify(status),
    );
    await create(pod('still', signed));
    await assert.rejects(create(pod('bad', unsigned)), /may not run/);
    const other = await eventually(5_000, async () => {
      const found = await statusOf('base');
      assert.equal(holds(found, 'InForce'), 'False');
      return found;
    });
    assert.match(
      other.conditions.find(({ type }) => type === 'InForce')?.message ?? '',
      /trustpolicy\.broken\.yaml/,
    );
    assert.equal(holds(other, 'Valid'), 'True');
    await cluster.ask('DELETE', `${policies}/broken`);
    await eventually(5_000, async () => {
      const found = await statusOf('base');
      assert.equal(holds(found, 'InForce'), 'True');
      assert.equal(found.revision, revision);
    });
  },
);

test('a profile of the cluster is a ceiling of a rule', { skip }, async () => {
  const profile: KubernetesObject = {
    ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'EntitlementProfile', metadata: { name: 'web' } },
    capabilities: { add: ['NET_BIND_SERVICE'] },
  };
  await replacePolicy('base', [{ ...signedRule, entitlements: { ceiling: 'web' } }]);
  await eventually(5_000, async () => assert.equal(holds(await statusOf('base'), 'Valid'), 'False'));
  await create(profile);
  await eventually(5_000, async () => assert.equal(holds(await statusOf('base'), 'InForce'), 'True'));
  await replacePolicy('base', [signedRule]);
});

test('a second replica shares the certificate, and does not write a status again', { skip }, async () => {
  const before = await eventually(10_000, async () => {
    assert.equal(holds(await statusOf('base'), 'InForce'), 'True');
    return cluster.ask('GET', `${policies}/base`);
  });
  const second = await startReplica([...args, '--listen', '127.0.0.1:0'], folder);
  others.push(second);
  await eventually(10_000, async () => {
    await Promise.resolve();
    const log = second.log();
    assert.match(log, /policy in force/);
  });
  await sleep(2500);
  const later = await cluster.ask('GET', `${policies}/base`);
  assert.deepEqual(later['metadata'], before['metadata']);
});

test(
  'certificates are renewed before they expire, and no request is lost meanwhile',
  { skip, timeout: 200_000 },
  async () => {
    const secret = async (): Promise<string> => {
      const { data } = (await cluster.ask(
        'GET',
        '/api/v1/namespaces/portcullis-webhook/secrets/portcullis-webhook-tls',
      )) as {
        data: Record<string, string>;
      };
      return data['tls.crt'] ?? '';
    };
    const seen = new Set([await secret()]);
    const failures: string[] = [];
    let count = 0;
    for (
      const until = performance.now() + 2.2 * lifetimeSeconds * 1000;
      performance.now() < until;
      await sleep(50)
    ) {
      count += 1;
      await create(pod(`p${count}`, signed), '?dryRun=All').catch((error: unknown) =>
        failures.push(String(error)),
      );
      if (count % 20 === 0) seen.add(await secret());
    }
    assert.deepEqual(failures, []);
    assert.ok(seen.size >= 3, `${seen.size} certificates`);
    console.log(`${count} requests, ${seen.size} certificates`);
  },
);

test('the policy is followed again after the API server was killed', { skip }, async () => {
  await cluster.killApiServer();
  await sleep(1000);
  await cluster.startApiServer();
  await replacePolicy('base', [{ images: ['**'], deny: 'after the restart' }]);
  await eventually(30_000, () =>
    assert.rejects(create(pod('x', signed), '?dryRun=All'), /after the restart/),
  );
  await replacePolicy('base', [signedRule]);
  await eventually(10_000, () => create(pod('x', signed), '?dryRun=All'));
});

test('a webhook stops cleanly; without a webhook nothing is admitted', { skip }, async () => {
  assert.equal(await replica.end('SIGTERM'), 0);
  await assert.rejects(create(pod('nobody', signed)), /failed calling webhook/);
  // Its own namespace is excluded, so that it can start again.
  await create({ ...pod('own', unsigned), metadata: { name: 'own', namespace: 'portcullis-webhook' } }).catch(
    (error: unknown) => assert.match(String(error), /violates PodSecurity/),
  );
  replica = await startReplica([...args, '--listen', `${clusterAddress}:443`], folder);
  await eventually(10_000, () => create(pod('again', signed), '?dryRun=All'));
});

test(
  'the API server itself refuses images by the CEL form of the policy, without the webhook',
  { skip, timeout: 120_000 },
  async () => {
    for (const kind of ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations'])
      await cluster.ask('DELETE', `/apis/admissionregistration.k8s.io/v1/${kind}/portcullis-webhook`);
    const file = join(folder, 'vap.yaml');
    const rules = [
      { images: ['**/forbidden', 'quay.io/old/**', 'busybox:1.0*'], deny: "it's closed" },
      { images: ['10.0.0.1/open/**', '[fd00::1]/open/**', 'r.example:5000/open/**'], deny: 'closed' },
      { images: ['*/open/**', '*/old/*', '*/library/*'], allow: 'unverified' },
      {
        images: ['docker.io/library/**', 'registry.example.com:*/team/*', 'quay.io/**'],
        allow: 'unverified',
      },
      { images: ['*/only-shop'], namespaces: ['shop*'], allow: 'unverified' },
      { images: [`ghcr.io/a/b@${digest}`], allow: 'unverified' },
      { images: ['ghcr.io/**'], except: ['ghcr.io/a/**'], require: { cosign: { key: 'ecdsa-p256.pub' } } },
    ];
    const { policy: loaded, files } = await exported(file, rules);
    const digests = files.find(({ name }) => name === 'portcullis-digests.yaml')?.text ?? '';
    for (const object of objectsOf(files[0]?.text ?? '')) await create(object);
    const references = [
      ...[
        'busybox',
        'busybox:1',
        'busybox:1.0',
        'busybox:1.01',
        `busybox:1.0@${digest}`,
        'docker.io/busybox:2',
      ],
      ...['index.docker.io/library/busybox', 'user/app', 'localhost/forbidden', 'LOCALHOST/forbidden:1'],
      ...[
        'quay.io/old/a/b:1',
        'quay.io/older/a',
        'quay.io/x',
        'Quay.io/x',
        'registry.example.com:5000/team/app:1',
      ],
      ...[
        'registry.example.com/team/app',
        'registry.example.com:5000/team/app/x',
        'a/b/c/forbidden',
        'forbidden',
      ],
      ...[
        'r.example/only-shop',
        'r.example/x/only-shop',
        `ghcr.io/a/b@${digest}`,
        'ghcr.io/a/b:1',
        'ghcr.io/c/d:1',
      ],
      ...['10.0.0.1/open/a', '10.1/open/a', '0xa.1/open/a', '167772161/open/a', '10.0.0.2/open/a'],
      ...['[fd00::1]/open/a', '[fd00:0::1]/open/a', '[fd00::2]/open/a', 'r.example:5001/open/a'],
      ...['r.example:5000/open/a', 'r.example:05000/open/a', 'r.example:05001/open/a'],
      ...['10.0.0.1:443/open/a', 'quay.io:443/old/a', 'registry-1.docker.io/library/busybox:1.0'],
      ...[`quay.io/x:1@${digest}`, '[fd00::1]:5000/team/app', 'registry.example.com:5000/team/a.b_c-d:V1'],
    ];
    const refusedHere = async (image: string): Promise<string> =>
      create(pod('vap', image), '?dryRun=All').then(
        () => '',
        (error: unknown) => String(error),
      );
    // A new policy is evaluated some time after it was written.
    await eventually(30_000, async () => assert.match(await refusedHere('a/b/c/forbidden'), /closed/));
    const now = new Date();
    for (const image of references) {
      const question = {
        reference: image,
        namespace: 'shop',
        policy: loaded,
        platform: { os: 'linux', architecture: 'amd64' },
        now,
      };
      const refused = await refusedHere(image);
      assert.equal(refused !== '', decideUnseen(question) !== undefined, `${image}: ${refused}`);
      if (refused !== '') assert.match(refused, /ValidatingAdmissionPolicy 'portcullis-images'/);
    }
    const known = (await cluster.ask('GET', '/api/v1/namespaces/shop/pods/good')) as { metadata: object };
    await cluster.ask('PUT', '/api/v1/namespaces/shop/pods/good', {
      ...known,
      metadata: { ...known.metadata, labels: { c: 'd' } },
    });
    await assert.rejects(create(deployment('vap', 'a/b/c/forbidden')), /closed/);
    for (const object of objectsOf(digests)) await create(object);
    await eventually(30_000, async () =>
      assert.match(await refusedHere('busybox:2'), /not named by its digest/),
    );
    assert.equal(await refusedHere(`busybox@${digest}`), '');
  },
);

const objectsOf = (text: string): readonly KubernetesObject[] =>
  parseDocuments(text, 'vap').documents.map(({ value }) => value as KubernetesObject);

async function exported(
  file: string,
  rules: readonly object[],
): Promise<{
  policy: TrustPolicy;
  files: readonly { readonly name: string; readonly text: string }[];
}> {
  copyFileSync(join(fixtureKeys, 'ecdsa-p256.pub'), join(folder, 'ecdsa-p256.pub'));
  writeFileSync(file, JSON.stringify(policy('vap', rules)));
  const { policy: loaded } = await loadPolicy({ paths: [file] });
  const { files } = await exportPolicy('validating-admission-policy', [file]);
  return { policy: loaded, files };
}
