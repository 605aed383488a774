import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keySigner } from '../signers/signer.ts';
import { rekor2Form } from '../signers/rekor-v2.ts';
import { generateKeyPair, loadSigningKey, signMessage } from './private-key.ts';
import { describeKey, parsePublicKey } from './public-key.ts';
import { verifyDigestWithKey, verifySignature } from './verify-signature.ts';
import type { PolicyKey } from '../requirements/types.ts';

const words = { environment: { PORTCULLIS_PASSPHRASE: 'w' } };
const message = Buffer.from('a message');
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trust-ml-dsa-'));
});
after(() => rm(folder, { recursive: true }));

async function publicKeyIn(file: string): Promise<PolicyKey> {
  const key = parsePublicKey('k.pub', await readFile(file, 'utf8'));
  assert.ok(!('problem' in key), JSON.stringify(key));
  return key;
}

for (const [type, name, bytes] of [
  ['ml-dsa-44', 'ML-DSA-44', 2420],
  ['ml-dsa-65', 'ML-DSA-65', 3309],
  ['ml-dsa-87', 'ML-DSA-87', 4627],
] as const)
  describe(name, () => {
    test('a generated pair is encrypted, loads again, and its signature verifies', async () => {
      const { privateFile, publicFile } = await generateKeyPair(join(folder, type), words, type);
      assert.equal((await stat(privateFile)).mode & 0o777, 0o600);
      assert.match(await readFile(privateFile, 'utf8'), /ENCRYPTED SIGSTORE PRIVATE KEY/u);
      const key = await publicKeyIn(publicFile);
      assert.match(describeKey(key), new RegExp(`^k\\.pub \\(${name}, sha256:[0-9a-f]{12}\\)$`, 'u'));
      const loaded = await loadSigningKey(privateFile, words);
      assert.equal(loaded.public.spki, key.spki);
      for (const signature of [signMessage(loaded, message), await keySigner(loaded).sign(message)]) {
        // FIPS 204, table 2.
        assert.equal(signature.length, bytes);
        assert.ok(verifySignature(key, message, signature));
      }
    });

    test('a changed message, a changed signature and another key do not verify', async () => {
      const { publicFile, privateFile } = await generateKeyPair(join(folder, `${type}-b`), words, type);
      const key = await publicKeyIn(publicFile);
      const signature = signMessage(await loadSigningKey(privateFile, words), message);
      assert.ok(!verifySignature(key, Buffer.from('another message'), signature));
      for (const at of [0, 1000, signature.length - 1]) {
        const changed = Buffer.from(signature);
        changed[at] = (changed[at] as number) ^ 1;
        assert.ok(!verifySignature(key, message, changed), `byte ${at}`);
      }
      for (const cut of [0, 64, signature.length - 1])
        assert.ok(!verifySignature(key, message, signature.subarray(0, cut)));
      const other = generateKeyPairSync(type);
      assert.ok(!verifySignature(key, message, sign(null, message, other.privateKey)));
    });
  });

test('a parameter set is not mistaken for another', () => {
  const [small, large] = [generateKeyPairSync('ml-dsa-44'), generateKeyPairSync('ml-dsa-65')];
  const key = parsePublicKey('k', small.publicKey.export({ type: 'spki', format: 'pem' }));
  assert.ok(!('problem' in key));
  assert.ok(!verifySignature(key, message, sign(null, message, large.privateKey)));
});

test('a digest alone does not verify, because pure ML-DSA signs the message', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-44');
  const value = Buffer.alloc(32, 1);
  assert.ok(!verifyDigestWithKey(publicKey, { algorithm: 'sha256', value }, sign(null, value, privateKey)));
});

test('another scheme, and a log that takes digests, refuse the key', async () => {
  const { privateFile } = await generateKeyPair(join(folder, 'refused'), words, 'ml-dsa-44');
  const signer = keySigner(await loadSigningKey(privateFile, words));
  await assert.rejects(signer.sign(message, 'ed25519'), /TRUST_SIGNING_SCHEME/u);
  assert.throws(() => rekor2Form(signer.public), /TRUST_SIGNING_SCHEME/u);
});
