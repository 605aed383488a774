import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parsePrefix } from '../../../base/addresses/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { openDataPlane } from './data-plane.ts';
import { keyOf } from './entries.ts';
import type { Entry, Own } from './entries.ts';

if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up && ip address add 192.0.2.1/24 dev lo');
  const dataPlane = openDataPlane(1);
  after(() => dataPlane.close());
  const own: Own = {
    record: {
      id: 'id-1',
      underlay: '192.0.2.1',
      mtu: 1450,
      vxlan: { mac: '02:00:00:00:00:01', port: 4789 },
    },
    subnets: ['10.128.0.0/24'],
    networks: [{ prefix: parsePrefix('10.128.0.0/14')!, hostLength: 24 }],
  };

  test('an entry that the kernel refuses does not keep the entries of other hosts out', () => {
    // The kernel replaces no forwarding entry of a group address.
    const refused: Entry = { kind: 'forwarding', mac: '01:00:5e:00:00:01', remote: '192.0.2.9' };
    // More than the kernel gets at once.
    const routes = Array.from({ length: 600 }, (_, index): Entry => ({
      kind: 'route',
      subnet: `10.${128 + Math.floor(index / 200)}.${1 + (index % 200)}.0/24`,
      gateway: '10.128.1.0',
    }));
    const wanted = new Map([refused, ...routes].map((entry) => [keyOf(entry), entry]));
    assert.throws(() => dataPlane.reconcile(own, wanted), { code: 'NETWORK_KERNEL_EOPNOTSUPP' });
    assert.equal(shell('ip route show dev portcullis-vx').trim().split('\n').length, routes.length);
  });
}
