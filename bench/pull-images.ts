import { randomBytes } from 'node:crypto';
import { layerOf } from '../test/fixtures/image.ts';
import type { Entry, Layer } from '../test/fixtures/image.ts';

/** An image of the pull benchmark. */
export interface PulledImage {
  readonly name: string;
  /** The highest ratio of our time to containerd's that the project accepts. */
  readonly target: number;
  /** Made one after another: the largest archives have 900 MB. */
  readonly layers: () => Promise<readonly Layer[]>;
}

const mebibyte = 1024 * 1024;

/** Text that gzip compresses to about half, in files of these sizes. */
function texts(count: number, bytes: number, folder: (index: number) => string): Entry[] {
  const random = randomBytes(4 * mebibyte);
  return Array.from({ length: count }, (_, index) => {
    const at = (index * 7_919) % (random.length - bytes);
    return {
      name: `${folder(index)}/file-${index}`,
      body: random
        .subarray(at, at + (bytes >> 1))
        .toString('hex')
        .slice(0, bytes),
    };
  });
}

async function sequence<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (let index = 0; index < count; index += 1) made.push(await make(index));
  return made;
}

export const pulledImages: readonly PulledImage[] = [
  {
    name: 'tiny, 2 layers',
    target: 0.8,
    layers: () => sequence(2, (index) => layerOf([{ name: `file-${index}`, body: randomBytes(1_000) }])),
  },
  {
    name: '64 MiB random, 4 layers',
    target: 0.9,
    layers: () =>
      sequence(4, (index) => layerOf([{ name: `file-${index}`, body: randomBytes(16 * mebibyte) }])),
  },
  {
    name: '20 layers × 500 small files',
    target: 0.4,
    layers: () =>
      sequence(20, (layer) => layerOf(texts(500, 2_000, (index) => `layer-${layer}/${index % 20}`))),
  },
  {
    name: '23,819 files, 288 MiB, 1 layer',
    target: 0.3,
    layers: () =>
      sequence(1, () => layerOf(texts(23_819, 12_680, (index) => `tree/${index % 100}/${index % 7}`))),
  },
  {
    name: '905 MB, 12,000 files, 1 layer',
    target: 0.45,
    layers: () => sequence(1, () => layerOf(texts(12_000, 75_400, (index) => `tree/${index % 100}`))),
  },
  {
    name: '856 MB, 50,000 files, 1 layer',
    target: 0.25,
    layers: () => sequence(1, () => layerOf(texts(50_000, 17_100, (index) => `tree/${index % 200}`))),
  },
];
