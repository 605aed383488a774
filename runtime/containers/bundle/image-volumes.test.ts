import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { ImageRecord, ImageStore } from '../../images/types.ts';
import { admitVolumes } from './image-volumes.ts';

type Images = Pick<ImageStore, 'find' | 'decideForRun'>;

/** Every image is present and admitted. */
const images = {
  find: (id: string) => ({ id }) as ImageRecord,
  decideForRun: () => Promise.resolve({}),
} as unknown as Images;

const asking = (names: readonly string[]): ContainerConfig =>
  ({
    mounts: names.map((image, index) => ({ containerPath: `/v/${index}`, hostPath: '', image: { image } })),
  }) as unknown as ContainerConfig;

describe('the image volumes of one container', () => {
  const admitted = (names: readonly string[]) =>
    admitVolumes(images, asking(names), { config: {} } as Parameters<typeof admitVolumes>[2]);

  it('may have 256 different images, each several times', async () => {
    const names = Array.from({ length: 512 }, (_, index) => `image-${index % 256}`);
    assert.equal((await admitted(names)).length, 512);
  });

  it('are refused with more images: each is a mount of the host', async () => {
    const names = Array.from({ length: 257 }, (_, index) => `image-${index}`);
    await assert.rejects(admitted(names), { code: 'RUNTIME_IMAGE_VOLUME', message: /more than 256/ });
  });
});
