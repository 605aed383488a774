import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPodReader, mostLabels, mostNamedPorts, withinLimits } from './objects.ts';

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

const podOf = (labels: number, ports: number) =>
  createPodReader()({
    metadata: {
      ...{ namespace: 'tenant', name: 'one', uid: 'u' },
      labels: Object.fromEntries(Array.from({ length: labels }, (_, at) => [`l${at}`, ''])),
    },
    spec: {
      containers: [
        { ports: Array.from({ length: ports }, (_, at) => ({ name: `p${at}`, containerPort: at + 1 })) },
      ],
    },
    status: { podIP: '10.0.0.7' },
  });

test('the labels of a pod with more labels or named ports than a node follows are unknown, not absent', () => {
  const largest = podOf(mostLabels, mostNamedPorts);
  assert.ok(largest !== undefined);
  assert.equal(Object.keys(largest.labels).length, mostLabels);
  assert.equal(largest.namedPorts.length, mostNamedPorts);
  assert.equal(largest.labelsUnknown, undefined);
  for (const beyond of [podOf(mostLabels + 1, 0), podOf(0, mostNamedPorts + 1)]) {
    const { labels, namedPorts, labelsUnknown, addresses } = beyond ?? {};
    assert.deepEqual(
      { labels, namedPorts, labelsUnknown, addresses },
      { labels: {}, namedPorts: [], labelsUnknown: true, addresses: ['10.0.0.7'] },
    );
  }
});

test('a pod that an earlier version stored with too many labels is read as one with unknown labels', () => {
  const pod = podOf(1, 1);
  assert.ok(pod !== undefined);
  assert.equal(withinLimits(pod), pod);
  const labels = Object.fromEntries(Array.from({ length: mostLabels + 1 }, (_, at) => [`l${at}`, '']));
  const read = withinLimits({ ...pod, labels });
  assert.deepEqual([read.labels, read.namedPorts, read.labelsUnknown], [{}, [], true]);
});
