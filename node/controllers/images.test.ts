import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CriClient } from '../../runtime/client.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import { imageController } from './images.ts';

const limits = { signal: new AbortController().signal };
const [first, second] = [`sha256:${'1'.repeat(64)}`, `sha256:${'2'.repeat(64)}`];

interface Held {
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
}

/** A daemon with one image, which removes it with all of its names. */
function daemonWith(held: Held) {
  const removed: string[] = [];
  const names = [...held.repoTags, ...held.repoDigests];
  const image = { id: first, ...held };
  const cri = {
    image: {
      imageStatus: ({ image: { image: name } }: { image: { image: string } }) =>
        Promise.resolve(
          removed.length === 0 && names.some((one) => one === name || one === `docker.io/library/${name}`)
            ? { image }
            : {},
        ),
      removeImage: ({ image: { image: name } }: { image: { image: string } }) => {
        removed.push(name);
        return Promise.resolve({});
      },
    },
  } as unknown as CriClient;
  return { controller: imageController({ cri, adminSocket: '/nonexistent' }), removed };
}

/** Removes the image `web:1` from a state, when the images of the state are `left`. */
async function withoutWeb(
  held: Held,
  { left = [], owned = ['web:1'] }: { readonly left?: readonly string[]; readonly owned?: readonly string[] },
): Promise<readonly string[]> {
  const { controller, removed } = daemonWith(held);
  const state = stateWithDefaults({ images: left.map((image) => ({ image })) }, []);
  await controller.observe(new Set([...left, ...owned]), limits);
  for (const name of owned)
    await controller.apply({ action: 'delete', section: 'images', name, drift: false }, state, limits);
  return removed;
}

const [web, digest] = ['docker.io/library/web', `docker.io/library/web@${first}`];
const alone: Held = { repoTags: [`${web}:1`], repoDigests: [digest] };

describe('an image that leaves the state', () => {
  it('is removed', async () => {
    assert.deepEqual(await withoutWeb(alone, {}), ['web:1']);
  });

  it('stays if somebody else pulled it under another name', async () => {
    assert.deepEqual(await withoutWeb({ ...alone, repoTags: [`${web}:1`, `${web}:latest`] }, {}), []);
    const copy = `registry.example.com/web@${first}`;
    assert.deepEqual(await withoutWeb({ ...alone, repoDigests: [digest, copy] }, {}), []);
    assert.deepEqual(await withoutWeb({ ...alone, repoTags: [`${web}:1`] }, { owned: [digest] }), []);
  });

  it('stays if the state still has it under another name', async () => {
    assert.deepEqual(await withoutWeb(alone, { left: [digest] }), []);
    const other = { ...alone, repoTags: [`${web}:1`, `${web}:2`] };
    assert.deepEqual(await withoutWeb(other, { left: ['web:2'] }), []);
    assert.deepEqual(await withoutWeb(alone, { left: [`web@${second}`] }), ['web:1']);
  });

  it('is removed with several names that leave the state together', async () => {
    const other = { ...alone, repoTags: [`${web}:1`, `${web}:2`] };
    assert.deepEqual(await withoutWeb(other, { owned: ['web:1', 'web:2'] }), ['web:1']);
  });
});
