import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import {
  bundleContentAnnotation,
  bundleMediaType,
  ociManifestType,
  predicateTypeAnnotation,
  cosignPredicateType,
} from '../evidence/cosign-names.ts';
import { keyRequirement, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { digestOfBytes, fixtureContent, serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import type { FixtureContent, FixtureRegistry } from '../evidence/fixtures/fixture-registry.ts';
import { bundleVerifications } from '../keys/remembered.ts';
import { loadPolicy } from '../policy/load.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import { decide } from '../verdict/decide.ts';
import { admitImages } from './admit.ts';
import type { GateCache } from './admit.ts';
import { createHostWatch } from './host-watch.ts';
import { readImageSources } from './image-sources.ts';
import type { GateQuestion, GateResult } from './types.ts';

async function serve(
  t: TestContext,
  content: FixtureContent = fixtureContent(),
  options: Parameters<typeof serveFixtures>[1] = { referrers: true },
): Promise<FixtureRegistry> {
  const registry = await serveFixtures(content, options);
  t.after(() => registry.close());
  return registry;
}

function access(t: TestContext, more: RegistryAccess['options'] = {}): RegistryAccess {
  const options = { retry: { attempts: 1 }, ...more };
  const client = createRegistryClient(options);
  t.after(() => client.close());
  return {
    options,
    repositories: (reference) => Promise.resolve(client.repositories(reference)),
    close: () => client.close(),
  };
}

const ask = (...references: readonly string[]): readonly GateQuestion[] =>
  references.map((reference) => ({ reference, namespace: '', places: [] }));

function admit(
  t: TestContext,
  questions: readonly GateQuestion[],
  policy: TrustPolicy,
  more: Partial<Parameters<typeof admitImages>[0]> = {},
): Promise<GateResult> {
  return admitImages({ questions, policy, registry: access(t), platforms: [], now, ...more });
}

const p256 = policyOf({ require: keyRequirement('ecdsa-p256') });

test('each image of a run gets its own decision, in the order in which the images were given', async (t) => {
  const { host } = await serve(t);
  const result = await admit(
    t,
    ask(`${host}/bundle/ecdsa-p384:1`, '127.0.0.1:9/down:1', `${host}/bundle/ecdsa-p256:1`, `${host}/none:1`),
    p256,
  );
  assert.deepEqual(
    result.images.map(({ reference, decision, code }) => [reference.replace(host, 'HOST'), decision, code]),
    [
      ['HOST/bundle/ecdsa-p384:1', 'denied', 'TRUST_SIGNATURE_OTHER_KEY'],
      ['127.0.0.1:9/down:1', 'undecided', 'DISTRIBUTION_UNREACHABLE'],
      ['HOST/bundle/ecdsa-p256:1', 'admitted', 'TRUST_ADMITTED'],
      ['HOST/none:1', 'failed', 'DISTRIBUTION_NOT_FOUND'],
    ],
  );
  assert.deepEqual(result.counts, { admitted: 1, waived: 0, denied: 1, undecided: 1, failed: 1 });
  assert.match(result.images[1]?.error?.why ?? '', /127\.0\.0\.1:9/);
  assert.equal(result.images[0]?.rule, 'policy.yaml:1');
});

test('eight containers and five authorities for one digest cost the requests and the verification of one', async (t) => {
  const mock = await startMockSigstore();
  t.after(() => mock.close());
  const folder = await mkdtemp(join(tmpdir(), 'gate-shared-'));
  t.after(() => rm(folder, { recursive: true }));
  const content = fixtureContent();
  const unsigned = [...content.entries()].find(([name]) => name.startsWith('unsigned'));
  assert.ok(unsigned);
  const [name, repository] = unsigned;
  const [tag = '', digest = ''] = [...repository.tags][0] ?? [];
  const manifest = repository.manifests.get(digest) ?? Buffer.from('');
  const bundle = Buffer.from(
    JSON.stringify(await mock.sign(imageStatement(digest), { rekor: 1, inToto: true })),
  );
  repository.blobs.set(digestOfBytes(bundle), bundle);
  const referrer = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifestType,
      artifactType: bundleMediaType,
      config: {
        mediaType: 'application/vnd.oci.empty.v1+json',
        digest: digestOfBytes(Buffer.from('{}')),
        size: 2,
      },
      layers: [{ mediaType: bundleMediaType, digest: digestOfBytes(bundle), size: bundle.length }],
      subject: { mediaType: ociManifestType, digest, size: manifest.length },
      annotations: {
        [bundleContentAnnotation]: 'dsse-envelope',
        [predicateTypeAnnotation]: cosignPredicateType,
      },
    }),
  );
  repository.manifests.set(digestOfBytes(referrer), referrer);
  await writeFile(join(folder, 'root.json'), JSON.stringify(mock.trustedRoot()));
  const subjects = [
    mockSubject,
    'https://example.com/team/**',
    'https://example.com/**',
    'https://a.example/x',
    'https://b.example/x',
  ];
  const any = subjects.map(
    (subject) => `        - sigstore: { issuer: "${mockIssuer}", subject: "${subject}", root: root.json }\n`,
  );
  await writeFile(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      any:\n${any.join('')}`,
  );
  const { policy } = await loadPolicy({ paths: [join(folder, 'policy.yaml')] });
  const registry = await serve(t, content);
  const image = `${registry.host}/${name}:${tag}`;
  const time = new Date();

  const pods = [1, 2, 3, 4].map(
    (index) =>
      `---\napiVersion: v1\nkind: Pod\nmetadata: { name: p${index}, namespace: team-${index} }\nspec:\n  initContainers: [{ name: a, image: "${image}" }]\n  containers: [{ name: b, image: "${registry.host}/${name}@${digest}" }]\n`,
  );
  const before = bundleVerifications();
  const { questions } = readImageSources([{ file: 'pods.yaml', text: pods.join('') }], '');
  assert.equal(questions.length, 8);
  const many = await admit(t, questions, policy, { now: time });
  assert.deepEqual(
    many.counts,
    { admitted: 8, waived: 0, denied: 0, undecided: 0, failed: 0 },
    JSON.stringify(many),
  );
  assert.equal(bundleVerifications() - before, 1);
  const requests = registry.requests.length;
  const once = await admit(t, ask(image), policy, { now: time });
  assert.equal(once.counts.admitted, 1);
  // Two references: the manifest is asked for by its tag and by its digest. Everything else is asked once.
  assert.equal(requests, registry.requests.length - requests + 1, registry.requests.join('\n'));
});

test('a registry that accepts connections but never answers is given up after a few requests', async (t) => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const options = { retry: { attempts: 1 }, timeouts: { headers: 200, document: 400 } };
  const client = createRegistryClient(options);
  t.after(() => client.close());
  let asked = 0;
  const registry: RegistryAccess = {
    options,
    repositories: (reference) => {
      asked += 1;
      return Promise.resolve(client.repositories(reference));
    },
    close: () => client.close(),
  };
  const images = Array.from({ length: 100 }, (_, index) => `${host}/app:${index}`);
  const result = await admit(t, ask(...images), p256, { registry });
  assert.equal(result.counts.undecided, 100);
  assert.ok(asked < 20, `${asked} questions`);
  assert.equal(result.images.at(-1)?.code, 'TRUST_GATE_HOST_SILENT');
  assert.ok(result.images.every(({ error }) => `${error?.on} ${error?.why}`.includes(host)));
});

test('a registry that serves images but no evidence is given up, too', async (t) => {
  const { host, requests } = await serve(t, fixtureContent(), {
    before: (path, response) => {
      if (!path.includes('/referrers/') && !path.includes('/manifests/sha256-')) return false;
      response.writeHead(503).end();
      return true;
    },
  });
  const names = [...fixtureContent().keys()];
  const result = await admit(t, ask(...names.map((name) => `${host}/${name}:1`)), p256);
  assert.equal(result.counts.undecided, names.length, JSON.stringify(result.counts));
  assert.equal(result.images.at(-1)?.code, 'TRUST_GATE_HOST_SILENT');
  assert.ok(requests.length < 200, String(requests.length));
});

test('a registry whose images have more evidence than is read is asked about the other images', async (t) => {
  const entry = { mediaType: 'application/vnd.oci.image.manifest.v1+json', size: 1 };
  const list = JSON.stringify({
    schemaVersion: 2,
    manifests: Array.from({ length: 1001 }, () => ({ ...entry, digest: `sha256:${'0'.repeat(64)}` })),
  });
  const content = fixtureContent();
  const names = Array.from({ length: 20 }, (_, index) => `full/n${index}`);
  const full = content.get('bundle/ecdsa-p256');
  assert.ok(full);
  for (const name of names) content.set(name, full);
  const { host } = await serve(t, content, {
    before: (path, response) => {
      if (!/^\/v2\/full\/.*\/referrers\//u.test(path)) return false;
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' }).end(list);
      return true;
    },
  });
  const images = [...names, 'bundle/ecdsa-p256'].map((name) => `${host}/${name}:1`);
  const result = await admit(t, ask(...images), p256);
  assert.deepEqual([...new Set(result.images.slice(0, -1).map(({ code }) => code))], ['TRUST_UNDECIDED']);
  assert.equal(result.images.at(-1)?.decision, 'admitted', JSON.stringify(result.images.at(-1)));
});

test('the caller can cancel', async (t) => {
  const { host } = await serve(t);
  const controller = new AbortController();
  controller.abort(new Error('enough'));
  await assert.rejects(
    admit(t, ask(`${host}/bundle/ecdsa-p256:1`), p256, { signal: controller.signal }),
    /enough/,
  );
});

test('the gate decides about every platform of an index, or about the named platforms', async (t) => {
  const { host } = await serve(t);
  const index = ask(`${host}/bundle/index:1`);
  const all = await admit(t, index, p256, { platforms: 'all' });
  assert.ok(all.images.length > 1);
  assert.equal(new Set(all.images.map(({ manifestDigest }) => manifestDigest)).size, all.images.length);
  const [first] = all.images;
  const one = await admit(t, index, p256, {
    platforms: [first?.verdict?.platform ?? { os: '', architecture: '' }],
  });
  assert.deepEqual(one.images, [first]);
  const none = await admit(t, index, p256, { platforms: [{ os: 'plan9', architecture: 'amd64' }] });
  assert.deepEqual([none.images[0]?.decision, none.images[0]?.code], ['failed', 'TRUST_NO_PLATFORM']);
});

test('an image that no rule can admit causes no request, and the namespace counts', async (t) => {
  const { host, requests } = await serve(t);
  const policy = policyOf({ namespaces: ['shop'], require: keyRequirement('ecdsa-p256') });
  const reference = `${host}/bundle/ecdsa-p256:1`;
  const denied = await admit(t, [{ reference, namespace: 'web', places: [] }], policy);
  assert.deepEqual([denied.counts.denied, requests.length], [1, 0]);
  const both = await admit(
    t,
    ['shop', 'web'].map((namespace) => ({ reference, namespace, places: [] })),
    policy,
  );
  assert.deepEqual([both.counts.admitted, both.counts.denied], [1, 1]);
});

test('images of lists and manifests are read with their lines, and every mistake is reported with its position', () => {
  const list = '# images\nregistry.example.com/a:1\n\n  registry.example.com/b:2 # second\n';
  assert.deepEqual(
    readImageSources([{ file: 'list', text: list }], 'shop').questions.map(
      ({ reference, namespace, places }) => [reference, namespace, places[0]?.line, places[0]?.column],
    ),
    [
      ['registry.example.com/a:1', 'shop', 2, 1],
      ['registry.example.com/b:2', 'shop', 4, 3],
    ],
  );
  const text = `apiVersion: v1
kind: List
items:
  - kind: CronJob
    metadata: { name: tick, namespace: jobs }
    spec:
      jobTemplate:
        spec:
          template:
            spec:
              containers: [{ name: c, image: a:1 }]
  - kind: Pod
    metadata: { name: p }
    spec:
      initContainers: [{ name: i, image: b:1 }]
      containers: [{ name: c, image: c:1 }]
      ephemeralContainers: [{ name: e, image: d:1 }]
      volumes: [{ name: v, image: { reference: e:1 } }, { name: w, emptyDir: {} }]
---
kind: ConfigMap
metadata: { name: containers }
data: { containers: text }
---
kind: Rollout
metadata: { name: r, namespace: x }
spec: { template: { spec: { containers: [{ name: c, image: f:1 }] } } }
`;
  assert.deepEqual(
    readImageSources([{ file: 'm.yaml', text }], 'base').questions.map(
      ({ reference, namespace, places: [place] }) => [reference, namespace, place?.line, place?.object],
    ),
    [
      ['a:1', 'jobs', 11, 'CronJob jobs/tick, container c'],
      ['b:1', 'base', 15, 'Pod base/p, container i'],
      ['c:1', 'base', 16, 'Pod base/p, container c'],
      ['d:1', 'base', 17, 'Pod base/p, container e'],
      ['e:1', 'base', 18, 'Pod base/p, volume v'],
      ['f:1', 'x', 26, 'Rollout x/r, container c'],
    ],
  );
  for (const [wrong, says] of [
    [
      'kind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: c }] }\n',
      /m\.yaml:3:.*Pod p, container c: it names no image/,
    ],
    ['kind: Deployment\nmetadata: { name: d }\nspec: {}\n', /Deployment d has no spec\.template\.spec/],
    [
      'kind: Pod\nspec: { containers: [{ name: c, image: "UP CASE" }] }\n',
      /m\.yaml:2:40.*not an image reference/,
    ],
    ['kind: Service\nmetadata: { name: s }\n', /it names no image/],
    ['kind: Pod\n  bad: [\n', /m\.yaml:1:7/],
    ['one.example/a:1\nBAD\n', /m\.yaml:2:1.*not an image reference/],
    ['', /it names no image/],
  ] as const)
    assert.throws(
      () => readImageSources([{ file: 'm.yaml', text: wrong }], ''),
      (error) =>
        isPortcullisError(error) && error.code === 'TRUST_GATE_IMAGES_INVALID' && says.test(error.message),
      wrong,
    );
});

test('a service leaves it to its cache whether the evidence of a mirror suffices', async (t) => {
  const name = 'bundle/ecdsa-p256';
  const [mirror, origin] = [await serve(t), await serve(t)];
  const rules = new Map([[origin.host, { mirrors: [{ url: `http://${mirror.host}` }] }]]);
  const judged: string[] = [];
  const cache: GateCache = {
    resolved: (_key, _host, asked) => asked(),
    evidence: (_key, _host, asked) => asked(),
    decide: (input) => Promise.resolve(decide(input)),
    satisfied(_policy, { items }) {
      judged.push(...items.map(({ servedBy }) => servedBy));
      return Promise.resolve(false);
    },
    watch: createHostWatch,
  };
  const registry = access(t, { rules });
  const { counts } = await admit(t, ask(`${origin.host}/${name}:1`), p256, { registry, cache });
  assert.equal(counts.admitted, 1);
  assert.deepEqual(judged, [mirror.host], 'nothing is asked after the last repository');
  assert.ok(origin.requests.length > 0, 'the cache found the evidence of the mirror insufficient');
});
