import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runtimeMethods } from '../protocol/methods.ts';
import { container, openNode } from './node.fixture.ts';
import { unsolicited } from './unsolicited.ts';

const { request: requests } = runtimeMethods.updateContainers;
const update = { containerId: 'c1', linux: { resources: { cpu: { cpus: '1' } } } };
const signal = AbortSignal.any([]);

test('a request of a plugin that also evicts containers changes nothing', async () => {
  const { node, updated } = await openNode();
  await node.containerRecords.put(container);
  const request = requests.decode(requests.encode({ update: [update], evict: [{ containerId: 'c1' }] }));
  await assert.rejects(unsolicited(node, '10-p', request, signal), { code: 'NRI_UNSUPPORTED' });
  assert.deepEqual(updated, []);
});
