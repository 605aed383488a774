import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import {
  attestReference,
  explainVerdict,
  loadPolicy,
  openRegistries,
  openSigner,
  readPredicate,
  verifyImage,
} from '../../trust/index.ts';
import type { AttestationFormat, RegistryAccess, Verdict } from '../../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';

const predicates = join(import.meta.dirname, '../../trust/attestation/fixtures/predicates');

describe('keyless attestations, against a sigstore on loopback', () => {
  let folder = '';
  let registry: TestRegistry;
  let access: RegistryAccess;
  let services: MockSigstore;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-keyless-'));
    registry = await startRegistry();
    access = await openRegistries({ mirrors: [], insecureHosts: [] });
    services = await startMockSigstore();
    writeFileSync(join(folder, 'root.json'), JSON.stringify(services.trustedRoot()));
  });
  after(async () => {
    await services.close();
    await access.close();
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function publish(name: string): Promise<string> {
    const image = await buildImage({});
    const [repository] = await access.repositories(parseReference(`${registry.host}/${name}`));
    assert.ok(repository);
    await pushImage(repository, image, '1');
    return `${registry.host}/${name}:1`;
  }

  async function attest(
    reference: string,
    type: string,
    rekor: 1 | 2,
    format: AttestationFormat = 'bundle',
  ): Promise<void> {
    const now = new Date();
    const token = join(folder, 'token');
    // Any signature, because the service does not verify it.
    writeFileSync(token, `${services.token({ rekor })}c2ln`);
    const config = join(folder, 'signing_config.json');
    writeFileSync(config, JSON.stringify(services.signingConfig({ rekor })));
    const signer = await openSigner({
      passphrase: { environment: {} },
      identityToken: { file: token },
      signingConfig: config,
      timestampUrls: [],
      now,
    });
    const predicate = await readPredicate(join(predicates, `${type}.json`), type, now);
    await attestReference({ reference, key: signer, type, predicate, format, registry: access, now });
    await signer.close();
  }

  async function verdict(reference: string, rule: string): Promise<Verdict> {
    const file = join(folder, 'policy.yaml');
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n${rule}`,
    );
    const { policy } = await loadPolicy({ paths: [file] });
    return (await verifyImage({ reference, namespace: '', policy, registry: access, now: new Date() }))
      .verdict;
  }

  const identity = (subject = mockSubject): string =>
    `{ issuer: "${mockIssuer}", subject: "${subject}", root: root.json }`;
  const rule = (type: string, subject?: string, more = ''): string =>
    `    require:\n      attestation: { type: ${type}, by: { sigstore: ${identity(subject)} }${more} }\n`;

  for (const [rekor, format] of [
    [1, 'bundle'],
    [2, 'bundle'],
    [1, 'legacy'],
  ] as const) {
    it(`by the identity that a policy names, logged in Rekor v${rekor}, in the form ${format}`, async () => {
      const reference = await publish(`app-${rekor}-${format}`);
      assert.equal((await verdict(reference, rule('vsa'))).outcome, 'deny');
      await attest(reference, 'vsa', rekor, format);
      const yes = await verdict(
        reference,
        rule(
          'vsa',
          undefined,
          `, cel: "predicate.verificationResult == 'PASSED' && signer.startsWith('sigstore ')", maxAge: 1h`,
        ),
      );
      assert.equal(yes.outcome, 'admit', explainVerdict(yes));
      assert.notEqual(yes.validUntil, undefined, 'the attestation becomes too old');
      assert.equal(
        (await verdict(reference, rule('vsa', `${mockSubject}x`))).outcome,
        'deny',
        'another identity',
      );
      assert.equal(
        (await verdict(reference, rule('vsa', undefined, ', notBefore: 2099-01-01'))).outcome,
        'deny',
        'too old',
      );
      assert.equal((await verdict(reference, rule('slsaprovenance1'))).outcome, 'deny', 'another type');
      assert.equal(
        (await verdict(reference, `    require: { sigstore: ${identity()} }\n`)).outcome,
        'deny',
        'an attestation signs no image',
      );
    });
  }

  it('entitlements signed by an identity', async () => {
    const reference = await publish('entitled');
    const demand = `    require:\n      any:\n        - sigstore: ${identity()}\n        - attestation: { type: vsa, by: { sigstore: ${identity()} } }\n    entitlements: { require: signed }\n`;
    await attest(reference, 'vsa', 1);
    assert.equal((await verdict(reference, demand)).outcome, 'deny');
    await attest(reference, 'entitlements', 1);
    const yes = await verdict(reference, demand);
    assert.equal(yes.outcome, 'admit', explainVerdict(yes));
    assert.equal(yes.requestedEntitlements?.length, 1);
  });
});
