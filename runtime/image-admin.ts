import { isAbsolute } from 'node:path';
import { PortcullisError } from '../base/errors/index.ts';
import type { AdminApi, AdminOperation } from '../cni-plugins/index.ts';
import type { ContainerRecord } from './containers/record.ts';
import type { OpenImageStore, ProgressSource } from './images/index.ts';

/** The answers of the admin API about images. */
export interface ImageAdmin {
  /** The signal cancels the import, which leaves nothing behind. */
  readonly import: (
    request: AdminApi['images/import']['request'],
    signal: AbortSignal,
  ) => Promise<AdminApi['images/import']['response']>;
  readonly pulls: () => Promise<AdminApi['images/pulls']['response']>;
  readonly prune: Answer<'images/prune'>;
  readonly layers: Answer<'images/layers'>;
  readonly check: Answer<'images/check-layer'>;
  readonly repair: Answer<'images/repair-layer'>;
  /** Ends what is in progress, which may take minutes: a stop of the daemon does not wait for it. */
  stop(): Promise<void>;
}

type Answer<Name extends AdminOperation> = (
  request: AdminApi[Name]['request'],
) => Promise<AdminApi[Name]['response']>;

/**
 * @param store marks pinned images, which are not removed
 * @param containers returns the recorded containers: what they use is not removed
 */
export function createImageAdmin(
  store: Pick<OpenImageStore, 'find' | 'importLayout' | 'remove' | 'upkeep'> & ProgressSource,
  containers: () => Iterable<Pick<ContainerRecord, 'imageId' | 'volumeImages'>>,
): ImageAdmin {
  const { upkeep } = store;
  const stopping = new AbortController();
  const inUse = (): ReadonlySet<string> => {
    const used = [...containers()].flatMap(({ imageId, volumeImages = {} }) => [
      imageId,
      ...Object.values(volumeImages),
    ]);
    return new Set(used.map((image) => store.find(image)?.id ?? image));
  };
  const unused = (all: boolean): ReturnType<typeof upkeep.unused> =>
    upkeep.unused(inUse(), all).filter(({ id }) => store.find(id)?.pinned !== true);
  return {
    async import(request, signal) {
      if (!isAbsolute(request.folder))
        throw new PortcullisError({
          code: 'ADMIN_BAD_REQUEST',
          kind: 'invalid',
          attempted: 'import image',
          on: request.folder,
          why: 'the folder is not an absolute path',
          fix: 'use the absolute path of an OCI layout',
        });
      const { image, verdict } = await store.importLayout({
        ...request,
        signal: AbortSignal.any([stopping.signal, signal]),
      });
      return { id: image.id, digest: image.digest, verdictId: verdict.id, unverified: verdict.unverified };
    },
    pulls: async () => ({ pulls: await store.pulls() }),
    async prune({ all = false, dryRun = false }) {
      const found = unused(all);
      if (dryRun) return { removed: found };
      const removed = [];
      for (const image of found) {
        // A container may have started since, or the image may have got a name again.
        if (!unused(all).some(({ id }) => id === image.id)) continue;
        await store.remove(image.id);
        removed.push(image);
      }
      return { removed };
    },
    layers: ({ image }) => Promise.resolve({ layers: upkeep.layers(image) }),
    check: ({ layer }) => upkeep.check(layer),
    repair: ({ layer }) => upkeep.repair(layer),
    async stop() {
      stopping.abort();
      await upkeep.close();
    },
  };
}
