import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import { serveFiles } from '../../test/fixtures/notation.ts';
import type { Served } from '../../test/fixtures/notation.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { keepAnswers } from '../evidence/fact-answers.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { evidenceStanding, renewEvidence } from '../gathering/renew.ts';
import { policyKey } from '../keys/public-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { Dossier } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { chainOf, createAuthority, rootExtensions, signerExtensions } from './fixtures/authority.ts';
import type { Authority, Issued } from './fixtures/authority.ts';
import { levels } from '../requirements/notation.ts';
import { makeNotationSignature } from './sign.ts';

const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = digestOf(manifest);
const reference = 'registry.example.com/app:1';
const hour = 3_600_000;

describe('answers about revocation in recorded evidence', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notation-renew-'));
  const files = new Map<string, Uint8Array>();
  let authority: Authority;
  let root: Issued;
  let leaf: Issued;
  let lists: Served;
  let policy: TrustPolicy;
  let unsealed: Omit<Dossier, 'id' | 'version'>;
  let asked = 0;

  before(async () => {
    authority = createAuthority(folder);
    lists = await serveFiles({ get: (path: string) => ((asked += 1), files.get(path)) } as unknown as Map<
      string,
      Uint8Array
    >);
    root = authority.issue('root', { extensions: rootExtensions });
    leaf = authority.issue('leaf', {
      extensions: [...signerExtensions, `crlDistributionPoints=URI:${lists.url}/root.crl`],
      by: root,
    });
    const key = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey('leaf', createPublicKey(key));
    assert.ok('spki' in half);
    const made = await makeNotationSignature({
      format: 'jws',
      target: {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest,
        size: manifest.length,
        annotations: {},
      },
      signer: keySigner({ public: half, private: key }, { certificates: chainOf(leaf, root) }),
      now: new Date(),
    });
    const certificates = chainOf(root).map((der) => ({ file: 'root.crt', der: der.toString('base64') }));
    const stores = [{ type: 'ca', name: 'ca/test', certificates }] as const;
    policy = policyOf({
      require: {
        kind: 'notation',
        stores,
        identities: '*',
        level: 'strict',
        actions: levels.strict,
        verifyTimestamp: 'always',
      },
    });
    const item = {
      kind: 'notation-signature',
      attachedTo: digest,
      foundBy: 'referrers',
      servedBy: 'registry.example.com',
      manifestDigest: `sha256:${'d'.repeat(64)}`,
      blobDigest: digestOf(made.envelope),
      mediaType: made.mediaType,
      annotations: {},
      bytes: Buffer.from(made.envelope).toString('base64'),
      subjectBytes: manifest.toString('base64'),
    } as const;
    unsealed = {
      reference,
      digest,
      manifestDigest: digest,
      items: [item],
      unreachable: [],
      gatheredAt: new Date().toISOString(),
    };
  });
  after(async () => {
    await lists.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const list = (hours: number): void =>
    void files.set('/root.crl', authority.list(root, ['-crlhours', String(hours)]));
  const renew = (dossier: Dossier, now = new Date(), answers = keepAnswers()): Promise<Dossier | undefined> =>
    renewEvidence({ dossier, references: [reference], policy, now, answers, milliseconds: 2000 });
  const existing = (dossier: Dossier, now = new Date()) =>
    evidenceStanding({ dossier, references: [reference], policy, now });
  const outcome = (dossier: Dossier, now = new Date()): string =>
    decide({ dossier, reference, namespace: '', platform: amd64, policy, now }).outcome;
  const gathered = async (): Promise<Dossier> => {
    const dossier = await renew(sealDossier(unsealed));
    assert.ok(dossier);
    return dossier;
  };

  it('are requested if they are missing, and renewed before they expire', async () => {
    const bare = sealDossier(unsealed);
    assert.deepEqual(await existing(bare), { missing: true });
    assert.equal(outcome(bare), 'undecided');
    list(2);
    const first = await gathered();
    assert.equal(outcome(first), 'admit');
    const { until } = (await existing(first)) ?? {};
    assert.ok(until !== undefined && Math.abs(until.getTime() - Date.now() - 2 * hour) < 60_000);
    assert.equal(outcome(first, new Date(Date.now() + 3 * hour)), 'undecided');
    // The same list again changes nothing.
    assert.equal(await renew(first), undefined);
    list(48);
    const second = await renew(first);
    assert.ok(second !== undefined && second.id !== first.id);
    assert.equal(outcome(second, new Date(Date.now() + 3 * hour)), 'admit');
    assert.deepEqual(
      second.items.filter(({ kind }) => kind === 'notation-signature'),
      first.items.filter(({ kind }) => kind === 'notation-signature'),
    );
    // A server that repeats an older list changes nothing.
    list(1);
    assert.equal(await renew(second), undefined);
  });

  it('stay unchanged while no server answers, or one answers garbage', async () => {
    list(2);
    const first = await gathered();
    for (const bytes of [undefined, Buffer.from('garbage'), Buffer.alloc(0)]) {
      if (bytes === undefined) files.delete('/root.crl');
      else files.set('/root.crl', bytes);
      assert.equal(await renew(first), undefined);
    }
    assert.equal(outcome(first), 'admit');
  });

  it('are fetched once for many images at the same time', async () => {
    list(2);
    const first = await gathered();
    list(24);
    const answers = keepAnswers();
    asked = 0;
    const renewed = await Promise.all([1, 2, 3].map(() => renew(first, new Date(), answers)));
    assert.ok(
      (await renew(first, new Date(), answers)) !== undefined && renewed.every((one) => one !== undefined),
    );
    assert.equal(asked, 1);
    answers.forget();
    await renew(first, new Date(), answers);
    assert.equal(asked, 2);
  });

  it('apply immediately when they report a revocation', async () => {
    list(48);
    const first = await gathered();
    authority.revoke(root, leaf);
    list(2);
    const second = await renew(first);
    assert.ok(second);
    assert.equal(outcome(second), 'deny');
    assert.equal(outcome(first), 'admit');
  });

  it('are not requested when no rule requires them', async () => {
    const open = { ...policy, rules: policy.rules.map((rule) => ({ ...rule, images: ['other.test/**'] })) };
    assert.equal(
      await evidenceStanding({
        dossier: sealDossier(unsealed),
        references: [reference],
        policy: open,
        now: new Date(),
      }),
      undefined,
    );
  });
});
