import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { failure, meansGone } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { dropAbandonedWrites, storageFailure, writeFileAtomic } from '../../../base/storage/index.ts';

/**
 * The keys of this host (X25519, RFC 7748), as base64. The next pair is generated and announced in advance,
 * so that a host without a connection to etcd recognizes this host after a key change.
 */
interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export interface HostKeys {
  readonly current: KeyPair;
  readonly next: Pick<KeyPair, 'publicKey'>;
  /** Whether the other hosts can know the next key. */
  readonly isNextAnnounced: boolean;
  /** Called when etcd has a record of this host. @param nextKey the next key in it */
  announced(nextKey: string): Promise<void>;
  /**
   * Makes the next pair the current one: durable when this resolves, and not yet in the kernel. The other
   * hosts drop packets of a host whose current key was never announced.
   * @throws OVERLAY_KEY_NOT_ANNOUNCED · STORAGE_…
   */
  rotate(): Promise<void>;
  /** Removes the keys from the disk. */
  remove(): void;
}

interface Stored {
  readonly current: KeyPair;
  readonly next: KeyPair;
  /** The next key was not announced yet. Absent: it was, or a former version wrote the file. */
  readonly isNew?: true;
}

const keyLength = 32;

/** Reads the keys of the folder, or generates them where none exist. @throws STORAGE_… */
export async function openHostKeys(folder: string): Promise<HostKeys> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'wireguard-keys.json');
  const write = (stored: Stored): Promise<void> =>
    writeFileAtomic(path, JSON.stringify(stored), { mode: 0o600 });
  await dropAbandonedWrites(path);
  let stored = readStored(path);
  if (stored === undefined) {
    stored = { current: makePair(), next: makePair(), isNew: true };
    await write(stored);
  }
  let held = stored;
  let rotating = false;
  return {
    get current() {
      return held.current;
    },
    get next() {
      return { publicKey: held.next.publicKey };
    },
    get isNextAnnounced() {
      return held.isNew !== true;
    },
    async announced(nextKey) {
      if (held.isNew !== true || held.next.publicKey !== nextKey) return;
      held = { current: held.current, next: held.next };
      // If this cannot be stored, the next start waits until etcd has the record again.
      await write(held).catch(() => undefined);
    },
    async rotate() {
      if (held.isNew === true || rotating) throw notAnnounced();
      rotating = true;
      try {
        const following = { current: held.next, next: makePair(), isNew: true } as const;
        await write(following);
        held = following;
      } finally {
        rotating = false;
      }
    },
    remove: () => rmSync(path, { force: true }),
  };
}

function notAnnounced(): PortcullisError {
  return failure(
    'OVERLAY_KEY_NOT_ANNOUNCED',
    'unavailable',
    'change the key of this host',
    '',
    'etcd does not have the key that would be next, so the other hosts would not recognize this host',
    'try again when `portcullis network overlay status` reports that this host is connected; if the key was stolen and must not be used until then, stop this host',
  );
}

function makePair(): KeyPair {
  const { d = '', x = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const base64 = (member: string): string => Buffer.from(member, 'base64url').toString('base64');
  return { privateKey: base64(d), publicKey: base64(x) };
}

/**
 * Returns undefined if the file does not exist or does not contain two valid pairs. Then new keys are
 * generated, and other hosts learn them from etcd. A file that exists and cannot be read is not replaced.
 * @throws STORAGE_…
 */
function readStored(path: string): Stored | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    if (meansGone(thrown)) return undefined;
    throw storageFailure(thrown, 'read the keys of this host', path);
  }
  try {
    const value = parseJson(text) as Partial<Stored> | null;
    return isPair(value?.current) && isPair(value.next) ? (value as Stored) : undefined;
  } catch {
    return undefined;
  }
}

function isPair(value: unknown): value is KeyPair {
  const { privateKey, publicKey } = (value ?? {}) as Partial<KeyPair>;
  if (typeof privateKey !== 'string' || typeof publicKey !== 'string') return false;
  const [d, x] = [privateKey, publicKey].map((text) => Buffer.from(text, 'base64'));
  if (d?.length !== keyLength || x?.length !== keyLength || x.toString('base64') !== publicKey) return false;
  try {
    // Refused when the public key (x) is not that of the private key (d); RFC 8037 section 2.
    const key = { kty: 'OKP', crv: 'X25519', d: d.toString('base64url'), x: x.toString('base64url') };
    return createPrivateKey({ key, format: 'jwk' }).asymmetricKeyType === 'x25519';
  } catch {
    return false;
  }
}
