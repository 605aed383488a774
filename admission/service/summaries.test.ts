import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { buildImage, pushImage } from '../../test/fixtures/image.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import { attestImage, loadPolicy, loadSigningKey, openRegistries } from '../../trust/index.ts';
import { podOf, reviewOf, startTestWebhook } from '../webhook.fixture.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const verifier = 'https://ci.example.com/gate';

test('a summary of a gate is sufficient, and other evidence does not replace it', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'webhook-summaries-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(join(folder, 'gate.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  writeFileSync(join(folder, 'gate.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
  });
  writeFileSync(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: { vsa: { verifier: "${verifier}", by: { cosign: { key: gate.pub } }, maxAge: 1h } }\n`,
  );
  const key = await loadSigningKey(join(folder, 'gate.key'), { environment: {} });
  const registry = await startRegistry();
  t.after(() => registry.close());
  const access = await openRegistries({ mirrors: [], insecureHosts: [] });
  t.after(() => access.close());
  const publish = async (name: string, ageMs: number, verifierId: string): Promise<string> => {
    const reference = `${registry.host}/${name}`;
    const [repository] = await access.repositories(parseReference(reference));
    assert.ok(repository);
    const image = await buildImage({ config: { Labels: { name } } });
    await pushImage(repository, image, '1');
    const predicate = {
      verifier: { id: verifierId },
      timeVerified: new Date(Date.now() - ageMs).toISOString(),
      resourceUri: `oci://${reference}@${image.manifestDigest}`,
      policy: { uri: 'urn:example:policy', digest: { sha256: '1'.repeat(64) } },
      verificationResult: 'PASSED',
      verifiedLevels: ['SLSA_BUILD_LEVEL_UNEVALUATED'],
      slsaVersion: '1.2',
    };
    const type = 'https://slsa.dev/verification_summary/v1';
    await attestImage({
      ...{ repository, digest: image.manifestDigest, key, type, predicate },
      ...{ format: 'bundle', now: new Date() },
    });
    return `${reference}:1`;
  };

  const { policy } = await loadPolicy({ paths: [join(folder, 'policy.yaml')] });
  const { ask } = await startTestWebhook(t, policy);
  for (const [image, why] of [
    [await publish('gated', 0, verifier), undefined],
    [await publish('old', 7_200_000, verifier), /1h|old/u],
    [await publish('other-gate', 0, 'https://ci.example.com/other'), /https:\/\/ci\.example\.com\/other/u],
  ] as const) {
    const { response } = await ask('/validate', reviewOf(podOf(image)));
    assert.equal(response.allowed, why === undefined, JSON.stringify(response));
    if (why !== undefined) assert.match(response.status?.message ?? '', why);
  }
});
