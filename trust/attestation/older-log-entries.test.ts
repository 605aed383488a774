import assert from 'node:assert/strict';
import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { dossierOf, foreign, ours, reference } from '../evidence/fixtures/sample-evidence.ts';
import { startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import { policyKey } from '../keys/public-key.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { demand, envelope, statementText } from './fixtures/sample-attestations.ts';

const pemOf = (key = ours): string =>
  createPublicKey(key.private).export({ type: 'spki', format: 'pem' }).toString();

/** Returns the SPKI of a P-256 key with its point in compressed form (RFC 5480, section 2.2). */
function compressed(key: KeyObject): Buffer {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const [head, point] = [spki.subarray(0, -65), spki.subarray(-65)];
  const short = Buffer.concat([Buffer.of(2 + ((point[64] ?? 0) & 1)), point.subarray(1, 33)]);
  const algorithm = head.subarray(2, -3);
  const [start, bits] = [Buffer.of(0x30, algorithm.length + 36), Buffer.of(0x03, 0x22, 0x00)];
  return Buffer.concat([start, algorithm, bits, short]);
}

/**
 * The entries that cosign 1 and 2 logged for attestations: Rekor's kind intoto 0.0.1 (sigstore/rekor
 * pkg/types/intoto/v0.0.1, Canonicalize).
 */
describe('an attestation in the older form with an entry of the kind intoto 0.0.1', () => {
  let services: MockSigstore;
  before(async () => {
    services = await startMockSigstore();
  });
  after(() => services.close());

  async function logged(entry: object): Promise<string> {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${services.url}/api/v1/log/entries`, {
      method: 'POST',
      headers,
      body: JSON.stringify(entry),
    });
    const [added] = Object.values((await answer.json()) as Record<string, Readonly<Record<string, unknown>>>);
    const { body, integratedTime, logID, logIndex, verification } = added ?? {};
    const promise = (verification as { signedEntryTimestamp: string }).signedEntryTimestamp;
    return JSON.stringify({
      SignedEntryTimestamp: promise,
      Payload: { body, integratedTime, logIndex, logID },
    });
  }

  function entryOf(item: EvidenceItem, key: string, changes: object = {}): object {
    const value = createHash('sha256')
      .update(Buffer.from(item.bytes ?? '', 'base64'))
      .digest('hex');
    const content = { hash: { algorithm: 'sha256', value }, ...changes };
    return {
      apiVersion: '0.0.1',
      kind: 'intoto',
      spec: { content, publicKey: Buffer.from(key).toString('base64') },
    };
  }

  function verdictOn(item: EvidenceItem, bundle: string, key = ours.public): Verdict {
    const content = Buffer.from(JSON.stringify(services.trustedRoot()));
    const root = {
      name: 'root.json',
      digest: createHash('sha256').update(content).digest('hex'),
      content: content.toString('base64'),
    };
    const log = { root, logs: 1, timeStamps: 0, certificateLogs: 0 };
    const policy = policyOf({ require: demand([], { by: { kind: 'cosign-key', key, log } }) });
    const dossier = dossierOf([
      { ...item, annotations: { ...item.annotations, 'dev.sigstore.cosign/bundle': bundle } },
    ]);
    return decide({ dossier, reference, namespace: '', platform: amd64, policy, now: new Date() });
  }

  it('counts, and only for this envelope and this signer', async () => {
    const item = envelope(statementText({ a: 1 }));
    const good = verdictOn(item, await logged(entryOf(item, pemOf())));
    assert.equal(good.outcome, 'admit', explainVerdict(good));
    const other = await logged(entryOf(envelope(statementText({ a: 2 })), pemOf()));
    assert.match(explainVerdict(verdictOn(item, other)), /it is for another envelope/);
    assert.equal(verdictOn(item, other).outcome, 'deny');
    const stranger = verdictOn(item, await logged(entryOf(item, pemOf(foreign))));
    assert.match(explainVerdict(stranger), /it is for another signer/);
    assert.equal(stranger.outcome, 'deny');
    const without = verdictOn(item, await logged(entryOf(item, pemOf(), { hash: undefined })));
    assert.equal(without.outcome, 'deny', explainVerdict(without));
  });

  it('counts for either form of the point of a key', async () => {
    const item = envelope(statementText({ a: 1 }));
    const plain = await logged(entryOf(item, pemOf()));
    const short = compressed(ours.private);
    const key = policyKey('ours.pub', createPublicKey({ key: short, format: 'der', type: 'spki' }));
    assert.ok('spki' in key);
    // A policy that was recorded with a verdict may have the key in this form.
    const byShort = verdictOn(item, plain, { ...key, spki: short.toString('base64') });
    assert.equal(byShort.outcome, 'admit', explainVerdict(byShort));
    const pem = `-----BEGIN PUBLIC KEY-----\n${short.toString('base64')}\n-----END PUBLIC KEY-----\n`;
    const inLog = verdictOn(item, await logged(entryOf(item, pem)));
    assert.equal(inLog.outcome, 'admit', explainVerdict(inLog));
    const strange = policyKey(
      'foreign.pub',
      createPublicKey({ key: compressed(foreign.private), format: 'der', type: 'spki' }),
    );
    assert.ok('spki' in strange);
    assert.equal(verdictOn(item, plain, strange).outcome, 'deny');
  });
});
