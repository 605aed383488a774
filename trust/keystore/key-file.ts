import { createCipheriv, createPrivateKey, createPublicKey, pbkdf2, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { readPem, writePem } from '../../base/pem/index.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { policyKey } from '../keys/public-key.ts';
import { octets, oid, sequence, whole } from '../x509/der-writer.ts';

/** The headers before the key in Notary's files (RFC 1421 headers). */
export interface KeyFileHeaders {
  /** `root`, `targets`, `snapshot`, `timestamp`, or the name under which a delegate keeps a key. */
  readonly role: string;
  /** The collection; absent for roots and delegates, whose keys serve several collections. */
  readonly gun?: string;
}

const encryptedType = 'ENCRYPTED PRIVATE KEY';
const plainTypes: readonly string[] = ['PRIVATE KEY', 'EC PRIVATE KEY', 'RSA PRIVATE KEY'];

/**
 * Notary writes 2048. Its reader accepts any count, and this one makes guessing a hundred times as expensive.
 */
const iterations = 200_000;

/**
 * Returns a private key in Notary's format: PKCS #8 under PBES2 (PBKDF2 with HMAC-SHA-1, AES-256-CBC), in PEM
 * with headers. Node's own writer uses HMAC-SHA-256, which Notary cannot read (tuf/utils/pkcs8.go of Notary
 * 0.7).
 * @throws Error when a header would have more than one line
 */
export async function writeKeyFile(
  key: KeyObject,
  { role, gun }: KeyFileHeaders,
  passphrase: string,
): Promise<string> {
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const secret = await promisify(pbkdf2)(passphrase, salt, iterations, 32, 'sha1');
  const cipher = createCipheriv('aes-256-cbc', secret, iv);
  const content = key.export({ type: 'pkcs8', format: 'der' });
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()]);
  content.fill(0);
  secret.fill(0);
  const derivation = sequence(oid('1.2.840.113549.1.5.12'), sequence(octets(salt), whole(iterations)));
  const encryption = sequence(oid('2.16.840.1.101.3.4.1.42'), octets(iv));
  const encryptedKey = sequence(
    sequence(oid('1.2.840.113549.1.5.13'), sequence(derivation, encryption)),
    octets(encrypted),
  );
  return writePem(encryptedType, encryptedKey, { ...(gun === undefined ? {} : { gun }), role });
}

export interface KeyFile {
  readonly headers: KeyFileHeaders;
  readonly encrypted: boolean;
  /** PEM without headers. */
  readonly pem: string;
}

/**
 * Reads the unencrypted parts of a key file.
 * @throws Error with a sentence
 */
export function readKeyFile(text: string): KeyFile {
  const { blocks, damaged } = readPem(text);
  if (damaged) throw new Error('its PEM block is damaged');
  const [block] = blocks;
  if (block === undefined || blocks.length > 1)
    throw new Error(block === undefined ? 'it is not PEM' : 'it contains several PEM blocks');
  const { type, headers, content } = block;
  if (type !== encryptedType && !plainTypes.includes(type))
    throw new Error(`its PEM block is "${type}", not a private key`);
  const gun = headers.get('gun');
  return {
    headers: { role: headers.get('role') ?? '', ...(gun === undefined ? {} : { gun }) },
    encrypted: type === encryptedType,
    pem: writePem(type, content),
  };
}

/**
 * Decrypts the key.
 * @param name the name for messages
 * @throws Error with a sentence; a wrong passphrase and a damaged file cannot be distinguished
 */
export function openKeyFile(name: string, { pem, encrypted }: KeyFile, passphrase: string): SigningKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(encrypted ? { key: pem, passphrase } : pem);
  } catch {
    throw new Error(
      encrypted
        ? 'the passphrase is wrong or the file is damaged'
        : 'its PEM block is not a readable private key',
    );
  }
  const publicKey = policyKey(name, createPublicKey(key));
  if ('problem' in publicKey) throw new Error(publicKey.problem);
  return { public: publicKey, private: key };
}
