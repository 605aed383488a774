import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPodReader } from './objects.ts';

const uidOf = (mirror: string): string | undefined =>
  createPodReader()({
    metadata: {
      ...{ namespace: 'tenant', name: 'one', uid: '1c0d6a53-0a3f-4c57-8f0a-6f9a55d2f5aa' },
      annotations: { 'kubernetes.io/config.mirror': mirror },
    },
  })?.uid;

test('a mirror pod stands only for a static pod of its node, never for another pod of the API', () => {
  assert.equal(uidOf('6f1ed002ab5595859014ebf0951522d9'), '6f1ed002ab5595859014ebf0951522d9');
  const victim = '7be1f6a2-53c5-4a1e-9df4-7a8de3f1c0b7';
  assert.equal(uidOf(victim), '1c0d6a53-0a3f-4c57-8f0a-6f9a55d2f5aa');
});
