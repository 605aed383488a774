import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ed25519FromRaw, rawOfEd25519 } from './ed25519.ts';

/** RFC 8032, section 7.1, test 1. */
const published = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');

test('an Ed25519 key is its 32 bytes, in SPKI too', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  assert.deepEqual(rawOfEd25519(publicKey), publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
  assert.ok(ed25519FromRaw(rawOfEd25519(publicKey)).equals(publicKey));
  assert.deepEqual(rawOfEd25519(ed25519FromRaw(published)), published);
});

test('other numbers of bytes are not a key', () => {
  for (const length of [0, 31, 33, 64]) assert.throws(() => ed25519FromRaw(randomBytes(length)), /32 bytes/u);
});
