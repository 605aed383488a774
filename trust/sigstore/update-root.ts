import { cp, mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { sha256Digest } from '../canonical-json.ts';
import { embeddedTufRoot, publicGoodTufUrl } from './public-good.ts';
import { cachedRootFile, cachedTimestampFile, defaultRootCache, expiryOfMetadata, maximumRootBytes, rootFolder } from './root-cache.ts';
import { readTrustedRoot } from './trusted-root.ts';

/** Which TUF repository a trusted root comes from, and where it is kept. */
export interface UpdateRootOptions {
  /** The TUF repository; sigstore's public good instance unless given. */
  readonly url?: string;
  /** Bytes of the repository's TUF root to begin with, where this version ships none. Later updates go on from what they know. */
  readonly tufRoot?: Uint8Array;
  readonly cache?: string;
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
const timeoutMilliseconds = 20_000;

/**
 * Fetches the `trusted_root.json` of a TUF repository into the cache that policies read, verified by the TUF specification's client
 * workflow (section 5): signatures, no rollback, no freeze. What is there stays when anything fails.
 * @throws PortcullisError `TRUST_ROOT_UPDATE_FAILED`
 */
export async function updateTrustedRoot(options: UpdateRootOptions = {}): Promise<UpdatedRoot> {
  const url = (options.url ?? publicGoodTufUrl).replace(/\/+$/, '');
  const cache = options.cache ?? defaultRootCache;
  const folder = rootFolder(cache, url);
  const failed = (why: string, fix: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_ROOT_UPDATE_FAILED',
      kind: 'unavailable',
      attempted: 'update the sigstore trusted root',
      on: url,
      why,
      fix,
    });
  const kept = join(folder, 'metadata');
  await mkdir(kept, { recursive: true, mode: 0o700 });
  // The client writes as it goes; only what it ends with becomes ours.
  const work = await mkdtemp(join(folder, 'update-'));
  try {
    await cp(kept, work, { recursive: true });
    if (!(await readdir(work)).includes('root.json')) {
      const first = options.tufRoot ?? (await embeddedTufRoot(url));
      if (first === undefined) throw failed('nothing is known of this repository yet', 'name its first TUF root: --root FILE');
      await writeFileAtomic(join(work, 'root.json'), Buffer.from(first));
    }
    const bytes = await download(url, work);
    readTrustedRoot(bytes);
    for (const name of ['root.json', 'timestamp.json', 'snapshot.json', 'targets.json'])
      await writeFileAtomic(join(kept, name), await readFile(join(work, name)));
    const file = cachedRootFile(cache, url);
    const before = await readFile(file).catch(() => undefined);
    const changed = before?.equals(bytes) !== true;
    if (changed) await writeFileAtomic(file, bytes);
    const expires = expiryOfMetadata(await readFile(cachedTimestampFile(cache, url)));
    return { url, file, digest: sha256Digest(bytes), changed, expires: expires ?? 0 };
  } catch (error) {
    if (error instanceof PortcullisError) throw error;
    throw failed(reasonOf(error), 'check the repository and its address; policies go on with the root they have');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function download(url: string, folder: string): Promise<Buffer> {
  // By its default: bundled, a CommonJS package that is imported when it is needed has no other names.
  const { default: tuf } = await import('tuf-js');
  const targets = join(folder, 'targets');
  await mkdir(targets, { recursive: true });
  const updater = new tuf.Updater({
    metadataDir: folder,
    metadataBaseUrl: url,
    targetDir: targets,
    targetBaseUrl: `${url}/targets`,
    config: { fetchTimeout: timeoutMilliseconds, fetchRetries: 2 },
  });
  await updater.refresh();
  const found = await updater.getTargetInfo(target);
  if (found === undefined) throw new Error(`the repository has no ${target}`);
  if (found.length > maximumRootBytes) throw new Error(`its ${target} is larger than ${maximumRootBytes} bytes`);
  return readFile(await updater.downloadTarget(found, join(targets, target)));
}
