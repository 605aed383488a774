import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bundleMediaType, inTotoPayloadType } from '../evidence/cosign-names.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { bundle, by, dossierOf, item, ours, reference } from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { preAuthEncoding } from '../keys/dsse.ts';
import { createAuthority, rootExtensions } from '../notation/fixtures/authority.ts';
import type { Issued } from '../notation/fixtures/authority.ts';
import { readPemCertificates } from '../pki/authorities.ts';
import type { Requirement } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { statementText } from './fixtures/sample-attestations.ts';
import { entitlementsPredicateType } from './predicate-types.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-entitlements-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const authority = createAuthority(folder);
const root = authority.issue('root', { extensions: rootExtensions });
const hour = 3600 * 1000;
const start = Math.floor(Date.now() / 1000) * 1000;
const [soon, later] = [new Date(start + hour), new Date(start + 48 * hour)];
const issue = (name: string, to: Date, from = new Date(start - hour)): Issued =>
  authority.issue(name, {
    extensions: ['basicConstraints=CA:FALSE', 'subjectAltName=email:publisher@example.com'],
    by: root,
    from,
    to,
  });
const publisher: Requirement = {
  kind: 'pki',
  roots: readPemCertificates('root.pem', readFileSync(root.certificate)),
  email: 'publisher@example.com',
};

/** Returns a signed statement of the publisher, with its certificate. */
function statedBy({ key, certificate }: Issued, name: string): EvidenceItem {
  const profile = { kind: 'EntitlementProfile', metadata: { name } };
  const payload = Buffer.from(statementText(profile, { predicateType: entitlementsPredicateType }));
  const secret = createPrivateKey(readFileSync(key));
  assert.equal(createPublicKey(secret).asymmetricKeyType, 'ec');
  const sig = sign('sha256', preAuthEncoding(inTotoPayloadType, payload), secret).toString('base64');
  const rawBytes = readFileSync(certificate, 'utf8').replace(/-----[^-]+-----|\s/g, '');
  const content = {
    mediaType: bundleMediaType,
    verificationMaterial: { certificate: { rawBytes } },
    dsseEnvelope: {
      payload: payload.toString('base64'),
      payloadType: inTotoPayloadType,
      signatures: [{ sig }],
    },
  };
  return { ...item('sigstore-bundle', Buffer.from(JSON.stringify(content))), kind: 'attestation' };
}

function verdictOf(statements: readonly EvidenceItem[], signed: boolean, now = new Date()): Verdict {
  const policy = policyOf({
    require: { kind: 'any', of: [by(ours), publisher] },
    ceiling: { rule: 'policy.yaml:1', ceiling: 'baseline', ...(signed ? { require: 'signed' } : {}) },
  });
  const dossier = dossierOf([bundle(ours), ...statements]);
  return decide({ dossier, reference, namespace: '', platform: amd64, policy, now });
}

const end = ({ validUntil = '' }: Verdict): number => Date.parse(validUntil);

test('a verdict that depends on a statement of entitlements ends with the statement', () => {
  const short = statedBy(issue('short', soon), 'short');
  const verdict = verdictOf([short], true);
  assert.equal(verdict.outcome, 'admit');
  assert.ok(end(verdict) > start && end(verdict) <= soon.getTime() + 1000, String(verdict.validUntil));
  assert.equal(verdictOf([short], true, new Date(end(verdict))).outcome, 'deny');
});

test('a verdict ends when the first of several statements ends, because each bounds the container', () => {
  const items = [statedBy(issue('first', soon), 'first'), statedBy(issue('second', later), 'second')];
  for (const signed of [true, false]) {
    const verdict = verdictOf(items, signed);
    assert.equal(verdict.requestedEntitlements?.length, 2);
    assert.ok(end(verdict) <= soon.getTime() + 1000, String(verdict.validUntil));
    assert.equal(verdictOf(items, signed, new Date(end(verdict))).requestedEntitlements?.length, 1);
  }
});

test('a verdict ends when a statement begins to count', () => {
  const coming = statedBy(issue('coming', later, soon), 'coming');
  const verdict = verdictOf([coming], false);
  assert.deepEqual([verdict.outcome, verdict.requestedEntitlements], ['admit', undefined]);
  assert.equal(end(verdict), soon.getTime());
  assert.equal(verdictOf([coming], false, soon).requestedEntitlements?.length, 1);
});
