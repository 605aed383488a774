import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { amd64, gatherFixture, keyRequirement, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { digestOfBytes, fixtureContent, serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import type {
  FixtureContent,
  FixtureRegistry,
  FixtureRepository,
} from '../evidence/fixtures/fixture-registry.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { adviceOf } from '../verdict/advice.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { decide } from '../verdict/decide.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { createNegativeCache } from '../evidence/negative-cache.ts';
import { defaultLimits } from '../evidence/limits.ts';

async function serve(
  t: TestContext,
  options: Parameters<typeof serveFixtures>[1] = {},
  content: FixtureContent = fixtureContent(),
): Promise<FixtureRegistry> {
  const registry = await serveFixtures(content, options);
  t.after(() => registry.close());
  return registry;
}

function verdictOf(dossier: Dossier, policy: TrustPolicy): Verdict {
  return decide({ dossier, reference: dossier.reference, namespace: 'team', platform: amd64, policy, now });
}

function part(content: FixtureContent, name: string): FixtureRepository {
  const found = content.get(name);
  assert.ok(found);
  return found;
}

const p256 = policyOf({ require: keyRequirement('ecdsa-p256') });

// cosign v3 makes Ed25519ph signatures with Ed25519 keys, which its own `verify --key` refuses.
const signed = ['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'rsa-2048', 'rsa-4096', 'ed25519'];

before(loadPrehashed);

for (const form of ['bundle', 'legacy']) {
  for (const key of signed) {
    test(`cosign's ${form} signature by ${key} is admitted`, async (t) => {
      const { host } = await serve(t);
      const policy = policyOf({ require: keyRequirement(key) });
      const dossier = await gatherFixture(host, `${form}/${key}`, policy);
      const verdict = verdictOf(dossier, policy);
      assert.equal(dossier.items.length, 1);
      assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
    });
  }
  for (const [where, says] of [
    ['index', /names the image's index sha256:/],
    ['platform', /names the platform's manifest sha256:/],
  ] as const) {
    test(`a ${form} signature on the ${where} counts, and the reason says so`, async (t) => {
      const { host } = await serve(t);
      const verdict = verdictOf(
        await gatherFixture(host, `${form}/${where}`, p256, { platformTag: 'amd64' }),
        p256,
      );
      assert.equal(verdict.outcome, 'admit');
      assert.match(explainVerdict(verdict), says);
    });
  }
  test(`a ${form} signature on another platform's manifest does not count`, async (t) => {
    const { host } = await serve(t);
    const dossier = await gatherFixture(host, `${form}/platform`, p256, { platformTag: 'arm64' });
    assert.equal(verdictOf(dossier, p256).outcome, 'deny');
  });
}

test('the referrers API and the fallback tag give the same verdict, and the item says where it was found', async (t) => {
  const withApi = await gatherFixture((await serve(t, { referrers: true })).host, 'bundle/ecdsa-p256', p256);
  const without = await gatherFixture((await serve(t)).host, 'bundle/ecdsa-p256', p256);
  assert.equal(withApi.items[0]?.foundBy, 'referrers');
  assert.match(without.items[0]?.foundBy ?? '', /^fallback-tag sha256-[0-9a-f]{64}$/);
  assert.equal(verdictOf(withApi, p256).outcome, 'admit');
  assert.equal(verdictOf(without, p256).outcome, 'admit');
});

test('five requests find a bundle of an image without an index if the registry has no referrers API', async (t) => {
  const { host, requests } = await serve(t);
  await gatherFixture(host, 'bundle/ecdsa-p256', p256);
  assert.deepEqual(requests.filter((one) => one.startsWith('GET')).length, 5, requests.join('\n'));
});

test('a policy that requires no signature of this image causes no request to a registry', async (t) => {
  const { host, requests } = await serve(t);
  const policy = policyOf(
    { allowUnverified: true },
    { images: ['elsewhere.example/**'], require: keyRequirement('ecdsa-p256') },
  );
  const dossier = await gatherFixture(host, 'unsigned', policy);
  assert.deepEqual(
    requests.map((one) => one.split(' ')[0]),
    ['HEAD'],
  );
  assert.deepEqual([dossier.items, dossier.unreachable], [[], []]);
});

test('an unsigned image is denied: no signature was found', async (t) => {
  const { host } = await serve(t);
  const verdict = verdictOf(await gatherFixture(host, 'unsigned', p256), p256);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /no signature was found for this image/);
});

test('a source that cannot be asked makes the verdict undecided, and is named', async (t) => {
  const { host } = await serve(t, {
    before: (path, response) => {
      if (!path.includes('/referrers/')) return false;
      response.writeHead(503).end();
      return true;
    },
  });
  const verdict = verdictOf(await gatherFixture(host, 'unsigned', p256), p256);
  assert.equal(verdict.outcome, 'undecided');
  assert.match(explainVerdict(verdict), /referrers of sha256:[0-9a-f]+ could not be reached/);
});

test('evidence from other sources still counts when a source cannot be asked', async (t) => {
  const { host } = await serve(t, {
    before: (path, response) => {
      if (!path.includes('/referrers/')) return false;
      response.writeHead(503).end();
      return true;
    },
  });
  assert.equal(verdictOf(await gatherFixture(host, 'legacy/ecdsa-p256', p256), p256).outcome, 'admit');
});

test('a registry that answers HTML is an unreachable source', async (t) => {
  const { host } = await serve(t, {
    before: (path, response) => {
      if (!/referrers|sha256-/.test(path)) return false;
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in</html>');
      return true;
    },
  });
  const dossier = await gatherFixture(host, 'bundle/ecdsa-p256', p256);
  assert.equal(dossier.unreachable.length, 2);
  assert.equal(verdictOf(dossier, p256).outcome, 'undecided');
});

test('a registry that never answers delays gathering only until the time limit', async (t) => {
  const { host } = await serve(t, { before: (path) => /referrers|sha256-/.test(path) });
  const started = performance.now();
  const dossier = await gatherFixture(host, 'bundle/ecdsa-p256', p256, {
    limits: { ...defaultLimits, milliseconds: 150 },
  });
  assert.ok(performance.now() - started < 20_000);
  assert.match(dossier.unreachable[0]?.why ?? '', /time for gathering evidence \(150 ms\) is up/);
});

test('an abort by the caller ends the gathering', async (t) => {
  const { host } = await serve(t, { before: (path) => /referrers|sha256-/.test(path) });
  await assert.rejects(gatherFixture(host, 'bundle/ecdsa-p256', p256, { signal: AbortSignal.timeout(50) }));
});

const flips: readonly (readonly [
  name: string,
  form: string,
  change: (repository: FixtureRepository) => void,
  says: RegExp,
])[] = [
  ['the bundle, as served', 'bundle', (repository) => flipIn(repository.blobs, 'dsseEnvelope'), /digest/],
  [
    'the payload, as served',
    'legacy',
    (repository) => flipIn(repository.blobs, 'cosign container image signature'),
    /digest/,
  ],
  [
    'the bundle manifest, as served',
    'bundle',
    (repository) => flipIn(repository.manifests, 'dsse-envelope'),
    /digest/,
  ],
  [
    'the payload, with its digest corrected',
    'legacy',
    (repository) =>
      replacePayload(repository, (text) => text.replace('cosign container', 'Cosign container')),
    /signature does not match its payload/,
  ],
  [
    'the signature, in its annotation',
    'legacy',
    (repository) =>
      retag(repository, (text) =>
        text.replace(
          /(cosign\/signature":"MEU?C?[A-Za-z0-9+/]{20})(.)/,
          (_all, head: string, one: string) => head + (one === 'A' ? 'B' : 'A'),
        ),
      ),
    /signature does not match its payload/,
  ],
];

for (const [name, form, change, says] of flips) {
  test(`one byte changed in ${name}: denied, with the reason`, async (t) => {
    const content = fixtureContent();
    change(part(content, `${form}/ecdsa-p256`));
    const { host } = await serve(t, {}, content);
    const verdict = verdictOf(await gatherFixture(host, `${form}/ecdsa-p256`, p256), p256);
    assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
    assert.match(explainVerdict(verdict), says);
  });
}

test('one byte changed in the image manifest: it is another image, for which nothing is signed', async (t) => {
  const content = fixtureContent();
  const repository = part(content, 'legacy/ecdsa-p256');
  const digest = repository.tags.get('1') ?? '';
  const bytes = Buffer.from(
    (repository.manifests.get(digest) ?? Buffer.alloc(0))
      .toString('utf8')
      .replace('"schemaVersion":2', '"schemaVersion": 2'),
  );
  repository.manifests.set(digestOfBytes(bytes), bytes);
  repository.tags.set('1', digestOfBytes(bytes));
  const { host } = await serve(t, {}, content);
  const verdict = verdictOf(await gatherFixture(host, 'legacy/ecdsa-p256', p256), p256);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /no signature was found/);
});

test('signatures of another digest, put beside this image, name that digest in the reason', async (t) => {
  for (const form of ['bundle', 'legacy']) {
    const content = fixtureContent();
    const signedOne = part(content, `${form}/ecdsa-p256`);
    const unsigned = part(content, 'unsigned');
    const own = unsigned.tags.get('1') ?? '';
    const other = signedOne.tags.get('1') ?? '';
    for (const kind of ['manifests', 'blobs'] as const)
      for (const [digest, bytes] of signedOne[kind]) unsigned[kind].set(digest, bytes);
    if (form === 'legacy') {
      unsigned.tags.set(
        `${own.replace(':', '-')}.sig`,
        signedOne.tags.get(`${other.replace(':', '-')}.sig`) ?? '',
      );
    } else {
      // The manifest of the bundle is changed to belong to this image, while the signature is still for the
      // other one.
      const tag = other.replace(':', '-');
      const list = JSON.parse((signedOne.manifests.get(signedOne.tags.get(tag) ?? '') ?? '').toString()) as {
        manifests: { digest: string; size: number }[];
      };
      const entry = list.manifests[0];
      assert.ok(entry);
      const manifest = Buffer.from(
        (signedOne.manifests.get(entry.digest) ?? '').toString().replace(other, own),
      );
      const index = Buffer.from(
        JSON.stringify({
          ...list,
          manifests: [{ ...entry, digest: digestOfBytes(manifest), size: manifest.length }],
        }),
      );
      unsigned.manifests.set(digestOfBytes(manifest), manifest);
      unsigned.manifests.set(digestOfBytes(index), index);
      unsigned.tags.set(own.replace(':', '-'), digestOfBytes(index));
    }
    const { host } = await serve(t, {}, content);
    const verdict = verdictOf(await gatherFixture(host, 'unsigned', p256), p256);
    assert.equal(verdict.outcome, 'deny');
    assert.match(explainVerdict(verdict), new RegExp(`signature of another digest: it names ${other}`), form);
  }
});

test('a listed bundle whose manifest belongs to another image is not read', async (t) => {
  const content = fixtureContent();
  const repository = part(content, 'bundle/ecdsa-p256');
  const digest = repository.tags.get('1') ?? '';
  const index = repository.tags.get(digest.replace(':', '-')) ?? '';
  const other = part(content, 'unsigned');
  for (const [name, bytes] of repository.manifests) other.manifests.set(name, bytes);
  other.tags.set((other.tags.get('1') ?? '').replace(':', '-'), index);
  const { host } = await serve(t, {}, content);
  const dossier = await gatherFixture(host, 'unsigned', p256);
  assert.match(dossier.items[0]?.problem ?? '', /belongs to sha256:.*listed for/);
  assert.equal(verdictOf(dossier, p256).outcome, 'deny');
});

test('more signatures than the limit are not read, and a denial is then undecided', async (t) => {
  const content = fixtureContent();
  const repository = part(content, 'legacy/rsa-2048');
  retag(repository, (text) => {
    const manifest = JSON.parse(text) as { layers: unknown[] };
    return JSON.stringify({ ...manifest, layers: Array.from({ length: 70 }, () => manifest.layers[0]) });
  });
  const { host } = await serve(t, {}, content);
  const dossier = await gatherFixture(host, 'legacy/rsa-2048', p256);
  assert.equal(dossier.items.length, 64);
  const verdict = verdictOf(dossier, p256);
  assert.equal(verdict.outcome, 'undecided');
  assert.match(
    explainVerdict(verdict),
    /\.sig was read only in part: it lists more than the limit for one image/,
  );
  assert.match(adviceOf(verdict), /^remove signatures and attestations of the image/);
});

test('a signature larger than the limit is recorded with its problem', async (t) => {
  const { host } = await serve(t);
  const dossier = await gatherFixture(host, 'legacy/ecdsa-p256', p256, {
    limits: { ...defaultLimits, blobBytes: 100 },
  });
  assert.match(dossier.items[0]?.problem ?? '', /at most 100 are read/);
});

test('evidence beyond the limit of total bytes is not read, and a denial is then undecided', async (t) => {
  const { host } = await serve(t);
  const dossier = await gatherFixture(host, 'legacy/ecdsa-p256', p256, {
    limits: { ...defaultLimits, totalBytes: 100 },
  });
  assert.deepEqual([dossier.items.length, verdictOf(dossier, p256).outcome], [0, 'undecided']);
});

test('the manifests of referrers beyond the limit of total bytes are not requested', async (t) => {
  const content = fixtureContent();
  const repository = part(content, 'bundle/ecdsa-p256');
  const index = repository.tags.get((repository.tags.get('1') ?? '').replace(':', '-')) ?? '';
  const [listed] = (
    JSON.parse(String(repository.manifests.get(index))) as { manifests: { digest: string; size: number }[] }
  ).manifests;
  assert.ok(listed);
  const { host, requests } = await serve(t, {}, content);
  const dossier = await gatherFixture(host, 'bundle/ecdsa-p256', p256, {
    limits: { ...defaultLimits, totalBytes: listed.size - 1 },
  });
  assert.deepEqual(
    requests.filter((one) => one.includes(listed.digest)),
    [],
  );
  assert.deepEqual([dossier.items.length, verdictOf(dossier, p256).outcome], [0, 'undecided']);
});

test('the origin is asked only when the mirror does not have enough evidence', async (t) => {
  const content = fixtureContent();
  content.set('empty', part(content, 'unsigned'));
  const full = await serve(t);
  const bare = fixtureContent();
  const bareRepository = part(bare, 'legacy/ecdsa-p256');
  bareRepository.tags.delete(`${(bareRepository.tags.get('1') ?? '').replace(':', '-')}.sig`);
  const empty = await serve(t, {}, bare);
  const through = (mirror: FixtureRegistry, origin: FixtureRegistry): ReturnType<typeof gatherFixture> =>
    gatherFixture(mirror.host, 'legacy/ecdsa-p256', p256, {
      registry: origin.host,
      client: { rules: new Map([[origin.host, { mirrors: [{ url: `http://${mirror.host}` }] }]]) },
    });
  const fromOrigin = await through(empty, full);
  assert.equal(fromOrigin.items[0]?.servedBy, full.host);
  assert.equal(verdictOf(fromOrigin, p256).outcome, 'admit');
  const before = empty.requests.length;
  const fromMirror = await through(full, empty);
  assert.equal(fromMirror.items[0]?.servedBy, full.host);
  assert.equal(empty.requests.length, before);
});

function flipIn(map: Map<string, Buffer>, containing: string): void {
  const [digest, bytes] = [...map].find(([, content]) => content.includes(containing)) ?? [];
  assert.ok(digest !== undefined && bytes !== undefined);
  const changed = Buffer.from(bytes);
  const at = changed.indexOf(containing);
  changed[at] = (changed[at] ?? 0) ^ 1;
  map.set(digest, changed);
}

/** Rewrites the manifest under the `.sig` tag and corrects its digest. */
function retag(repository: FixtureRepository, change: (text: string) => string): void {
  const tag = [...repository.tags.keys()].find((name) => name.endsWith('.sig')) ?? '';
  const before = (repository.manifests.get(repository.tags.get(tag) ?? '') ?? '').toString();
  const text = change(before);
  assert.notEqual(text, before);
  const bytes = Buffer.from(text);
  repository.manifests.set(digestOfBytes(bytes), bytes);
  repository.tags.set(tag, digestOfBytes(bytes));
}

function replacePayload(repository: FixtureRepository, change: (text: string) => string): void {
  const [digest, bytes] = [...repository.blobs].find(([, content]) => content.includes('"critical"')) ?? [];
  assert.ok(digest !== undefined && bytes !== undefined);
  const changed = Buffer.from(change(bytes.toString()));
  repository.blobs.set(digestOfBytes(changed), changed);
  retag(repository, (text) =>
    text
      .replace(digest, digestOfBytes(changed))
      .replace(
        `"size":${bytes.length},"digest":"${digestOfBytes(changed)}"`,
        `"size":${changed.length},"digest":"${digestOfBytes(changed)}"`,
      ),
  );
}

test('registries are not asked again for a while about an unsigned image; a new signature is found afterwards', async (t) => {
  const content = fixtureContent();
  const { host, requests } = await serve(t, { referrers: true }, content);
  let clock = 1;
  const negativeCache = createNegativeCache(() => clock).of(undefined);
  const asked = async (): Promise<number> => {
    const before = requests.length;
    const dossier = await gatherFixture(host, 'unsigned', p256, { negativeCache });
    assert.equal(verdictOf(dossier, p256).outcome, 'deny');
    return requests.length - before;
  };
  assert.deepEqual([await asked(), await asked(), await asked()], [3, 3, 1]);
  clock += 2_000;
  assert.equal(await asked(), 3);
});
