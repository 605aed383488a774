import { createCipheriv, createDecipheriv, generateKeyPairSync, randomBytes } from 'node:crypto';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readPlainFileWithMode } from '../../base/files/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { onlineKey } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';
import type { TrustStore } from './store.ts';

/**
 * The service's private keys: one Ed25519 pair for each collection and role. They are stored in the database,
 * sealed with AES-256-GCM (bound to collection and role) under a key from a separate file. A copy of the
 * database alone cannot sign anything.
 */
export interface KeyVault {
  /**
   * Returns the keys, oldest first.
   * @throws TRUST_SERVICE_KEY when there are keys and the key file opens none of them
   */
  keysOf(gun: string): Promise<readonly OnlineKey[]>;
  /** Like `keysOf`, but returns no keys when the key file opens none. */
  openedKeysOf(gun: string): Promise<readonly OnlineKey[]>;
  /**
   * Creates a key.
   * @param instead keys of the collection that are removed in the same transaction
   */
  create(
    gun: string,
    role: OnlineKey['role'],
    at: number,
    instead?: readonly OnlineKey[],
  ): Promise<OnlineKey>;
  /** Drops the cached keys of a removed collection. */
  forget(gun: string): void;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/**
 * Opens the key vault.
 * @param keyFile 32 random bytes, hexadecimal, readable by its owner only; created when absent
 * @throws TRUST_SERVICE_KEY · STORAGE_… when the key file cannot be created
 */
export async function openKeyVault(store: TrustStore, keyFile: string): Promise<KeyVault> {
  const secret = await sealingKey(keyFile);
  const known = new Map<string, readonly OnlineKey[]>();
  const sealedForms = new WeakMap<OnlineKey, Buffer>();

  /**
   * Returns the keys that can be opened. The others were sealed under a key file that is lost; they stay
   * until a root names their successors.
   */
  const openKeys = async (
    gun: string,
  ): Promise<{ readonly keys: readonly OnlineKey[]; readonly failure?: PortcullisError }> => {
    let failure: PortcullisError | undefined;
    const keys = (await store.keys(gun)).flatMap(({ role, sealed }) => {
      if (role !== 'snapshot' && role !== 'timestamp') return [];
      const pkcs8 = unseal(secret, sealed, gun, role);
      if (pkcs8 !== undefined) {
        const key = onlineKey(role, pkcs8);
        sealedForms.set(key, sealed);
        return [key];
      }
      failure ??= keyFailure(
        keyFile,
        `it does not open the ${role} key of ${gun}`,
        'name the key file that this data folder was created with',
      );
      return [];
    });
    return { keys, ...(failure === undefined ? {} : { failure }) };
  };

  const keysOf = async (gun: string): Promise<readonly OnlineKey[]> => {
    const remembered = known.get(gun);
    if (remembered !== undefined) return remembered;
    const { keys, failure } = await openKeys(gun);
    if (keys.length === 0 && failure !== undefined) throw failure;
    if (keys.length > 0) remember(known, gun, keys);
    return keys;
  };
  return {
    keysOf,
    openedKeysOf: async (gun) => known.get(gun) ?? (await openKeys(gun)).keys,
    async create(gun, role, at, instead = []) {
      const { privateKey } = generateKeyPairSync('ed25519');
      const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
      const before = known.get(gun) ?? (await openKeys(gun)).keys;
      const sealed = seal(secret, pkcs8, gun, role);
      const gone = instead.flatMap((key) => sealedForms.get(key) ?? []);
      await store.addKey(gun, role, sealed, at, gone);
      const key = onlineKey(role, pkcs8);
      sealedForms.set(key, sealed);
      remember(known, gun, [...(known.get(gun) ?? before).filter((old) => !instead.includes(old)), key]);
      return key;
    },
    forget: (gun) => void known.delete(gun),
  };
}

const mostRemembered = 10_000;

function remember(known: Map<string, readonly OnlineKey[]>, gun: string, keys: readonly OnlineKey[]): void {
  const oldest = known.size >= mostRemembered ? known.keys().next().value : undefined;
  if (oldest !== undefined) known.delete(oldest);
  known.set(gun, keys);
}

const context = (gun: string, role: string): Buffer => Buffer.from(`${role}\n${gun}`);

function seal(secret: Buffer, plain: Buffer, gun: string, role: string): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', secret, nonce).setAAD(context(gun, role));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Opens a sealed key.
 * @returns undefined when it was sealed under another key, for another collection or role, or was changed
 */
function unseal(secret: Buffer, sealed: Buffer, gun: string, role: string): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', secret, sealed.subarray(0, nonceBytes), {
      authTagLength: tagBytes,
    });
    decipher.setAAD(context(gun, role)).setAuthTag(sealed.subarray(-tagBytes));
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()]);
  } catch {
    return undefined;
  }
}

async function sealingKey(file: string): Promise<Buffer> {
  const read = await readPlainFileWithMode(file, 4096).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw keyFailure(
      file,
      reasonOf(thrown),
      'name a file of 64 hexadecimal digits that the service may read',
    );
  });
  if (read === undefined) return makeSealingKey(file);
  if ((read.mode & 0o077) !== 0)
    throw keyFailure(file, 'users other than its owner can read it', `run chmod 600 ${file}`);
  const text = read.bytes.toString('utf8').trim();
  if (!/^[0-9a-f]{64}$/iu.test(text))
    throw keyFailure(file, 'it is not 32 bytes in hexadecimal', 'make one: openssl rand -hex 32');
  return Buffer.from(text, 'hex');
}

async function makeSealingKey(file: string): Promise<Buffer> {
  const secret = randomBytes(keyBytes);
  await writeFileAtomic(file, Buffer.from(`${secret.toString('hex')}\n`), { mode: 0o600 });
  return secret;
}

function keyFailure(file: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_SERVICE_KEY',
    kind: 'precondition',
    attempted: 'open keys of the trust service',
    on: file,
    why,
    fix,
  });
}
