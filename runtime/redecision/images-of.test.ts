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

test('the image of a volume is the one that was mounted, with the verdict that admitted it', () => {
  const name = 'team/data:1';
  const image = { image: name, userSpecifiedImage: name };
  const mounts = [{ containerPath: '/data', hostPath: '', image }];
  const record = {
    ...{ imageId: 'base', verdictId: 'v-base', config: { mounts } },
    volumeImages: { '/data': 'team/data@sha256:1' },
    volumeVerdicts: { '/data': 'v-data' },
  } as unknown as ContainerRecord;
  assert.deepEqual(imagesOf(record)[1], {
    ...{ imageId: 'team/data@sha256:1', verdictId: 'v-data', userSpecified: name },
  });
});
