import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../../base/storage/index.ts';

/**
 * The keys of this host (X25519, RFC 7748), as base64. The next pair is generated and announced in advance,
 * so that a host that does not hear etcd recognizes this host after a key change.
 */
interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export interface HostKeys {
  readonly current: KeyPair;
  readonly next: Pick<KeyPair, 'publicKey'>;
  /**
   * Makes the next pair the current one: durable when this resolves, and not yet in the kernel. @throws
   * STORAGE_…
   */
  rotate(): Promise<void>;
  /** Removes the keys from the disk. */
  remove(): void;
}

interface Stored {
  readonly current: KeyPair;
  readonly next: KeyPair;
}

const keyLength = 32;
/** The head of a PKCS #8 X25519 key (RFC 8410, section 7), up to the key itself. */
const pkcs8Head = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** Reads the keys of the folder, or generates them where none exist. @throws STORAGE_… */
export async function openHostKeys(folder: string): Promise<HostKeys> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'wireguard-keys.json');
  const write = (stored: Stored): Promise<void> =>
    writeFileAtomic(path, JSON.stringify(stored), { mode: 0o600 });
  await dropAbandonedWrites(path);
  let stored = readStored(path);
  if (stored === undefined) {
    stored = { current: makePair(), next: makePair() };
    await write(stored);
  }
  let held = stored;
  return {
    get current() {
      return held.current;
    },
    get next() {
      return { publicKey: held.next.publicKey };
    },
    async rotate() {
      const following = { current: held.next, next: makePair() };
      await write(following);
      held = following;
    },
    remove: () => rmSync(path, { force: true }),
  };
}

function makePair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  return {
    privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-keyLength).toString('base64'),
    publicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(-keyLength).toString('base64'),
  };
}

/** Returns the public key of a private key. */
function publicKeyOf(privateKey: Buffer): string {
  const der = Buffer.concat([pkcs8Head, privateKey]);
  return createPublicKey({ key: der, format: 'der', type: 'pkcs8' } as never)
    .export({ format: 'der', type: 'spki' })
    .subarray(-keyLength)
    .toString('base64');
}

/**
 * Returns undefined when the file does not exist or does not hold two valid pairs. Then new keys are
 * generated, and other hosts learn them from etcd.
 */
function readStored(path: string): Stored | undefined {
  try {
    const value = parseJson(readFileSync(path, 'utf8')) as Partial<Stored> | null;
    return isPair(value?.current) && isPair(value.next) ? (value as Stored) : undefined;
  } catch {
    return undefined;
  }
}

function isPair(value: unknown): value is KeyPair {
  const { privateKey, publicKey } = (value ?? {}) as Partial<KeyPair>;
  if (typeof privateKey !== 'string' || typeof publicKey !== 'string') return false;
  const bytes = Buffer.from(privateKey, 'base64');
  return bytes.length === keyLength && publicKeyOf(bytes) === publicKey;
}
