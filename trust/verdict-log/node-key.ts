import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { PortcullisError, fileReason, orThrow } from '../../base/errors/index.ts';
import { readPlainFileWithMode } from '../../base/files/index.ts';
import { writePem } from '../../base/pem/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import { noteKey } from './signed-note.ts';
import type { NoteKey } from './signed-note.ts';

/** The key that signs checkpoints, and nothing else (design, security 9). */
export interface NodeKey {
  readonly privateKey: KeyObject;
  readonly note: NoteKey;
}

/**
 * Opens the node's key at `path`: Ed25519, PKCS#8 PEM, mode 0600. Creates it when absent. `path.pub` gets the
 * public key as one line.
 * @throws PortcullisError `TRUST_LOG_KEY_UNREADABLE` when the file exists but is not such a key, or when
 * others may read it
 */
export async function openNodeKey(path: string): Promise<NodeKey> {
  await dropAbandonedWrites(path);
  await dropAbandonedWrites(`${path}.pub`);
  const pem = await readKeyText(path);
  if (pem === undefined) {
    const { privateKey } = generateKeyPairSync('ed25519');
    const made = writePem('PRIVATE KEY', privateKey.export({ type: 'pkcs8', format: 'der' }));
    await writeFileAtomic(path, made);
    return publish(path, keyOf(path, made));
  }
  return publish(path, keyOf(path, pem));
}

/**
 * Reads the node's key at `path`, for a user who may read it. Returns undefined when it is absent.
 * @throws PortcullisError `TRUST_LOG_KEY_UNREADABLE`
 */
export async function readNodeKey(path: string): Promise<NodeKey | undefined> {
  const pem = await readKeyText(path);
  return pem === undefined ? undefined : keyOf(path, pem);
}

async function readKeyText(path: string): Promise<string | undefined> {
  try {
    const { bytes, mode } = await readPlainFileWithMode(path, 4096);
    if ((mode & 0o077) !== 0) throw unreadable(path, 'users other than its owner can read it');
    return bytes.toString('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error instanceof PortcullisError ? error : unreadable(path, fileReason(error, path));
  }
}

function keyOf(path: string, pem: string): NodeKey {
  const privateKey: KeyObject = orThrow(
    () => createPrivateKey(pem),
    () => unreadable(path, 'it is not a private key in PEM'),
  );
  if (privateKey.asymmetricKeyType !== 'ed25519') throw unreadable(path, 'it is not an Ed25519 key');
  const name = `${hostname().replace(/[^A-Za-z0-9.-]/g, '-') || 'node'}/verdict-log`;
  return { privateKey, note: noteKey(name, privateKey) };
}

async function publish(path: string, key: NodeKey): Promise<NodeKey> {
  const reported = await readFile(`${path}.pub`, 'utf8').catch(() => '');
  if (reported !== `${key.note.text}\n`)
    await writeFileAtomic(`${path}.pub`, `${key.note.text}\n`, { mode: 0o644 });
  return key;
}

function unreadable(path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_LOG_KEY_UNREADABLE',
    kind: 'precondition',
    attempted: 'read the key that signs checkpoints of the verdict log',
    on: path,
    why,
    fix: 'restore the file with mode 0600, or move it away: a new key is then created, and the log records this',
  });
}
