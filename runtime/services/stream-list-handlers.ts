import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ContainerService } from '../containers/container-service.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  StreamContainersResponse,
  StreamImagesResponse,
  StreamPodSandboxesResponse,
} from '../cri/contract/contract.types.ts';
import { selectContainers, selectPodSandboxes } from '../cri/filters.ts';
import type { ImageServiceHandlers, RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { ImageStore } from '../images/types.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';
import { containerItem } from './container-messages.ts';
import { selectedImages } from './image-handlers.ts';
import { imageMessage } from './image-messages.ts';
import { sandboxItem } from './sandbox-messages.ts';

/** Far below the 4 MiB that gRPC clients accept by default. */
const largestChunk = 1024 * 1024;
const itemsAtOnce = 64;

/**
 * Divides a list into the messages of a stream: each item is in exactly one message, each message has at
 * least one item, and an empty list has no message (cri-api, StreamPodSandboxes and the others). `items` is
 * the snapshot that the unary list would return. Other calls can run in between.
 * @param encode encodes a response with these items
 */
export async function* inChunks<Item>(
  items: readonly Item[],
  encode: (items: readonly Item[]) => Uint8Array,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < items.length; at += itemsAtOnce) {
    if (at > 0) await nextTurn();
    yield* fitting(items.slice(at, at + itemsAtOnce), encode);
  }
}

/** Halves the list until each part fits. A single item is sent as it is. */
function* fitting<Item>(
  items: readonly Item[],
  encode: (items: readonly Item[]) => Uint8Array,
): Generator<Uint8Array> {
  const bytes = encode(items);
  if (bytes.length <= largestChunk || items.length === 1) yield bytes;
  else {
    const half = Math.ceil(items.length / 2);
    yield* fitting(items.slice(0, half), encode);
    yield* fitting(items.slice(half), encode);
  }
}

const podSandboxes = criCodec<StreamPodSandboxesResponse>('StreamPodSandboxesResponse');
const containerList = criCodec<StreamContainersResponse>('StreamContainersResponse');
const imageList = criCodec<StreamImagesResponse>('StreamImagesResponse');

/** The streams of ListPodSandbox and ListContainers. Semantics: cri-api 0.37 RuntimeService. */
export function createRuntimeListStreams(parts: {
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
}): Pick<RuntimeServiceHandlers, 'streamPodSandboxes' | 'streamContainers'> {
  const { sandboxes, containers } = parts;
  return {
    streamPodSandboxes: ({ filter }) =>
      inChunks(selectPodSandboxes(sandboxes.list().map(sandboxItem), filter), (items) =>
        podSandboxes.encode({ podSandboxes: items }),
      ),
    streamContainers: ({ filter }) =>
      inChunks(selectContainers(containers.list().map(containerItem), filter), (items) =>
        containerList.encode({ containers: items }),
      ),
  };
}

/** The stream of ListImages. */
export function createImageListStream(images: ImageStore): Pick<ImageServiceHandlers, 'streamImages'> {
  return {
    streamImages: ({ filter }) =>
      inChunks(selectedImages(images, filter), (items) =>
        imageList.encode({ images: items.map(imageMessage) }),
      ),
  };
}
