import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerRecord } from '../containers/record.ts';
import { imagesOf } from './container-decisions.ts';

test('the image of a checkpoint is judged again, as is the image on which its container ran', () => {
  const record = {
    ...{ imageId: 'base', verdictId: 'v-base' },
    config: { image: { userSpecifiedImage: 'checkpoints/counter:1' }, mounts: [] },
  } as unknown as ContainerRecord;
  const restoredFrom = { imageId: 'checkpoint', imageRef: 'r', verdictId: 'v-checkpoint' };
  assert.deepEqual(imagesOf(record), [
    { imageId: 'base', verdictId: 'v-base', userSpecified: 'checkpoints/counter:1' },
  ]);
  assert.deepEqual(imagesOf({ ...record, restoredFrom }), [
    { imageId: 'base', verdictId: 'v-base', userSpecified: '' },
    { imageId: 'checkpoint', verdictId: 'v-checkpoint', userSpecified: 'checkpoints/counter:1' },
  ]);
});
