import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyRequirement, policyOf } from '../../trust/evidence/fixtures/fixture-image.ts';
import { fixtureContent, serveFixtures } from '../../trust/evidence/fixtures/fixture-registry.ts';
import type { FixtureContent, FixtureRegistry } from '../../trust/evidence/fixtures/fixture-registry.ts';
import { explainReason, verifyImage } from '../../trust/index.ts';
import { makeServerCertificate } from '../../trust/x509/index.ts';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { readPair } from '../certificates/serving-pair.ts';
import {
  clientOf,
  patchOf,
  podOf,
  reviewOf,
  serviceName,
  signedPolicy,
  startTestWebhook,
} from '../webhook.fixture.ts';
import { deadlineOf } from './answer-request.ts';

async function serve(
  t: TestContext,
  content: FixtureContent = fixtureContent(),
  options: Parameters<typeof serveFixtures>[1] = { referrers: true },
): Promise<FixtureRegistry> {
  const registry = await serveFixtures(content, options);
  t.after(() => registry.close());
  return registry;
}

const digestOf = (content: FixtureContent, name: string): string => content.get(name)?.tags.get('1') ?? '';

test('a signed image is admitted, and its tag becomes the digest that was decided about', async (t) => {
  const content = fixtureContent();
  const { host } = await serve(t, content);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const image = `${host}/bundle/ecdsa-p256:1`;
  const digest = digestOf(content, 'bundle/ecdsa-p256');
  const validated = await ask('/validate?timeout=10s', reviewOf(podOf(image)));
  assert.equal(validated.response.allowed, true, validated.body);
  assert.equal(validated.response.patch, undefined);
  assert.match(validated.response.auditAnnotations?.['verdicts'] ?? '', /^sha256:[0-9a-f]{64} admitted /);
  const mutated = await ask(
    '/mutate?timeout=10s',
    reviewOf(podOf(image, `${host}/bundle/ecdsa-p256@${digest}`)),
  );
  assert.equal(mutated.response.patchType, 'JSONPatch');
  assert.deepEqual(patchOf(mutated.response), [
    { op: 'replace', path: '/spec/containers/0/image', value: `${image}@${digest}` },
  ]);
});

test('an unsigned image is refused with the tree of reasons and the verdict of the node', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const image = `${host}/bundle/ecdsa-p384:1`;
  for (const path of ['/validate', '/mutate']) {
    const { response } = await ask(path, reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`, image)));
    assert.equal(response.allowed, false);
    assert.equal(response.status?.code, 403);
    assert.deepEqual(patchOf(response), []);
    const client = createRegistryClient();
    const { verdict } = await verifyImage({
      ...{ reference: image, namespace: 'shop', policy: signedPolicy, now: new Date() },
      registry: {
        options: {},
        repositories: (of) => Promise.resolve(client.repositories(of)),
        close: () => client.close(),
      },
    });
    await client.close();
    assert.equal(verdict.outcome, 'deny');
    assert.ok(
      response.status.message.includes(explainReason(verdict.reasons).trimEnd()),
      response.status.message,
    );
    assert.ok(response.status.message.includes(`verdict ${verdict.id}`), response.status.message);
    assert.match(response.status.message, /^1 of 2 images may not run\nPod shop\/web, container c1/);
  }
});

test('images of every kind of workload, container and volume are decided about', async (t) => {
  const content = fixtureContent();
  const { host } = await serve(t, content);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const [good, bad] = [`${host}/bundle/ecdsa-p256:1`, `${host}/bundle/ecdsa-p384:1`];
  const specs = (image: string): object[] => [
    { containers: [{ name: 'a', image }] },
    { containers: [{ name: 'a', image: good }], initContainers: [{ name: 'b', image }] },
    { containers: [{ name: 'a', image: good }], ephemeralContainers: [{ name: 'b', image }] },
    { containers: [{ name: 'a', image: good }], volumes: [{ name: 'v', image: { reference: image } }] },
  ];
  const kinds = (spec: object): object[] => [
    { apiVersion: 'v1', kind: 'Pod', spec },
    { apiVersion: 'v1', kind: 'PodTemplate', template: { spec } },
    ...['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet'].map((kind) => ({
      ...{ apiVersion: 'apps/v1', kind, spec: { template: { spec } } },
    })),
    { apiVersion: 'v1', kind: 'ReplicationController', spec: { template: { spec } } },
    { apiVersion: 'batch/v1', kind: 'Job', spec: { template: { spec } } },
    { apiVersion: 'batch/v1', kind: 'CronJob', spec: { jobTemplate: { spec: { template: { spec } } } } },
  ];
  for (const [image, allowed] of [
    [good, true],
    [bad, false],
  ] as const)
    for (const object of specs(image).flatMap(kinds)) {
      const { response } = await ask('/validate', reviewOf({ metadata: { name: 'x' }, ...object }));
      assert.equal(response.allowed, allowed, JSON.stringify([object, response]));
    }
  const cronJob = kinds(specs(good)[3] ?? {}).at(-1) ?? {};
  const { response } = await ask('/mutate', reviewOf(cronJob));
  const value = `${good}@${digestOf(content, 'bundle/ecdsa-p256')}`;
  assert.deepEqual(patchOf(response), [
    { op: 'replace', path: '/spec/jobTemplate/spec/template/spec/containers/0/image', value },
    { op: 'replace', path: '/spec/jobTemplate/spec/template/spec/volumes/0/image/reference', value },
  ]);
});

test('an image that only a rule by tag admits keeps its tag', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(
    t,
    policyOf({ images: ['127.0.0.1:*/**:1'], require: keyRequirement('ecdsa-p256') }),
  );
  const pod = podOf(`${host}/bundle/ecdsa-p256:1`);
  const { response } = await ask('/mutate', reviewOf(pod));
  assert.equal(response.allowed, true);
  assert.deepEqual(patchOf(response), []);
  assert.match(response.warnings?.[0] ?? '', /keeps its tag/);
  assert.equal((await ask('/validate', reviewOf(pod))).response.allowed, true);
});

test('a tag is not kept because the registry does not answer about its digest', async (t) => {
  const content = fixtureContent();
  const digest = digestOf(content, 'bundle/ecdsa-p256');
  const { host } = await serve(t, content, {
    referrers: true,
    before(path, response) {
      if (!path.endsWith(`/manifests/${digest}`)) return false;
      response.writeHead(503).end();
      return true;
    },
  });
  const { ask } = await startTestWebhook(t, signedPolicy);
  const { response } = await ask('/mutate', reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`)));
  assert.deepEqual([response.allowed, response.status?.code, response.warnings], [false, 503, undefined]);
});

test('a decision about a change is about the images that it adds, and other operations need no decision', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const bad = `${host}/bundle/ecdsa-p384:1`;
  const allowed = async (object: object | null, more: object): Promise<boolean> =>
    (await ask('/validate', reviewOf(object ?? {}, { ...more, object }))).response.allowed;
  const before = podOf(bad);
  assert.equal(await allowed(podOf(bad), { operation: 'UPDATE', oldObject: before }), true);
  const ephemeral = {
    ...before,
    spec: { containers: [], ephemeralContainers: [{ name: 'd', image: `${bad}1` }] },
  };
  assert.equal(
    await allowed(ephemeral, { operation: 'UPDATE', oldObject: before, subResource: 'ephemeralcontainers' }),
    false,
  );
  assert.equal(await allowed(null, { operation: 'DELETE', oldObject: before }), true);
  assert.equal(await allowed(null, { operation: 'CONNECT' }), true);
  assert.equal(await allowed({ apiVersion: 'v1', kind: 'Eviction' }, {}), true);
});

test('rules for namespaces use the namespace of the review, not the namespace of the object', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(
    t,
    policyOf({ namespaces: ['shop'], require: keyRequirement('ecdsa-p256') }),
  );
  const image = `${host}/bundle/ecdsa-p256:1`;
  const pod = { ...podOf(image), metadata: { name: 'x', namespace: 'shop' } };
  assert.equal((await ask('/validate', reviewOf(pod))).response.allowed, true);
  const { response } = await ask('/validate', reviewOf(pod, { namespace: 'other' }));
  assert.equal(response.allowed, false);
  assert.match(response.status?.message ?? '', /not for "other"/);
});

test('a hundred equal reviews at the same time cause no more registry requests than one review', async (t) => {
  const registry = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const body = reviewOf(podOf(`${registry.host}/bundle/ecdsa-p256:1`));
  const begun = performance.now();
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask('/validate?timeout=30s', body)));
  assert.ok(answers.every(({ response }) => response.allowed));
  const asked = registry.requests.length;
  assert.equal(
    registry.requests.filter((one) => one.endsWith('/manifests/1')).length,
    1,
    registry.requests.join('\n'),
  );
  // Another namespace needs another decision, on the same evidence.
  await ask('/validate', reviewOf(podOf(`${registry.host}/bundle/ecdsa-p256:1`), { namespace: 'other' }));
  // Evidence is fetched again after five seconds.
  if (performance.now() - begun < 4_000) assert.equal(registry.requests.length, asked);
  const { body: metrics } = await ask('/metrics');
  assert.match(metrics, /portcullis_webhook_requests_total\{path="\/validate",outcome="allowed"\} 101/);
  assert.match(metrics, /portcullis_webhook_decisions_total\{decision="admitted",source="inflight"\} \d+/);
});

test('a new policy takes effect immediately', async (t) => {
  const { host } = await serve(t);
  const { ask, use } = await startTestWebhook(t, signedPolicy);
  const body = reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`));
  assert.equal((await ask('/validate', body)).response.allowed, true);
  use({ ...policyOf({ deny: 'not today' }), revision: 'sha256:next' });
  assert.match((await ask('/validate', body)).response.status?.message ?? '', /denies: not today/);
  use(undefined);
  const { response } = await ask('/validate', body);
  assert.equal(response.allowed, false);
  assert.match(response.status?.message ?? '', /no valid trust policy.*policy\.yaml:1:1/);
  assert.equal((await ask('/readyz')).status, 503);
  assert.equal((await ask('/healthz')).status, 200);
});

test('five hundred images in one pod are checked, and a pod with more than a thousand is refused', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const good = `${host}/bundle/ecdsa-p256:1`;
  const gone = Array.from({ length: 499 }, (_, index) => `${host}/gone/n${index}:1`);
  const { response } = await ask('/validate?timeout=30s', reviewOf(podOf(good, ...gone)));
  assert.equal(response.allowed, false);
  assert.match(response.status?.message ?? '', /^499 of 500 images may not run/);
  assert.match(response.status?.message ?? '', /and \d+ more$/);
  assert.ok((response.status?.message.length ?? 0) <= 24 * 1024);
  const many = await ask('/validate', reviewOf(podOf(...Array.from({ length: 1001 }, () => good))));
  assert.match(many.response.status?.message ?? '', /names more than 1000 images/);
  const same = await ask('/mutate?timeout=30s', reviewOf(podOf(...Array.from({ length: 500 }, () => good))));
  assert.equal((patchOf(same.response) as unknown[]).length, 500);
});

test('a registry that does not answer causes a refusal within the time limit of the call', async (t) => {
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const { ask } = await startTestWebhook(t, signedPolicy);
  const image = `127.0.0.1:${(silent.address() as AddressInfo).port}/app:1`;
  const begun = performance.now();
  const { response } = await ask('/validate?timeout=1s', reviewOf(podOf(image)));
  const took = performance.now() - begun;
  assert.equal(response.allowed, false);
  assert.equal(response.status?.code, 503);
  assert.match(response.status?.message ?? '', /within 0\.8 s.*ADMISSION_LATE/);
  assert.ok(took >= 790 && took < 20_000, `${took} ms`);
  const { response: down } = await ask('/validate', reviewOf(podOf('127.0.0.1:9/app:1')));
  assert.equal(down.allowed, false);
  assert.match(down.status?.message ?? '', /undecided.*127\.0\.0\.1:9/);
});

test('large reviews that wait for a registry use a limited amount of memory', async (t) => {
  const { port, end } = await startSilent(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const annotations = { large: 'x'.repeat(7 * 1024 * 1024) };
  const pod = { ...podOf(`127.0.0.1:${port}/app:1`), metadata: { name: 'web', annotations } };
  const asked = Array.from({ length: 20 }, (_, at) =>
    ask('/validate?timeout=30s', reviewOf(pod, { namespace: `n${at}` })),
  );
  // The first answer is a refusal: the others wait for the registry.
  await Promise.race(asked);
  end();
  const answers = await Promise.all(asked);
  const statuses = new Set(answers.map(({ status }) => status));
  assert.deepEqual([...statuses].sort(), [200, 503]);
  assert.ok(answers.every(({ body }) => !body.includes('"allowed":true')));
  // All of this memory is free again.
  const last = await ask('/validate?timeout=30s', reviewOf(pod));
  assert.equal(last.status, 200);
});

/** Starts a registry that accepts connections at every address of loopback, and answers none. */
async function startSilent(
  t: TestContext,
): Promise<{ readonly port: number; /** Ends it with all its connections. */ end(): void }> {
  const open = new Set<Socket>();
  const server = createServer((socket) => void open.add(socket.on('error', () => undefined)));
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  const end = (): void => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  t.after(end);
  return { port: (server.address() as AddressInfo).port, end };
}

test('a namespace that names many silent registries does not delay another namespace', async (t) => {
  const { host } = await serve(t);
  const { port, end } = await startSilent(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const bad = podOf(...Array.from({ length: 200 }, (_, index) => `127.0.1.${index + 1}:${port}/app:1`));
  let isRefused = false;
  const refused = ask('/validate?timeout=30s', reviewOf(bad, { namespace: 'other' })).finally(
    () => (isRefused = true),
  );
  await sleep(300);
  const { response } = await ask('/validate?timeout=30s', reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`)));
  assert.equal(response.allowed, true, String(response.status?.message));
  assert.equal(isRefused, false, 'it does not wait for the other namespace');
  end();
  assert.equal((await refused).response.allowed, false);
});

test('large reviews of one user, in any namespaces, leave memory for other users', async (t) => {
  const { host } = await serve(t);
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const { ask } = await startTestWebhook(t, signedPolicy);
  const large = (image: string): object => ({
    ...podOf(image),
    metadata: { name: 'web', annotations: { large: 'x'.repeat(7 * 1024 * 1024) } },
  });
  // This starts the thread that examines large reviews.
  assert.equal(
    (await ask('/validate?timeout=30s', reviewOf(large(`${host}/bundle/ecdsa-p256:1`)))).status,
    200,
  );
  let answered = 0;
  const asked = Array.from({ length: 16 }, (_, at) =>
    ask(
      '/validate?timeout=15s',
      reviewOf(large(`127.0.0.1:${port}/app:1`), {
        ...{ namespace: `n${at}`, userInfo: { username: 'greedy' } },
      }),
    ).finally(() => (answered += 1)),
  );
  // Three of them fit into the limit of the user, and wait for the registry.
  while (answered < asked.length - 3) await sleep(10);
  const { response } = await ask('/validate?timeout=30s', reviewOf(large(`${host}/bundle/ecdsa-p256:1`)));
  assert.equal(response.allowed, true);
  const codes = (await Promise.all(asked)).map(({ status, response: own }) =>
    status === 200 ? own.status?.code : status,
  );
  assert.deepEqual([...new Set(codes)].sort(), [429, 503]);
});

test('a user who names silent registries in many namespaces does not delay another user', async (t) => {
  const { host } = await serve(t);
  const { port, end } = await startSilent(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  let isRefused = false;
  const refused = Array.from({ length: 10 }, (_, at) =>
    ask(
      '/validate?timeout=30s',
      reviewOf(
        podOf(...Array.from({ length: 20 }, (__, index) => `127.0.${at + 1}.${index + 1}:${port}/app:1`)),
        { namespace: `n${at}`, userInfo: { username: 'greedy' } },
      ),
    ).finally(() => (isRefused = true)),
  );
  await sleep(300);
  const { response } = await ask('/validate?timeout=30s', reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`)));
  assert.equal(response.allowed, true, String(response.status?.message));
  assert.equal(isRefused, false, 'it does not wait for the other user');
  end();
  for (const one of refused) assert.equal((await one).response.allowed, false);
});

test('the time limit of a call is read in the form of the API server, within its bounds', () => {
  assert.equal(deadlineOf('10s'), 8000);
  assert.equal(deadlineOf('1s'), 800);
  assert.equal(deadlineOf('1m0s'), 24_000);
  for (const odd of [null, '', 'x', '-1s', '99999s', '1e9s'])
    assert.ok(deadlineOf(odd) <= 24_000 && deadlineOf(odd) >= 400);
});

test('malformed and oversized reviews get an answer, and do not affect other reviews', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const good = reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`));
  const plain: [string | Buffer, number, RegExp][] = [
    ['', 400, /not JSON/],
    ['[]', 400, /request\.uid/],
    ['null', 400, /request\.uid/],
    [`{"request":${'{"a":'.repeat(500)}1${'}'.repeat(500)}}`, 400, /nested deeper/],
    ['{"request":{"uid":5}}', 400, /request\.uid/],
    [`{"request":{"uid":"${'u'.repeat(1000)}"}}`, 400, /request\.uid/],
    [Buffer.alloc(9 * 1024 * 1024, 0x20), 413, /longer than/],
    [Buffer.from([0xff, 0xfe, 0x00]), 400, /not JSON/],
    [`[${'{},'.repeat(1_000_001)}1]`, 400, /more than 2000000 parts/],
  ];
  for (const [body, status, says] of plain) {
    const answer = await ask('/validate?timeout=30s', body);
    assert.equal(answer.status, status);
    assert.match(answer.body, says);
  }
  const withUid: [object, RegExp][] = [
    [{ apiVersion: 'admission.k8s.io/v1beta1' }, /not an AdmissionReview/],
    [{ request: { uid: 'a', operation: 'PATCH' } }, /operation/],
    [{ request: { uid: 'a', operation: 'CREATE' } }, /object is missing/],
    [{ request: { uid: 'a', operation: 'CREATE', object: [], namespace: 'x' } }, /object is missing/],
    [{ request: { uid: 'a', operation: 'CREATE', object: {}, namespace: 7 } }, /namespace/],
    [{ request: { uid: 'a', operation: 'UPDATE', object: {}, oldObject: 'x' } }, /oldObject/],
    [{ request: { uid: 'a', operation: 'CREATE', object: podOf('Not An Image') } }, /not an image reference/],
    [{ request: { uid: 'a', operation: 'CREATE', object: podOf('') } }, /names no image/],
    [
      { request: { uid: 'a', operation: 'CREATE', object: { apiVersion: 'v1', kind: 'Pod' } } },
      /has no spec/,
    ],
  ];
  for (const [part, says] of withUid) {
    const review = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: { uid: 'a' },
      ...part,
    };
    const { response } = await ask('/validate', JSON.stringify(review));
    assert.equal(response.uid, 'a');
    assert.equal(response.allowed, false);
    assert.match(response.status?.message ?? '', says);
  }
  const large = {
    ...podOf(`${host}/bundle/ecdsa-p256:1`),
    metadata: { name: 'x', annotations: { a: 'x'.repeat(5 * 1024 * 1024) } },
  };
  assert.equal((await ask('/validate?timeout=30s', reviewOf(large))).response.allowed, true);
  assert.equal((await ask('/validate', good, { headers: { 'content-type': 'text/plain' } })).status, 415);
  assert.equal((await ask('/validate')).status, 405);
  assert.equal((await ask('/other')).status, 404);
  assert.equal((await ask('/healthz', '{}')).status, 405);
  assert.equal((await ask('/validate', good)).response.allowed, true);
});

test('a request beyond the ceiling, which the node will refuse, causes a warning', async (t) => {
  const { host } = await serve(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'x' },
    spec: {
      hostPID: true,
      containers: [
        { name: 'a', image: `${host}/bundle/ecdsa-p256:1`, securityContext: { privileged: true } },
        {
          name: 'b',
          image: `${host}/bundle/ecdsa-p256:1`,
          securityContext: { capabilities: { add: ['NET_BIND_SERVICE'] } },
        },
      ],
    },
  };
  const { response } = await ask('/validate', reviewOf(pod));
  assert.equal(response.allowed, true);
  assert.deepEqual(response.warnings, [
    'container a: the ceiling baseline lacks privileged mode: the node will refuse it',
    "pod: the ceiling baseline lacks the host's pid namespace: the node will refuse it",
  ]);
  const loose = await startTestWebhook(t, policyOf({ allowUnverified: true }));
  const { response: admitted } = await loose.ask('/validate', reviewOf(podOf(`${host}/bundle/ecdsa-p384:1`)));
  assert.match(admitted.warnings?.[0] ?? '', /without proof/);
});

test('a renewed certificate is used for new connections, and open connections continue', async (t) => {
  const { webhook, ask } = await startTestWebhook(t, signedPolicy);
  const port = Number(new URL(webhook.url).port);
  const open = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(open, 'secureConnect');
  t.after(() => open.destroy());
  const next = await makeServerCertificate({
    names: [serviceName],
    from: new Date(Date.now() - 1000),
    until: new Date(Date.now() + 3_600_000),
  });
  webhook.usePair(readPair(next.certificate, next.key, 'test'));
  assert.equal((await clientOf(t, webhook.url, () => next.authority)('/healthz')).status, 200);
  open.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(String(await once(open, 'data')), /200 OK/);
  const stranger = clientOf(t, webhook.url, () => next.authority, 'other.svc');
  await assert.rejects(stranger('/healthz'), /Hostname/);
  await assert.rejects(ask('/healthz'), /verify|certificate/);
});

test('the webhook finishes the reviews in progress before it ends', async (t) => {
  const content = fixtureContent();
  const gate = Promise.withResolvers<undefined>();
  const registry = await serve(t, content, {
    referrers: true,
    before(path, response) {
      if (!path.endsWith('/manifests/1')) return false;
      const digest = digestOf(content, 'bundle/ecdsa-p256');
      const body = content.get('bundle/ecdsa-p256')?.manifests.get(digest);
      void gate.promise.then(() =>
        response
          .writeHead(200, {
            'content-type': 'application/vnd.oci.image.manifest.v1+json',
            'docker-content-digest': digest,
          })
          .end(body),
      );
      return true;
    },
  });
  const { webhook, ask } = await startTestWebhook(t, signedPolicy);
  const answer = ask('/validate', reviewOf(podOf(`${registry.host}/bundle/ecdsa-p256:1`)));
  while (registry.requests.length === 0) await sleep(10);
  const closed = webhook.close();
  await sleep(100);
  gate.resolve(undefined);
  assert.equal((await answer).response.allowed, true);
  await closed;
});

test('a webhook that ends lets the API server open its next connection to another replica', async (t) => {
  const { webhook, ask } = await startTestWebhook(t, signedPolicy, { drainMs: 5000 });
  assert.equal((await ask('/healthz')).connection, 'keep-alive');
  void webhook.close();
  const { status, connection } = await ask('/readyz');
  assert.deepEqual([status, connection], [503, 'close']);
});
