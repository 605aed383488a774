import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { inPrivateNetns, shell } from '../attach/engine.fixture.ts';
import { createBridge, lookUp } from './links.ts';
import { openNetlink } from './socket.ts';

if (inPrivateNetns(import.meta.filename)) {
  const route = openNetlink(NETLINK_ROUTE);
  after(() => route.close());
  const stands = (): boolean => lookUp(route, { name: 'br0' }) !== undefined;

  test('a question is asked once, until something is changed', () => {
    route.askingOnce(() => {
      assert.equal(stands(), false);
      shell('ip link add br0 type bridge');
      assert.equal(stands(), false, 'as it was seen before');
      assert.throws(() => route.run([createBridge({ name: 'br0', mac: Buffer.of(2, 0, 0, 0, 0, 1), group: 0 })]), {
        code: 'NETWORK_KERNEL_EEXIST',
      });
      assert.equal(stands(), true);
      shell('ip link del br0');
      assert.equal(stands(), false, 'and from then on each time');
    });
  });
}
