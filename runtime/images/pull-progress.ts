import { readdir } from 'node:fs/promises';
import type { Logger } from '../../base/log/index.ts';
import type { AdminPull } from '../../cni-plugins/index.ts';
import { hexOf, storeFolders } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import type { OpenImageStore } from './image-store.ts';
import type { ImportRequest } from './import-image.ts';
import type { ImageStore, PullRequest } from './types.ts';
import { sizeIfPresent } from './layer-workers/download.ts';

/** The image store, with the progress of its pulls and imports. */
export interface ProgressSource {
  /** Returns the pulls and imports that know their manifest, the oldest first. */
  pulls(): Promise<readonly AdminPull[]>;
}

/** A store that also imports images, or not. */
type Importing = Partial<Pick<OpenImageStore, 'importLayout'>>;
type Resolved = NonNullable<PullRequest['onResolved']>;

interface Pull {
  readonly reference: string;
  readonly begunMs: number;
  /** By digest: a manifest may list one blob twice. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** A pull that takes longer is logged, and logged again after each further period of this length. */
const reportMs = 10_000;
/** If more pulls run at a time, one line reports their sum. */
const mostLines = 4;

export interface ProgressOptions {
  /** Folder of the image store. */
  readonly root: string;
  readonly log: Pick<Logger, 'info' | 'debug'>;
  readonly reportMs?: number;
}

/**
 * Returns the image store, which logs how far long pulls have come. The progress is read from the sizes of
 * the files that are being received, at most once in ten seconds and only during pulls: it costs the pulls
 * themselves nothing.
 */
export function withProgress<Store extends ImageStore & Importing>(
  images: Store,
  options: ProgressOptions,
): Store & ProgressSource {
  const folders = storeFolders(options.root);
  const { log } = options;
  const active = new Set<Pull>();
  let timer: NodeJS.Timeout | undefined;
  let reading: Promise<readonly AdminPull[]> | undefined;
  // One at a time: on a disk that hangs, further reads would occupy all threads of the process.
  const read = (): Promise<readonly AdminPull[]> =>
    (reading ??= progressOf(folders, active).finally(() => {
      reading = undefined;
    }));

  const report = async (): Promise<void> => {
    const long = (await read()).filter(({ seconds }) => seconds * 1000 >= (options.reportMs ?? reportMs));
    if (long.length <= mostLines) for (const pull of long) log.info(pull, 'image is being pulled');
    else log.info({ pulls: long.length, ...sumOf(long) }, 'images are being pulled');
  };
  const watch = (): void => {
    timer ??= setInterval(() => {
      report().catch((error: unknown) =>
        log.debug({ error: String(error) }, 'the progress of pulls could not be read'),
      );
    }, options.reportMs ?? reportMs).unref();
  };

  /** Lists a pull from the moment when its manifest is known, until it ends. */
  const followed = async <T>(
    { reference, onResolved }: Pick<PullRequest, 'reference' | 'onResolved'>,
    run: (resolved: Resolved) => Promise<T>,
  ): Promise<T> => {
    let pull: Pull | undefined;
    try {
      return await run((blobs) => {
        onResolved?.(blobs);
        pull = { reference: reference.slice(0, 300), begunMs: performance.now(), sizes: sizesOf(blobs) };
        active.add(pull);
        watch();
      });
    } finally {
      if (pull !== undefined) active.delete(pull);
      if (active.size === 0) {
        clearInterval(timer);
        timer = undefined;
      }
    }
  };
  const { importLayout } = images;

  return {
    ...images,
    pulls: read,
    pull: (request) => followed(request, (onResolved) => images.pull({ ...request, onResolved })),
    ...(importLayout !== undefined && {
      importLayout: (request: ImportRequest) =>
        followed(request, (onResolved) => importLayout({ ...request, onResolved })),
    }),
  };
}

/** Returns the sum over all pulls. */
export function sumOf(pulls: readonly AdminPull[]): Pick<AdminPull, 'bytes' | 'bytesReceived'> {
  const sum = (part: (pull: AdminPull) => number): number =>
    pulls.reduce((total, pull) => total + part(pull), 0);
  return { bytes: sum(({ bytes }) => bytes), bytesReceived: sum(({ bytesReceived }) => bytesReceived) };
}

function sizesOf(blobs: readonly Pick<BlobDescriptor, 'digest' | 'size'>[]): ReadonlyMap<string, number> {
  return new Map(blobs.map(({ digest, size }) => [digest, size]));
}

async function progressOf(folders: StoreFolders, pulls: Iterable<Pull>): Promise<readonly AdminPull[]> {
  const asked = [...pulls];
  if (asked.length === 0) return [];
  const received = await receivedBytes(folders, new Set(asked.flatMap(({ sizes }) => [...sizes.keys()])));
  return asked.map(({ reference, begunMs, sizes }) => {
    const parts = [...sizes].map(([digest, size]) => ({
      size,
      here: Math.min(received.get(digest) ?? 0, size),
    }));
    return {
      reference,
      seconds: Math.round((performance.now() - begunMs) / 100) / 10,
      bytes: parts.reduce((sum, { size }) => sum + size, 0),
      bytesReceived: parts.reduce((sum, { here }) => sum + here, 0),
      layers: parts.length,
      layersReceived: parts.filter(({ size, here }) => here === size).length,
    };
  });
}

/** Returns the size of the file of each blob: in its place, or being received. */
async function receivedBytes(
  folders: StoreFolders,
  digests: ReadonlySet<string>,
): Promise<ReadonlyMap<string, number>> {
  const files = (await readdir(folders.ingest)).map((name) => ({
    digest: `sha256:${name.slice(0, 64)}`,
    path: `${folders.ingest}/${name}`,
  }));
  const places = [...digests].map((digest) => ({ digest, path: `${folders.blobs}/${hexOf(digest)}` }));
  const sizes = new Map<string, number>();
  for (const { digest, path } of [...files.filter((file) => digests.has(file.digest)), ...places]) {
    const size = await sizeIfPresent(path);
    sizes.set(digest, Math.max(size, sizes.get(digest) ?? 0));
  }
  return sizes;
}
