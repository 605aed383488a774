import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { isPortcullisError, PortcullisError, fileReason, reasonOf } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { onlyPemBlock, writePem } from '../../base/pem/index.ts';
import { createFileAtomic, kindOfUnwritten } from '../../base/storage/index.ts';
import { isKeyText } from '../requirements/key-text.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { cosignPemTypes, decryptCosignKey, encryptCosignKey } from './cosign-key-file.ts';
import { readNewPassphrase, readPassphrase } from './passphrase.ts';
import type { PassphraseSource } from './passphrase.ts';
import { policyKey } from './public-key.ts';

/** A private key for signing, and its public half. The private key never leaves the process. */
export interface SigningKey {
  readonly public: PolicyKey;
  readonly private: KeyObject;
}

/** PKCS #8, encrypted: `openssl pkcs8 -topk8`. */
const encryptedPemType = 'ENCRYPTED PRIVATE KEY';
const plainPemTypes: readonly string[] = ['PRIVATE KEY', 'EC PRIVATE KEY', 'RSA PRIVATE KEY'];
/** The block that `openssl ecparam -genkey` writes before a key. The key names its curve itself. */
const curveParameters = 'EC PARAMETERS';
const maximumKeyBytes = 64 * 1024;

/**
 * Reads a private key: cosign's encrypted file, or PEM (PKCS #8, also encrypted, SEC1, PKCS #1). Asks for the
 * passphrase only when needed.
 * @throws PortcullisError `TRUST_KEY_UNREADABLE`, and the errors of {@link readPassphrase}
 */
export async function loadSigningKey(file: string, passphrase: PassphraseSource): Promise<SigningKey> {
  const failure = {
    code: 'TRUST_KEY_UNREADABLE',
    kind: 'invalid',
    attempted: 'read private key',
    on: file,
  } as const;
  const fail = (why: string, fix = 'name a private key file: cosign.key, or PEM'): PortcullisError =>
    new PortcullisError({ ...failure, why, fix });
  if (isKeyText(file))
    throw new PortcullisError({
      ...{ ...failure, on: 'from the text of a key' },
      why: 'the name of its file is expected',
      fix: 'write the text to a file that only you can read, and name the file',
    });
  let text: string;
  try {
    text = (await readGivenFile(file, maximumKeyBytes)).toString('utf8');
  } catch (error) {
    throw fail(fileReason(error, file));
  }
  const block = onlyPemBlock(text, curveParameters);
  if ('problem' in block) throw fail(block.problem, conversionOf(text));
  const cosigns = (cosignPemTypes as readonly string[]).includes(block.type);
  const encrypted = cosigns || block.type === encryptedPemType;
  if (!encrypted && !plainPemTypes.includes(block.type)) {
    throw fail(
      `its PEM block is "${block.type}"`,
      block.type === 'PUBLIC KEY'
        ? 'name the private key: cosign.key, not cosign.pub'
        : (conversionOf(text) ?? 'name a private key file: cosign.key, or PEM'),
    );
  }
  let key: KeyObject;
  try {
    const words = encrypted ? await readPassphrase(passphrase, `Passphrase of ${file}: `) : '';
    key = cosigns
      ? createPrivateKey({ key: await decryptCosignKey(block.content, words), format: 'der', type: 'pkcs8' })
      : createPrivateKey({
          key: writePem(block.type, block.content),
          ...(encrypted ? { passphrase: words } : {}),
        });
  } catch (error) {
    if (error instanceof PortcullisError) throw error;
    throw fail(
      cosigns
        ? reasonOf(error)
        : encrypted
          ? 'the passphrase is wrong or the file is damaged'
          : 'its PEM block is not a readable private key',
      encrypted ? 'give the correct passphrase' : 'name another key',
    );
  }
  const publicKey = policyKey(file, createPublicKey(key));
  if ('problem' in publicKey) throw fail(publicKey.problem, 'name another key');
  return { public: publicKey, private: key };
}

/** Returns the command that converts a key in a form of another tool, if its text is of such a form. */
function conversionOf(text: string): string | undefined {
  if (text.includes('BEGIN OPENSSH PRIVATE KEY'))
    return "convert a copy of it (ssh-keygen -p -N '' -m PKCS8 -f COPY), or make a key: --generate-key";
  return /^Proc-Type: *4, *ENCRYPTED/mu.test(text)
    ? 'convert it: openssl pkcs8 -topk8 -in FILE -out NEW'
    : undefined;
}

/**
 * Signs as `cosign verify --key` expects by default: ECDSA (DER) and RSA (PKCS #1 v1.5) over SHA-256 whatever
 * the curve, Ed25519 and ML-DSA pure. Measured with cosign v3.1.3, whose own `sign` uses other digests for
 * P-384, P-521 and Ed25519.
 */
export function signMessage(key: SigningKey, message: Uint8Array): Buffer {
  return sign(hashesItself(key.public) ? null : 'sha256', message, key.private);
}

/** Whether the algorithm of a key takes the message itself, without a digest. */
const hashesItself = ({ type }: PolicyKey): boolean => type === 'ed25519' || type === 'ml-dsa';

/** The key types that {@link generateKeyPair} makes. */
export const generatedKeyTypes = ['ecdsa-p256', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const;
export type GeneratedKeyType = (typeof generatedKeyTypes)[number];

/**
 * Makes an ECDSA P-256 key pair like `cosign generate-key-pair`: PREFIX.key (encrypted, mode 0600) and
 * PREFIX.pub; or a key pair of another type in the same files. Existing files are not changed.
 * @throws PortcullisError `TRUST_KEY_EXISTS`, `TRUST_KEY_NOT_WRITTEN`, and the errors of {@link
 * readPassphrase}
 */
export async function generateKeyPair(
  prefix: string,
  passphrase: PassphraseSource,
  type: GeneratedKeyType = 'ecdsa-p256',
): Promise<{ readonly privateFile: string; readonly publicFile: string }> {
  const privateFile = `${prefix}.key`;
  const publicFile = `${prefix}.pub`;
  if (prefix === '' || prefix.endsWith('/'))
    throw notWritten(
      'TRUST_KEY_NOT_WRITTEN',
      privateFile,
      'the prefix does not end in a name',
      `name the files too, such as ${prefix}cosign`,
    );
  for (const file of [privateFile, publicFile]) {
    if ((await stat(file).catch(() => undefined)) !== undefined)
      throw notWritten('TRUST_KEY_EXISTS', file, 'the file exists', 'choose another prefix, or remove it');
  }
  const words = await readNewPassphrase(passphrase, `New passphrase for ${privateFile}: `);
  const pair = generatePair(type, publicFile);
  const content = await encryptCosignKey(pair.privateKey.export({ type: 'pkcs8', format: 'der' }), words);
  await writeNew(privateFile, writePem(cosignPemTypes[0], content), 0o600);
  try {
    await writeNew(publicFile, publicPem(pair.publicKey), 0o644);
  } catch (error) {
    // Half a pair would block the next attempt. A public key that appeared may belong to the private key:
    // ensureKeyPair of another process restored it.
    if (!isPortcullisError(error) || error.code !== 'TRUST_KEY_EXISTS')
      await rm(privateFile, { force: true });
    throw error;
  }
  return { privateFile, publicFile };
}

/**
 * Makes a key pair as {@link generateKeyPair} does, unless it exists. If a run ended after it wrote the
 * private key, the public key is restored from it.
 * @throws PortcullisError `TRUST_KEY_EXISTS` if only the public key exists, and the errors of {@link
 * generateKeyPair} and {@link loadSigningKey}
 */
export async function ensureKeyPair(
  prefix: string,
  passphrase: PassphraseSource,
): Promise<{ readonly privateFile: string; readonly publicFile: string }> {
  const files = { privateFile: `${prefix}.key`, publicFile: `${prefix}.pub` };
  const exists = (file: string): Promise<boolean> =>
    stat(file).then(
      () => true,
      () => false,
    );
  if (!(await exists(files.privateFile))) return generateKeyPair(prefix, passphrase);
  if (!(await exists(files.publicFile))) {
    const { private: key } = await loadSigningKey(files.privateFile, passphrase);
    await writeNew(files.publicFile, publicPem(createPublicKey(key)), 0o644);
  }
  return files;
}

function generatePair(
  type: GeneratedKeyType,
  on: string,
): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  try {
    return type === 'ecdsa-p256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync(type);
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_KEY_NOT_WRITTEN',
      kind: 'invalid',
      attempted: 'make key',
      on,
      why: `Node ${process.versions.node} cannot make a key of type ${type}: ${reasonOf(error)}`,
      fix: 'use Node 24.7 or newer, or another type',
    });
  }
}

const publicPem = (key: KeyObject): string =>
  writePem('PUBLIC KEY', key.export({ type: 'spki', format: 'der' }));

async function writeNew(file: string, text: string, mode: number): Promise<void> {
  let created: boolean;
  try {
    // It never writes through another user's link, and never over a key.
    created = await createFileAtomic(file, text, { mode });
  } catch (error) {
    throw notWritten(
      'TRUST_KEY_NOT_WRITTEN',
      file,
      isPortcullisError(error) ? error.failure.why : reasonOf(error),
      isPortcullisError(error) ? error.failure.fix : 'choose a prefix in a writable folder',
      kindOfUnwritten(error),
    );
  }
  if (!created)
    throw notWritten('TRUST_KEY_EXISTS', file, 'the file exists', 'choose another prefix, or remove it');
}

function notWritten(
  code: string,
  file: string,
  why: string,
  fix: string,
  kind: ReturnType<typeof kindOfUnwritten> = 'invalid',
): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'write key', on: file, why, fix });
}
