import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openKeystore } from '../keystore/keystore.ts';
import { openOwnerKeys } from './owner-keys.ts';
import type { OwnerKeys } from './owner-keys.ts';

describe('keys of roles', () => {
  let folder = '';
  let keys: OwnerKeys;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tuf-key-types-'));
    const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } };
    keys = await openOwnerKeys(openKeystore(join(folder, 'private')), passphrase, []);
  });
  after(async () => {
    await keys.close();
    await rm(folder, { recursive: true });
  });

  for (const [name, pair] of [
    ['RSA keys only for PSS', generateKeyPairSync('rsa-pss', { modulusLength: 2048 })],
    ['ML-DSA keys', generateKeyPairSync('ml-dsa-44')],
  ] as const)
    for (const half of ['private', 'public'] as const)
      test(`${name} are refused, because no client counts their signatures: ${half} key`, async () => {
        const file = join(folder, 'role.pem');
        const pem =
          half === 'private'
            ? pair.privateKey.export({ type: 'pkcs8', format: 'pem' })
            : pair.publicKey.export({ type: 'spki', format: 'pem' });
        await writeFile(file, pem);
        await assert.rejects(keys.read(file), /cannot sign metadata; name an ECDSA, Ed25519 or RSA key/u);
      });

  test('an RSA key in the form of PKCS #1 is read', async () => {
    const file = join(folder, 'rsa.pub');
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await writeFile(file, publicKey.export({ type: 'pkcs1', format: 'pem' }));
    const spki = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
    assert.deepEqual(await keys.read(file), { spki });
  });
});
