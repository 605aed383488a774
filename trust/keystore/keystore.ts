import { createPublicKey, generateKeyPair } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PortcullisError, fileReason, reasonOf } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import { readNewPassphrase, readPassphrase } from '../keys/passphrase.ts';
import type { PassphraseSource } from '../keys/passphrase.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { bareKeyId } from '../tuf-metadata/listed-key.ts';
import { openKeyFile, readKeyFile, writeKeyFile } from './key-file.ts';
import type { KeyFileHeaders } from './key-file.ts';

/** A stored private key, described by the unencrypted parts of its file. */
export interface KeptKey extends KeyFileHeaders {
  /** The id of the bare key, as Notary computes it: hex sha256. */
  readonly id: string;
}

/**
 * Private keys as files of a folder, each `private/<id>.key`, mode 0600, in Notary's format: the `notary`
 * command with `-d FOLDER` reads and writes the same files.
 */
export interface Keystore {
  list(): Promise<readonly KeptKey[]>;
  /**
   * Generates and stores an ECDSA P-256 key.
   * @throws TRUST_PASSPHRASE_TOO_LONG, and the errors of passphrases and of writing
   */
  generate(
    headers: KeyFileHeaders,
    passphrase: PassphraseSource,
  ): Promise<KeptKey & { readonly key: SigningKey }>;
  /**
   * Stores a key that was made elsewhere.
   * @throws TRUST_PASSPHRASE_TOO_LONG, and the errors of passphrases and of writing
   */
  keep(key: SigningKey, headers: KeyFileHeaders, passphrase: PassphraseSource): Promise<KeptKey>;
  /**
   * Opens a stored key.
   * @throws TRUST_KEYSTORE_UNREADABLE, and the errors of passphrases
   */
  open(id: string, passphrase: PassphraseSource): Promise<SigningKey>;
  remove(id: string): Promise<void>;
}

const mostBytes = 64 * 1024;
/** OpenSSL cannot open a PEM file with a longer passphrase (PEM_BUFSIZE): the key would be lost. */
const mostPassphraseBytes = 1024;

export function openKeystore(folder: string): Keystore {
  const home = join(folder, 'private');
  const fileOf = (id: string): string => join(home, `${id}.key`);

  const read = async (id: string): Promise<ReturnType<typeof readKeyFile>> => {
    if (!/^[0-9a-f]{64}$/u.test(id)) throw unreadable(id, 'it is not a key id of 64 hexadecimal digits');
    try {
      const file = fileOf(id);
      return readKeyFile((await readPlainFile(file, mostBytes)).toString('utf8'));
    } catch (error) {
      throw unreadable(
        fileOf(id),
        (error as NodeJS.ErrnoException).code === 'ENOENT'
          ? 'there is no such key'
          : fileReason(error, fileOf(id)),
      );
    }
  };

  const write = async (
    key: SigningKey,
    headers: KeyFileHeaders,
    passphrase: PassphraseSource,
  ): Promise<KeptKey> => {
    const id = bareKeyId(createPublicKey(key.private));
    const words = await readNewPassphrase(
      passphrase,
      `New passphrase for the ${headers.role} key ${id.slice(0, 8)}: `,
    );
    if (Buffer.byteLength(words) > mostPassphraseBytes) throw tooLong(fileOf(id));
    makeFolderSync(home);
    await writeFileAtomic(fileOf(id), await writeKeyFile(key.private, headers, words));
    return { id, ...headers };
  };

  return {
    async list() {
      const names = await readdir(home).catch(() => []);
      const ids = names.filter((name) => /^[0-9a-f]{64}\.key$/u.test(name)).map((name) => name.slice(0, -4));
      return Promise.all(ids.sort().map(async (id) => ({ id, ...(await read(id)).headers })));
    },
    async generate(headers, passphrase) {
      const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
      const key: SigningKey = {
        public: {
          name: headers.role,
          type: 'ecdsa',
          spki: pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
        },
        private: pair.privateKey,
      };
      return { ...(await write(key, headers, passphrase)), key };
    },
    keep: write,
    async open(id, passphrase) {
      const file = await read(id);
      const { role } = file.headers;
      const words = file.encrypted
        ? await readPassphrase(passphrase, `Passphrase of the ${role} key ${id.slice(0, 8)}: `)
        : '';
      try {
        return openKeyFile(`${role} key ${id.slice(0, 8)}`, file, words);
      } catch (error) {
        throw unreadable(fileOf(id), reasonOf(error));
      }
    },
    remove: (id) => rm(fileOf(id), { force: true }),
  };
}

/**
 * Returns the source of a passphrase for the key of a role: `PORTCULLIS_<ROLE>_PASSPHRASE`,
 * `PORTCULLIS_PASSPHRASE`, or `NOTARY_<ROLE>_PASSPHRASE` as for Notary's commands.
 */
export function passphraseForRole(source: PassphraseSource, role: string): PassphraseSource {
  const { environment } = source;
  const known = ['root', 'targets', 'snapshot', 'timestamp'].includes(role)
    ? role.toUpperCase()
    : 'DELEGATION';
  const words =
    environment[`PORTCULLIS_${known}_PASSPHRASE`] ??
    environment['PORTCULLIS_PASSPHRASE'] ??
    environment[`NOTARY_${known}_PASSPHRASE`];
  return { ...source, environment: words === undefined ? {} : { PORTCULLIS_PASSPHRASE: words } };
}

function unreadable(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_KEYSTORE_UNREADABLE',
    kind: 'invalid',
    attempted: 'open private key',
    on,
    why,
    fix: 'give the correct passphrase, or put the key back',
  });
}

function tooLong(on: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_PASSPHRASE_TOO_LONG',
    kind: 'invalid',
    attempted: 'keep private key',
    on,
    why: `the passphrase has more than ${mostPassphraseBytes} bytes: nothing could open the key again`,
    fix: 'use a shorter passphrase',
  });
}
