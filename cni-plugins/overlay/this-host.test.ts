import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { openDataPlane } from './data-plane/data-plane.ts';
import { readSettings } from './records/settings.ts';
import type { OverlaySettings } from './records/settings.ts';
import { createThisHost } from './this-host.ts';
import type { ThisHost } from './this-host.ts';

if (inPrivateNetns(import.meta.filename)) {
  shell(
    'ip link add lan0 mtu 1329 type bridge && ip address add 192.0.2.1/24 dev lan0 && ip link set lan0 up',
  );
  const dataPlane = openDataPlane(1);
  after(() => dataPlane.close());
  const settings: OverlaySettings = {
    name: 'shop',
    host: 'host-1',
    etcd: { endpoints: ['http://192.0.2.1:2379'] },
    networks: [
      { prefix: '10.128.0.0/14', hostLength: 24 },
      { prefix: 'fd00:10:128::/48', hostLength: 64 },
    ],
    underlay: 'lan0',
    vni: 1,
    vxlanPort: 4789,
    encryption: 'none',
    wireguardPort: 51_820,
    leaseSeconds: 10,
    holdSeconds: 300,
    folder: '/nonexistent',
    confDir: '/nonexistent',
    order: '10',
    databasePath: '/nonexistent',
  };
  const thisHost = (networks = settings.networks): ThisHost =>
    createThisHost(
      {
        settings,
        id: 'id-1',
        networks: readSettings({ ...settings, networks }).networks,
        dataPlane,
        hostKeys: undefined,
      },
      ['10.128.0.0/24', 'fd00:10:128::/64'].slice(0, networks.length),
    );

  test('a host whose underlay leaves too little for IPv6 says which MTU the link needs', () => {
    assert.throws(thisHost, {
      code: 'NETWORK_MTU_TOO_SMALL',
      message:
        /lan0: its MTU is 1329, which leaves 1279 for .*, and IPv6 needs 1280; set .* to 1330 or more/u,
    });
    // IPv4 has no such limit.
    dataPlane.reconcile(thisHost(settings.networks.slice(0, 1)).own, new Map());
    shell('ip link set lan0 mtu 1330');
    const host = thisHost();
    dataPlane.reconcile(host.own, new Map());
    assert.match(shell('ip address show dev portcullis-vx'), /fd00:10:128::\/128/u);
    shell('ip link set lan0 mtu 1329');
    assert.throws(() => host.describe(), { code: 'NETWORK_MTU_TOO_SMALL' });
    assert.equal(host.own.record.mtu, 1280);
  });
}
