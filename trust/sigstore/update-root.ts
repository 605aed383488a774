import { cp, mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { sha256Digest } from '../canonical-json.ts';
import { fetchTarget } from '../tuf/client/fetch-target.ts';
import { initialiseTuf } from '../tuf/client/folder-client.ts';
import { folderStore } from '../tuf/client/folder-store.ts';
import { httpSource } from '../tuf/client/http-source.ts';
import { updateMetadata } from '../tuf/client/update.ts';
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

/** Which TUF repository a trusted root comes from, and where it is kept. */
export interface UpdateRootOptions {
  /** The TUF repository; sigstore's public good instance unless given. */
  readonly url?: string;
  /** Bytes of the repository's TUF root to begin with, where this version ships none. Later updates go on from what they know. */
  readonly tufRoot?: Uint8Array;
  readonly cache?: string;
  /** The moment at which metadata must hold; now unless given. */
  readonly now?: Date;
}

/** Where the trusted root is, and what it was taken from. */
export interface UpdatedRoot {
  readonly url: string;
  readonly file: string;
  readonly digest: string;
  /** Whether it differs from what was there. */
  readonly changed: boolean;
  /** Milliseconds since 1970: until when the repository says that this is its newest. */
  readonly expires: number;
}

const target = 'trusted_root.json';
const deadlineMs = 20_000;

/**
 * Fetches the `trusted_root.json` of a TUF repository into the cache that policies read, verified by the TUF specification's client
 * workflow (section 5): signatures, no rollback, no freeze. What is there stays when anything fails.
 * @throws PortcullisError `TRUST_ROOT_UPDATE_FAILED`
 */
export async function updateTrustedRoot(options: UpdateRootOptions = {}): Promise<UpdatedRoot> {
  const url = (options.url ?? publicGoodTufUrl).replace(/\/+$/, '');
  const cache = options.cache ?? defaultRootCache;
  const folder = rootFolder(cache, url);
  const failed = (why: string, fix: string, cause?: unknown): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_ROOT_UPDATE_FAILED',
      kind: 'unavailable',
      attempted: 'update the sigstore trusted root',
      on: url,
      why,
      fix,
      cause,
    });
  const kept = metadataFolder(cache, url);
  await mkdir(kept, { recursive: true, mode: 0o700 });
  // The client writes as it goes; only what it ends with becomes ours.
  const work = await mkdtemp(join(folder, 'update-'));
  try {
    await cp(kept, work, { recursive: true });
    if (!(await readdir(work)).includes('root.json')) {
      const first = options.tufRoot ?? (await embeddedTufRoot(url));
      if (first === undefined) throw failed('nothing is known of this repository yet', 'name its first TUF root: --root FILE');
      await initialiseTuf(work, Buffer.from(first));
    }
    const { trustedRoot: bytes, signingConfig } = await download(url, work, options.now ?? new Date());
    readTrustedRoot(bytes);
    for (const name of ['root.json', 'timestamp.json', 'snapshot.json', 'targets.json'])
      await writeFileAtomic(join(kept, name), await readFile(join(work, name)));
    const file = cachedRootFile(cache, url);
    const before = await readFile(file).catch(() => undefined);
    const changed = before?.equals(bytes) !== true;
    if (changed) await writeFileAtomic(file, bytes);
    const configFile = cachedSigningConfigFile(cache, url);
    if (signingConfig === undefined) await rm(configFile, { force: true });
    else await writeFileAtomic(configFile, signingConfig);
    const expires = expiryOfMetadata(await readFile(cachedTimestampFile(cache, url)));
    return { url, file, digest: sha256Digest(bytes), changed, expires: expires ?? 0 };
  } catch (error) {
    if (isPortcullisError(error) && error.code === 'TRUST_ROOT_UPDATE_FAILED') throw error;
    throw failed(reasonOf(error), 'check the repository, its address and the clock; policies go on with the root they have', error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

interface Targets {
  readonly trustedRoot: Buffer;
  /** Instances that nobody signs with need none. */
  readonly signingConfig?: Buffer;
}

async function download(url: string, folder: string, now: Date): Promise<Targets> {
  const update = await updateMetadata({ dialect: 'tuf', source: httpSource(url, { deadlineMs }), store: folderStore(folder), now });
  const bytesOf = async (path: string): Promise<Buffer | undefined> => {
    const found = await update.find(path);
    if (found === undefined) return undefined;
    if (found.length > maximumRootBytes) throw new Error(`its ${path} is larger than ${maximumRootBytes} bytes`);
    return fetchTarget(`${url}/targets`, found, update.trusted.root.signed.consistentSnapshot);
  };
  const trustedRoot = await bytesOf(target);
  if (trustedRoot === undefined) throw new Error(`the repository has no ${target}`);
  const signingConfig = await bytesOf(signingConfigTarget);
  return { trustedRoot, ...(signingConfig === undefined ? {} : { signingConfig }) };
}
