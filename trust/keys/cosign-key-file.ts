import { randomBytes, scrypt } from 'node:crypto';
import { xsalsa20poly1305 } from '@noble/ciphers/salsa.js';
import { decodeBase64, parseStrictJson, recordOf } from '../json/strict-json.ts';

/**
 * PEM types of cosign's encrypted private keys: the current and the previous one (cosign,
 * pkg/cosign/keys.go).
 */
export const cosignPemTypes = ['ENCRYPTED SIGSTORE PRIVATE KEY', 'ENCRYPTED COSIGN PRIVATE KEY'] as const;

/** go-securesystemslib `encrypted`, standard parameters: 64 MiB of memory, about a tenth of a second. */
const standard = { N: 65_536, r: 8, p: 1 } as const;
const saltBytes = 32;
const nonceBytes = 24;
const keyBytes = 32;

/**
 * Maximum memory that a key file may ask for; a larger value is an attack on the reader. scrypt needs 128 · N
 * · r bytes.
 */
const maximumScryptMemory = 1024 * 1024 * 1024;

/**
 * Encrypts a PKCS #8 DER key in cosign's format: scrypt, then nacl secretbox, as JSON. Source:
 * go-securesystemslib encrypted/encrypted.go.
 */
export async function encryptCosignKey(pkcs8: Uint8Array, passphrase: string): Promise<Buffer> {
  const salt = randomBytes(saltBytes);
  const nonce = randomBytes(nonceBytes);
  const key = await derive(passphrase, salt, standard);
  const ciphertext = xsalsa20poly1305(key, nonce).encrypt(pkcs8);
  key.fill(0);
  const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return Buffer.from(
    JSON.stringify({
      kdf: { name: 'scrypt', params: standard, salt: encode(salt) },
      cipher: { name: 'nacl/secretbox', nonce: encode(nonce) },
      ciphertext: encode(ciphertext),
    }),
  );
}

/**
 * Decrypts the content of a cosign key's PEM block.
 * @throws Error with a sentence that gives the reason; a wrong passphrase and a damaged file cannot be
 * distinguished
 */
export async function decryptCosignKey(content: Uint8Array, passphrase: string): Promise<Buffer> {
  const outer = recordOf(parseStrictJson(content));
  const kdf = recordOf(outer?.['kdf']);
  const cipher = recordOf(outer?.['cipher']);
  const params = recordOf(kdf?.['params']);
  if (kdf?.['name'] !== 'scrypt' || cipher?.['name'] !== 'nacl/secretbox')
    throw new Error('it is not encrypted with scrypt and nacl/secretbox');
  const { N, r, p } = params ?? {};
  if (!isCount(N) || !isCount(r) || !isCount(p) || p > 16 || 128 * N * r > maximumScryptMemory)
    throw new Error('its scrypt parameters are not usable');
  const salt = decodeBase64(kdf['salt']);
  const nonce = decodeBase64(cipher['nonce']);
  const ciphertext = decodeBase64(outer?.['ciphertext']);
  if (salt === undefined || nonce?.byteLength !== nonceBytes || ciphertext === undefined)
    throw new Error('its salt, nonce or ciphertext is damaged');
  const key = await derive(passphrase, salt, { N, r, p });
  try {
    return Buffer.from(xsalsa20poly1305(key, nonce).decrypt(ciphertext));
  } catch {
    throw new Error('the passphrase is wrong or the file is damaged');
  } finally {
    key.fill(0);
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/**
 * Runs scrypt asynchronously on libuv's pool, not on the main thread. Node's default memory limit is too low
 * for N = 65536.
 */
function derive(
  passphrase: string,
  salt: Uint8Array,
  { N, r, p }: { readonly N: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(
      passphrase,
      salt,
      keyBytes,
      { N, r, p, maxmem: 128 * N * r + 128 * r * p + 1024 * 1024 },
      (error, key) => (error === null ? resolve(key) : reject(error)),
    );
  });
}
