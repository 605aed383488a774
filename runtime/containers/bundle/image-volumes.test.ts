import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { ImageRecord, ImageStore } from '../../images/types.ts';
import { admitVolumes, mountVolumes } from './image-volumes.ts';
import type { AdmittedVolume } from './image-volumes.ts';

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

describe('the sub path of an image volume', () => {
  const mounted = async (tree: string, imageSubPath: string): Promise<string | undefined> => {
    const mount = { containerPath: '/v', imageSubPath, image: { image: 'site' }, mountOptions: [] };
    const volumes = [{ mount, image: { id: 'site' } }] as unknown as readonly AdmittedVolume[];
    const mounts = await mountVolumes(
      { mountVolume: () => Promise.resolve(tree) },
      'container',
      volumes,
      undefined,
    );
    return mounts[0]?.hostPath;
  };

  it('may be a folder, a file or a link to them, and nothing else', async (t) => {
    const tree = realpathSync(mkdtempSync(join(tmpdir(), 'pc-volume-')));
    t.after(() => rmSync(tree, { recursive: true }));
    mkdirSync(join(tree, 'site'));
    writeFileSync(join(tree, 'site/page'), '');
    symlinkSync('/site/page', join(tree, 'link'));
    execFileSync('mkfifo', [join(tree, 'fifo')]);
    assert.equal(await mounted(tree, 'site'), join(tree, 'site'));
    assert.equal(await mounted(tree, 'link'), join(tree, 'site/page'));
    await assert.rejects(mounted(tree, 'fifo'), {
      code: 'RUNTIME_IMAGE_VOLUME',
      message: /the sub path "fifo" is neither a folder nor a regular file/,
    });
  });

  it('and other long parts of the request are shortened in an error', async () => {
    await assert.rejects(mounted(tmpdir(), `/${'x'.repeat(4_000)}`), ({ message }: Error) => {
      assert.ok(message.length < 600, `${message.length} characters`);
      return true;
    });
    const names = asking(['i'.repeat(6_000)]);
    const none = { ...images, find: () => undefined };
    const refused = admitVolumes(none, names, { config: {} } as Parameters<typeof admitVolumes>[2]);
    await assert.rejects(refused, ({ message }: Error) => {
      assert.ok(message.length < 600, `${message.length} characters`);
      return true;
    });
  });
});
