import { constants, createHash, createPublicKey, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { onlyPemBlock } from '../../base/pem/index.ts';
import { canonicalSpki } from '../keys/canonical-spki.ts';
import { ed25519FromRaw } from '../keys/ed25519.ts';
import { keyFlaw } from '../keys/key-flaw.ts';
import { curveBytes } from '../x509/ecdsa-signature.ts';
import { certificatesOfPem } from '../x509/pem.ts';
import { tufCanonicalJson } from './canonical.ts';
import type { SignatureScheme, TufKey } from './model.ts';
import { objectAt, textAt } from './reading.ts';

const rsaHashes = ['sha224', 'sha256', 'sha384', 'sha512'] as const;

const schemes = new Map<string, SignatureScheme>([
  ['ed25519', { kind: 'ed25519', hash: 'sha512', form: 'der' }],
  ['ecdsa-sha2-nistp256', { kind: 'ecdsa', hash: 'sha256', form: 'der' }],
  ['ecdsa-sha2-nistp384', { kind: 'ecdsa', hash: 'sha384', form: 'der' }],
  ['ecdsa-sha2-nistp521', { kind: 'ecdsa', hash: 'sha512', form: 'der' }],
  ...rsaHashes.map((hash): [string, SignatureScheme] => [
    `rsassa-pss-${hash}`,
    { kind: 'rsa-pss', hash, form: 'der' },
  ]),
  ...rsaHashes.map((hash): [string, SignatureScheme] => [
    `rsa-pkcs1v15-${hash}`,
    { kind: 'rsa-pkcs1', hash, form: 'der' },
  ]),
]);

const curves: Readonly<Record<string, string>> = {
  sha256: 'prime256v1',
  sha384: 'secp384r1',
  sha512: 'secp521r1',
};

const materialOf = (key: KeyObject | undefined, otherwise: unknown): string =>
  createHash('sha256')
    .update(key === undefined ? JSON.stringify(otherwise) : canonicalSpki(key))
    .digest('hex');

/**
 * Reads a key of the TUF dialect (specification 1.0.34, section 4.2.1). A key of an unsupported type or
 * scheme is kept but never verifies: other keys may reach the threshold.
 * @throws Error when the value does not have the form of a key
 */
export function readTufKey(id: string, value: unknown): TufKey {
  const at = `key ${id}`;
  const fields = objectAt(value, at);
  const type = textAt(fields['keytype'], `${at}.keytype`);
  const scheme = schemes.get(textAt(fields['scheme'], `${at}.scheme`));
  const text = textAt(objectAt(fields['keyval'], `${at}.keyval`)['public'], `${at}.keyval.public`);
  return openedLater(id, fields, () => {
    const key = scheme === undefined ? undefined : publicKeyOf(type, scheme, text);
    return { scheme: key === undefined ? undefined : scheme, key, material: materialOf(key, [type, text]) };
  });
}

type Opened = Pick<TufKey, 'scheme' | 'key' | 'material'>;

function openedLater(id: string, entry: TufKey['entry'], open: () => Opened): TufKey {
  let opened: Opened | undefined;
  const now = (): Opened => (opened ??= open());
  return {
    id,
    entry,
    get scheme() {
      return now().scheme;
    },
    get key() {
      return now().key;
    },
    get material() {
      return now().material;
    },
  };
}

/** The PEM types of public keys (RFC 7468 section 13; PKCS #1), and Node's names of their content. */
const pemForms: Readonly<Record<string, 'spki' | 'pkcs1'>> = {
  'PUBLIC KEY': 'spki',
  'RSA PUBLIC KEY': 'pkcs1',
};

function publicKeyOf(type: string, scheme: SignatureScheme, text: string): KeyObject | undefined {
  try {
    if (type === 'ed25519' && scheme.kind === 'ed25519')
      return /^[0-9a-f]{64}$/iu.test(text) ? usableEd25519(Buffer.from(text, 'hex')) : undefined;
    const block = onlyPemBlock(text);
    const form =
      'problem' in block || !Object.hasOwn(pemForms, block.type) ? undefined : pemForms[block.type];
    if ('problem' in block || form === undefined) return undefined;
    const key = createPublicKey({ key: block.content, format: 'der', type: form });
    return fits(key, scheme) ? key : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns whether a key matches its scheme. A key is used only as its own type: an RSA key listed as ECDSA is
 * unusable.
 */
function fits(key: KeyObject, scheme: SignatureScheme): boolean {
  if (scheme.kind === 'ecdsa')
    return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === curves[scheme.hash];
  if (scheme.kind === 'ed25519') return key.asymmetricKeyType === 'ed25519' && keyFlaw(key) === undefined;
  // A key marked for PSS only would count as a different key than the same key without the mark.
  return key.asymmetricKeyType === 'rsa' && isUsableRsa(key);
}

function isUsableRsa(key: KeyObject): boolean {
  return (key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048 && keyFlaw(key) === undefined;
}

/** The schemes of Notary's key types. A certificate is a key with a name (tuf/data/keys.go of Notary 0.7). */
const notaryKinds: Readonly<Record<string, 'ed25519' | 'ecdsa' | 'rsa'>> = {
  ed25519: 'ed25519',
  ecdsa: 'ecdsa',
  'ecdsa-x509': 'ecdsa',
  rsa: 'rsa',
  'rsa-x509': 'rsa',
};

/**
 * Reads a key of the Notary dialect. `public` is base64 of SPKI DER, of a raw Ed25519 key, or of a PEM
 * certificate. The id is the sha256 of the key's canonical JSON. It is checked, because Notary finds keys by
 * it.
 * @throws Error when the value does not have the form of a key, or its id does not match
 */
export function readNotaryKey(id: string, value: unknown): TufKey {
  const at = `key ${id}`;
  const fields = objectAt(value, at);
  const type = textAt(fields['keytype'], `${at}.keytype`);
  const text = textAt(objectAt(fields['keyval'], `${at}.keyval`)['public'], `${at}.keyval.public`);
  const own = notaryKeyId(type, text);
  if (own !== id) throw new Error(`${at} is listed under an id that is not its own (${own})`);
  const kind = Object.hasOwn(notaryKinds, type) ? notaryKinds[type] : undefined;
  return openedLater(id, fields, () => {
    const key = kind === undefined ? undefined : notaryPublicKey(type, kind, Buffer.from(text, 'base64'));
    const scheme: SignatureScheme | undefined =
      key === undefined || kind === undefined
        ? undefined
        : {
            kind: kind === 'rsa' ? 'rsa-pss' : kind,
            hash: 'sha256',
            form: kind === 'ecdsa' ? 'ieee-p1363' : 'der',
          };
    return { scheme, key, material: materialOf(key, [type, text]) };
  });
}

/**
 * Returns the id of a Notary key.
 * @param text base64, as `keyval.public` has it
 */
export function notaryKeyId(type: string, text: string): string {
  return createHash('sha256')
    .update(tufCanonicalJson({ keytype: type, keyval: { private: null, public: text } }))
    .digest('hex');
}

/** @throws Error when it does not have 32 bytes */
function usableEd25519(raw: Buffer): KeyObject | undefined {
  const key = ed25519FromRaw(raw);
  return keyFlaw(key) === undefined ? key : undefined;
}

function notaryPublicKey(
  type: string,
  kind: 'ed25519' | 'ecdsa' | 'rsa',
  bytes: Buffer,
): KeyObject | undefined {
  try {
    if (kind === 'ed25519') return usableEd25519(bytes);
    const key = type.endsWith('-x509')
      ? certificatesOfPem(bytes)[0]?.key
      : createPublicKey({ key: bytes, format: 'der', type: 'spki' });
    const expected = kind === 'ecdsa' ? 'ec' : 'rsa';
    if (key?.asymmetricKeyType !== expected) return undefined;
    if (kind === 'ecdsa')
      return curveBytes[key.asymmetricKeyDetails?.namedCurve ?? ''] === undefined ? undefined : key;
    return isUsableRsa(key) ? key : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns whether `signature` is a signature of the key over `message`. Never throws: an unreadable signature
 * is invalid.
 */
export function signedBy({ key, scheme }: TufKey, message: Uint8Array, signature: Uint8Array): boolean {
  if (key === undefined || scheme === undefined) return false;
  try {
    if (scheme.kind === 'ed25519') return verify(null, message, key, signature);
    if (scheme.kind === 'ecdsa')
      return verify(scheme.hash, message, { key, dsaEncoding: scheme.form }, signature);
    const padding = scheme.kind === 'rsa-pss' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
    const salt = scheme.kind === 'rsa-pss' ? { saltLength: constants.RSA_PSS_SALTLEN_AUTO } : {};
    return verify(scheme.hash, message, { key, padding, ...salt }, signature);
  } catch {
    return false;
  }
}
