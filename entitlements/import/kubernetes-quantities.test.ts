import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Remark } from './imported.ts';
import { readResources } from './kubernetes-quantities.ts';

it('reads a limit of 0 as no limit, and a smaller one than the unit as the least limit', () => {
  const notes: Remark[] = [];
  const read = (cpu: string, memory: string) => readResources({ limits: { cpu, memory } }, 'c', notes);
  assert.deepEqual(read('500m', '64Mi'), { cpu: 500n, memory: 64n << 20n });
  assert.deepEqual(read('0.0001', '1m'), { cpu: 1n, memory: 1n });
  assert.deepEqual(notes, []);
  assert.deepEqual(read('0', '0.0Gi'), {});
  assert.deepEqual(
    notes.map(({ part }) => part),
    ['c.resources.limits.cpu', 'c.resources.limits.memory'],
  );
});
