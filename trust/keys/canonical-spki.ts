import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/**
 * An SPKI of a named curve with an uncompressed point, up to the 0x04 that begins the point (RFC 5480 section
 * 2, SEC 1 section 2.3.3): P-256, P-384, P-521.
 */
const uncompressedHeads = [
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004',
  '3076301006072a8648ce3d020106052b8104002203620004',
  '30819b301006072a8648ce3d020106052b810400230381860004',
].map((hex) => Buffer.from(hex, 'hex'));

/**
 * Returns one SPKI per key. A point on a curve can also be written in compressed or hybrid form, and an RSA
 * key can be marked for PSS only: the same key would then count as several signers.
 */
export function canonicalSpki(key: KeyObject): Buffer {
  const spki = key.export({ format: 'der', type: 'spki' });
  // OpenSSL takes three times as long to write the key once more.
  if (uncompressedHeads.some((head) => spki.subarray(0, head.length).equals(head))) return spki;
  if (key.asymmetricKeyType === 'ec')
    return createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' }).export({
      format: 'der',
      type: 'spki',
    });
  if (key.asymmetricKeyType !== 'rsa-pss') return spki;
  // SubjectPublicKeyInfo: the algorithm, and a bit string without unused bits that contains the RSAPublicKey
  // (RFC 4055, section 1.2).
  const [, algorithmEnd] = contentOf(spki, contentOf(spki, 0)[0]);
  const [bits, end] = contentOf(spki, algorithmEnd);
  const content = { key: spki.subarray(bits + 1, end), format: 'der', type: 'pkcs1' } as const;
  return createPublicKey(content).export({ format: 'der', type: 'spki' });
}

/** Returns where the content of a DER element begins and ends. Node has written the bytes. */
function contentOf(der: Buffer, at: number): readonly [from: number, to: number] {
  const first = der[at + 1] ?? 0;
  const octets = first < 0x80 ? 0 : first & 0x7f;
  const from = at + 2 + octets;
  return [from, from + (octets === 0 ? first : der.readUIntBE(at + 2, octets))];
}

/** Returns {@link signerOfKeyObject} of an SPKI: DER, base64. */
export function signerOfSpki(spki: string): string {
  return signerOfKeyObject(
    createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }),
  );
}

const names = new WeakMap<KeyObject, string>();

/** Returns the name of a key as a signer (`ProvenFacts.signer`): the same for every form of the key. */
export function signerOfKeyObject(key: KeyObject): string {
  let name = names.get(key);
  if (name === undefined) {
    name = `key sha256:${createHash('sha256').update(canonicalSpki(key)).digest('hex')}`;
    names.set(key, name);
  }
  return name;
}
