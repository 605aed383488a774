import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { reasonOf } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { readPem, writePem } from '../../base/pem/index.ts';
import { selfSignedCertificate } from '../keystore/certificate.ts';
import { passphraseForRole } from '../keystore/keystore.ts';
import type { Keystore } from '../keystore/keystore.ts';
import { keyFlaw } from '../keys/key-flaw.ts';
import type { PassphraseSource } from '../keys/passphrase.ts';
import { isPkcs11Uri, openSigner } from '../signing/open-signer.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { FindSigner } from './draft.ts';
import { authorFailure } from './failure.ts';
import { bareKeyId } from '../tuf-metadata/listed-key.ts';
import { holds, keyOf } from './keys.ts';
import type { StagedKey } from './staged.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { certificatesOfPem } from '../x509/pem.ts';

const day = 86_400_000;
/** Types of keys that both dialects name, by Node's names: signatures of other keys would not count. */
const listedTypes: readonly string[] = ['ec', 'ed25519', 'rsa'];
const keyFix = 'name a public key, a certificate, a private key or a pkcs11: URI';

/** The keys of an owner: the keys of the keystore, and the signers named for this run. */
export interface OwnerKeys {
  /**
   * Reads public keys, certificates, private keys or PKCS #11 URIs as keys to be listed.
   * @throws TRUST_AUTHOR_WORKING_FOLDER, and the errors of signers
   */
  read(file: string): Promise<StagedKey>;
  /** Creates a new key in the keystore. */
  generate(role: string, gun?: string): Promise<StagedKey>;
  /** Returns the existing key of this role in the keystore; undefined when there are none or several. */
  standing(role: string): Promise<StagedKey | undefined>;
  /**
   * Returns the key with a certificate in the collection's name, as Notary's clients require for roots.
   * @throws TRUST_AUTHOR_NOT_IN_DIALECT without the private key
   */
  certified(key: StagedKey, name: string, now: Date): Promise<StagedKey>;
  finder(dialect: Dialect): FindSigner;
  close(): Promise<void>;
}

/**
 * Opens the keys of an owner.
 * @param signers files or URIs of private keys that sign in this run, in addition to the keystore's keys
 */
export async function openOwnerKeys(
  keystore: Keystore,
  passphrase: PassphraseSource,
  signers: readonly string[],
): Promise<OwnerKeys> {
  const opened: Signer[] = [];
  const open = async (key: string): Promise<Signer> => {
    const signer = await openSigner({ key, passphrase, now: new Date() });
    opened.push(signer);
    return signer;
  };
  for (const key of signers) await open(key);
  const kept = new Map<string, Promise<Signer>>();

  const fromStore = async (id: string): Promise<Signer | undefined> => {
    const entry = (await keystore.list()).find((one) => one.id === id);
    if (entry === undefined) return undefined;
    let signer = kept.get(id);
    if (signer === undefined) {
      signer = keystore.open(id, passphraseForRole(passphrase, entry.role)).then((key) => keySigner(key));
      kept.set(id, signer);
    }
    return signer;
  };
  const spkiOf = (signer: Signer): StagedKey => ({ spki: signer.public.spki });
  const publicKeyOf = ({ spki }: StagedKey): KeyObject =>
    createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' });
  const idOf = (key: StagedKey): string => bareKeyId(publicKeyOf(key));

  const readAny = async (file: string): Promise<StagedKey> => {
    if (isPkcs11Uri(file)) return spkiOf(await open(file));
    const text = await readKeyText(file);
    try {
      const types = readPem(text).blocks.map(({ type }) => type);
      const [certificate] = types.includes('CERTIFICATE') ? certificatesOfPem(text) : [];
      if (certificate !== undefined) {
        const flaw = keyFlaw(createPublicKey({ key: certificate.spki, format: 'der', type: 'spki' }));
        if (flaw !== undefined) throw new Error(flaw);
        return {
          spki: certificate.spki.toString('base64'),
          certificate: writePem('CERTIFICATE', certificate.raw),
        };
      }
      if (types.some((type) => type.endsWith('PUBLIC KEY'))) {
        const key = parsePublicKey(file, text);
        if ('problem' in key) throw new Error(key.problem);
        return { spki: key.spki };
      }
    } catch (thrown) {
      throw authorFailure(
        'TRUST_AUTHOR_WORKING_FOLDER',
        file,
        `it is not a readable key: ${reasonOf(thrown)}`,
        thrown,
        keyFix,
      );
    }
    return spkiOf(await open(file));
  };

  return {
    async read(file) {
      const key = await readAny(file);
      const type = publicKeyOf(key).asymmetricKeyType ?? 'unknown';
      if (listedTypes.includes(type)) return key;
      throw authorFailure(
        'TRUST_AUTHOR_WORKING_FOLDER',
        file,
        `a key of type ${type} cannot sign metadata`,
        undefined,
        'name an ECDSA, Ed25519 or RSA key',
      );
    },
    async generate(role, gun) {
      const made = await keystore.generate(
        { role, ...(gun === undefined ? {} : { gun }) },
        passphraseForRole(passphrase, role),
      );
      kept.set(made.id, Promise.resolve(keySigner(made.key)));
      return { spki: made.key.public.spki };
    },
    async standing(role) {
      const [one, ...others] = (await keystore.list()).filter((key) => key.role === role);
      if (one === undefined || others.length > 0) return undefined;
      const signer = await fromStore(one.id);
      return signer === undefined ? undefined : spkiOf(signer);
    },
    async certified(key, name, now) {
      if (key.certificate !== undefined) return key;
      const signer = opened.find((one) => one.public.spki === key.spki) ?? (await fromStore(idOf(key)));
      if (signer === undefined)
        throw authorFailure(
          'TRUST_AUTHOR_NOT_IN_DIALECT',
          name,
          'Notary’s clients demand certificates of root keys: name the certificate, or the private key',
        );
      // Valid for as long as the roots of Notary's own client.
      return {
        ...key,
        certificate: await selfSignedCertificate(
          signer,
          name,
          new Date(now.getTime() - day),
          new Date(now.getTime() + 3650 * day),
        ),
      };
    },
    finder: (dialect) => async (listed) => {
      const named = opened.find((signer) => holds(signer, listed));
      if (named !== undefined) return named;
      const key = keyOf(dialect, listed);
      return key === undefined ? undefined : fromStore(bareKeyId(key));
    },
    async close() {
      await Promise.all(opened.map((signer) => signer.close()));
    },
  };
}

async function readKeyText(file: string): Promise<string> {
  try {
    return (await readGivenFile(file, 64 * 1024)).toString('utf8');
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : reasonOf(error);
    throw authorFailure('TRUST_AUTHOR_WORKING_FOLDER', file, why, error, keyFix);
  }
}
