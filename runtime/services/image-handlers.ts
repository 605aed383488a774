import { attempt, PortcullisError } from '../../base/errors/index.ts';
import { formatReference, parseReference } from '../../base/distribution/index.ts';
import { selectImages } from '../cri/filters.ts';
import type { ImageServiceHandlers } from '../cri/handlers.ts';
import type { FilesystemUsage, ImageFilter } from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { ImageRecord, ImageStore } from '../images/types.ts';
import type { VerboseInfo } from './verbose-status.ts';
import { imageInfo, imageMessage, pullCredentials } from './image-messages.ts';
import { namedImage } from '../cri/bad-field.ts';

type Answered = 'listImages' | 'imageStatus' | 'pullImage' | 'removeImage' | 'imageFsInfo';

/** The five unary ImageService calls. Semantics: cri-api 0.37 ImageService. */
export function createImageHandlers(
  images: ImageStore,
  /** Returns the file system of the writable layers, if it is not that of the images. */
  containerFilesystem: () => Promise<Init<FilesystemUsage> | undefined>,
  reported: Pick<VerboseInfo, 'image'>,
  hasHandler: (name: string) => boolean,
): Pick<ImageServiceHandlers, Answered> {
  return {
    listImages: ({ filter }) => {
      return Promise.resolve({ images: selectedImages(images, filter).map(imageMessage) });
    },
    imageStatus: async ({ image, verbose }) => {
      const found = images.find(namedImage(image?.image, 'look up image'));
      if (found === undefined) return {};
      return {
        image: imageMessage(found),
        info: verbose
          ? { ...imageInfo(found, images.storedForms(found)), ...(await reported.image(found)) }
          : {},
      };
    },
    pullImage: async ({ image, auth, sandboxConfig }, { signal }) => {
      const handler = image?.runtimeHandler ?? '';
      if (!hasHandler(handler)) throw unknownHandler(handler);
      const credentials = pullCredentials(auth);
      const pulled = await images.pull({
        reference: namedImage(image?.image, 'pull image'),
        namespace: sandboxConfig?.metadata?.namespace ?? '',
        ...(credentials !== undefined && { credentials }),
        signal,
      });
      return { imageRef: pulled.image.id };
    },
    removeImage: async ({ image }) => {
      await images.remove(namedImage(image?.image, 'remove image'));
      return {};
    },
    imageFsInfo: async () => {
      const [usage, containers] = await Promise.all([images.usage(), containerFilesystem()]);
      const filesystem = {
        timestamp: BigInt(Date.now()) * 1_000_000n,
        fsId: { mountpoint: usage.mountpoint },
        usedBytes: { value: usage.usedBytes },
        inodesUsed: { value: usage.inodesUsed },
      };
      // With one file system for both, the second list stays empty (cri-api ImageFsInfoResponse).
      return {
        imageFilesystems: [filesystem],
        containerFilesystems: containers === undefined ? [] : [containers],
      };
    },
  };
}

/** Returns the images that ListImages shows. */
export function selectedImages(images: ImageStore, filter: ImageFilter | undefined): ImageRecord[] {
  return selectImages(images.list(), filter, normalise);
}

/**
 * cri-api ImageSpec.runtime_handler: an unknown handler is rejected. All of our handlers use the same images.
 */
function unknownHandler(name: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNKNOWN_HANDLER',
    kind: 'invalid',
    attempted: 'pull image for runtime handler',
    on: name.slice(0, 300),
    why: 'this node has no usable handler of that name',
    fix: 'use a handler under "runtimes" in the configuration, or none; if it is there, `portcullis doctor` says why it cannot be used',
  });
}

function normalise(name: string): string | undefined {
  return attempt(() => formatReference(parseReference(name)));
}
