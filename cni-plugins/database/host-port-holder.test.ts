import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostPortHolderText } from './host-port-holder.ts';

test('the holder of a host port is named by its id if its record is damaged', () => {
  const pod = { namespace: 'default', name: 'web', uid: 'u' };
  const row = { container_id: 'c1', origin: 'plugin' };
  const spec = JSON.stringify({ pod });
  assert.equal(hostPortHolderText({ ...row, spec }), 'pod default/web (container c1)');
  assert.equal(hostPortHolderText({ ...row, spec: spec.slice(0, 10) }), 'container c1');
});
