import { cp, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { lockFolder, makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import type { FolderLock } from '../../base/storage/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import { fetchTarget } from '../tuf-client/fetch-target.ts';
import { initialiseTuf } from '../tuf-client/folder-client.ts';
import { folderStore } from '../tuf-client/folder-store.ts';
import { httpSource } from '../tuf-client/http-source.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import { trustRoot } from '../tuf/trusted-set.ts';
import {
  cachedRootFile,
  cachedSigningConfigFile,
  cachedTimestampFile,
  defaultRootCache,
  expiryOfMetadata,
  maximumRootBytes,
  metadataFolder,
  rootFolder,
  signingConfigTarget,
} from './root-cache.ts';
import { embeddedTufRoot, publicGoodTufUrl } from './seeds.ts';
import { readTrustedRoot } from './trusted-root.ts';
import { firstRootInvalid, rootRefused, rootUnknown, updateFailure } from './update-failure.ts';

/** The TUF repository of a trusted root, and its cache. */
export interface UpdateRootOptions {
  /** The TUF repository; default: sigstore's public good instance. */
  readonly url?: string;
  /**
   * Bytes of the repository's initial TUF root, when this version ships none. Later updates continue from the
   * cached metadata.
   */
  readonly tufRoot?: Uint8Array;
  readonly cache?: string;
  /** The time at which metadata must be valid; default: now. */
  readonly now?: Date;
}

/** The location of the trusted root, and its origin. */
export interface UpdatedRoot {
  readonly url: string;
  readonly file: string;
  readonly digest: string;
  /** Whether it differs from the previous one. */
  readonly changed: boolean;
  /** Milliseconds since 1970: until when the repository declares this root its newest. */
  readonly expires: number;
}

const target = 'trusted_root.json';
const deadlineMs = 20_000;
const workPrefix = 'update-';
/** How long an update waits for another one of the same cache. */
const lockMs = 60_000;

/**
 * Fetches the `trusted_root.json` of a TUF repository into the cache that policies read. It is verified by
 * the client workflow of the TUF specification (section 5): signatures, no rollback, no freeze. On any
 * failure, the existing files remain.
 * @throws PortcullisError `TRUST_ROOT_REFUSED` (denied: what the repository serves is not valid, such as
 * expired or wrongly signed metadata, and trying again does not help) · `TRUST_ROOT_UNKNOWN` (no first TUF
 * root is known, or the given one is not valid) · `TRUST_ROOT_UPDATE_FAILED` (the repository did not answer,
 * or the disk failed)
 */
export async function updateTrustedRoot(options: UpdateRootOptions = {}): Promise<UpdatedRoot> {
  const url = (options.url ?? publicGoodTufUrl).replace(/\/+$/, '');
  const cache = options.cache ?? defaultRootCache;
  const folder = rootFolder(cache, url);
  const kept = metadataFolder(cache, url);
  let work: string | undefined;
  let lock: FolderLock | undefined;
  try {
    await makeFolder(kept);
    // A slow update must not replace the result of a later one.
    lock = await lockFolder(folder, lockMs);
    await dropEndedUpdates(folder);
    // The client writes during the update; only its final result is moved into the cache.
    work = await mkdtemp(join(folder, workPrefix));
    await cp(kept, work, { recursive: true });
    if (!(await readdir(work)).includes('root.json')) {
      const first = usableRoot(url, options.tufRoot) ?? (await embeddedTufRoot(url));
      if (first === undefined) throw rootUnknown(url);
      await initialiseTuf(work, Buffer.from(first));
    }
    const { trustedRoot: bytes, signingConfig } = await download(url, work, options.now ?? new Date());
    readServed(url, bytes);
    const file = cachedRootFile(cache, url);
    const before = await readFile(file).catch(() => undefined);
    const changed = before?.equals(bytes) !== true;
    if (changed) await writeFileAtomic(file, bytes);
    const configFile = cachedSigningConfigFile(cache, url);
    if (signingConfig === undefined) await rm(configFile, { force: true });
    else await writeFileAtomic(configFile, signingConfig);
    // The timestamp extends the validity of the files above, so it is written last: if a write fails, or the
    // process ends, an old root keeps its old expiry.
    for (const name of ['root.json', 'targets.json', 'snapshot.json', 'timestamp.json'])
      await writeFileAtomic(join(kept, name), await readFile(join(work, name)));
    const expires = expiryOfMetadata(await readFile(cachedTimestampFile(cache, url)));
    return { url, file, digest: sha256Digest(bytes), changed, expires: expires ?? 0 };
  } catch (error) {
    throw updateFailure(url, error);
  } finally {
    // The next update removes what cannot be removed now.
    if (work !== undefined) await rm(work, { recursive: true, force: true }).catch(() => undefined);
    lock?.release();
  }
}

/** Removes what updates left that a crash has ended. The caller has the lock. */
async function dropEndedUpdates(folder: string): Promise<void> {
  for (const name of await readdir(folder))
    if (name.startsWith(workPrefix)) await rm(join(folder, name), { recursive: true, force: true });
}

/** Returns the root that the caller gave, so that a wrong file is not blamed on the repository. */
function usableRoot(url: string, given: Uint8Array | undefined): Uint8Array | undefined {
  try {
    if (given !== undefined) trustRoot('tuf', Buffer.from(given));
  } catch (error) {
    throw firstRootInvalid(url, error);
  }
  return given;
}

function readServed(url: string, bytes: Uint8Array): void {
  try {
    readTrustedRoot(bytes);
  } catch (error) {
    throw rootRefused(url, reasonOf(error), error);
  }
}

interface Targets {
  readonly trustedRoot: Buffer;
  /** Absent for an instance that no client signs with. */
  readonly signingConfig?: Buffer;
}

async function download(url: string, folder: string, now: Date): Promise<Targets> {
  const update = await updateMetadata({
    dialect: 'tuf',
    source: httpSource(url, { deadlineMs }),
    store: folderStore(folder),
    now,
  });
  const bytesOf = async (path: string): Promise<Buffer | undefined> => {
    const found = await update.find(path);
    if (found === undefined) return undefined;
    if (found.length > maximumRootBytes)
      throw rootRefused(url, `its ${path} is larger than ${maximumRootBytes} bytes`);
    return fetchTarget(`${url}/targets`, found, update.trusted.root.signed.consistentSnapshot);
  };
  const trustedRoot = await bytesOf(target);
  if (trustedRoot === undefined) throw rootRefused(url, `the repository has no ${target}`);
  const signingConfig = await bytesOf(signingConfigTarget);
  return { trustedRoot, ...(signingConfig === undefined ? {} : { signingConfig }) };
}
