import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseCheckpoint } from './checkpoint-images.ts';

function documentsOf(manifest: object) {
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { documents: [{ digest: '', mediaType: '', bytes }] };
}

test('an image that contains a checkpoint is refused', () => {
  for (const key of ['org.criu.checkpoint.container.name', 'io.kubernetes.cri-o.annotations.checkpoint.name'])
    for (const name of ['annotations', 'Annotations'])
      assert.throws(() => refuseCheckpoint(documentsOf({ [name]: { [key]: 'app' } }), 'r.example/app:1'), {
        code: 'PROXY_NO_VERDICT',
      });
  refuseCheckpoint(
    documentsOf({ annotations: { 'org.opencontainers.image.title': 'app' } }),
    'r.example/app:1',
  );
  refuseCheckpoint(documentsOf({}), 'r.example/app:1');
});
