import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { createFixture, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { dhcpCall } from './dhcp.fixture.ts';
import { startTestServer, usualAnswer } from './dhcp-server.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from './plugin-engine.fixture.ts';
import type { Of } from './plugin-engine.fixture.ts';

/** Records of plugin attachments in the network database whose text was damaged. */
if (inPrivateNetns(import.meta.filename)) {
  const daemon = createFixture();
  after(() => daemon.end());
  const portmap = portmapConf({ hostPort: 8080, containerPort: 80 });
  const chain = [bridgeConf(), portmap];
  const none = { id: '', netns: '', name: '' };

  /** Attaches a container, and damages its records in a column. @returns it, and its address */
  const damaged = async (column: 'resources' | 'result'): Promise<{ pod: Of; address: string }> => {
    const before = createPluginFixture(daemon.databasePath);
    const pod = { id: column, netns: daemon.pod(column).request.netns };
    const { ips } = await before.add(chain, pod);
    await before.end();
    const database = new DatabaseSync(daemon.databasePath);
    const sql = `UPDATE part SET ${column} = substr(${column}, 1, 20) WHERE attachment =
      (SELECT number FROM attachment WHERE container_id = ?)`;
    assert.equal(database.prepare(sql).run(column).changes, chain.length);
    database.close();
    return { pod, address: String(ips[0]?.address) };
  };

  for (const column of ['resources', 'result'] as const)
    test(`a damaged ${column} of a container does not stop the daemon, GC, or other containers`, async () => {
      const { pod, address } = await damaged(column);
      const engine = await daemon.engine();
      assert.equal((await engine.status()).ready, true);
      await engine.close({ removeAll: false });
      const fixture = createPluginFixture(daemon.databasePath);
      await fixture.call('status', bridgeConf(), none);
      const valid = [{ containerId: pod.id, interface: 'eth0' }];
      await fixture.call('gc', bridgeConf(), none, { valid });
      const other = { id: `other-${column}`, netns: fixture.pin('other') };
      const result = await fixture.add([bridgeConf()], other);
      await fixture.check([bridgeConf()], other, result);
      await fixture.del([bridgeConf()], other);

      const checking = fixture.call('check', bridgeConf(), pod, { prevResult: result });
      await assert.rejects(checking, /its record in the network database was damaged/u);
      await fixture.del(chain, pod);
      assert.deepEqual(daemon.rows('SELECT * FROM part'), []);
      assert.equal(fixture.inside(pod.netns, 'ip link show eth0'), undefined);
      // The kernel may still forward the port to the address.
      const next = { id: `next-${column}`, netns: fixture.pin('next') };
      await assert.rejects(fixture.add([bridgeConf({ ipam: only(address) })], next), {
        code: 'NETWORK_ADDRESSES_EXHAUSTED',
      });
      await assert.rejects(fixture.add(chain, next), { code: 'NETWORK_HOST_PORT_TAKEN' });

      await fixture.end();
      const database = new DatabaseSync(daemon.databasePath);
      database.exec('DELETE FROM attachment');
      database.close();
    });

  test('a damaged lease of a DHCP server costs its container the interface, and the daemon starts', async () => {
    shell('ip link add dm0 type veth peer name dm1; ip link set dm0 up; ip link set dm1 up');
    const conf = { type: 'portcullis-macvlan', master: 'dm0', ipam: { type: 'portcullis-dhcp' } };
    const server = startTestServer('dm1', (request) => usualAnswer(request));
    const pod = daemon.pod('leased');
    let engine = await daemon.engine();
    await engine.callPlugin(dhcpCall(daemon.folder, 'add', conf, 'leased'));
    await engine.close({ removeAll: false });
    const database = new DatabaseSync(daemon.databasePath);
    database.exec('UPDATE dhcp_lease SET document = substr(document, 1, 20)');
    database.close();
    engine = await daemon.engine();
    assert.equal((await engine.status()).ready, true);
    assert.equal(pod.run('ip link show eth0'), undefined, 'its address might belong to another host soon');
    await engine.callPlugin(dhcpCall(daemon.folder, 'del', conf, 'leased'));
    assert.deepEqual(daemon.rows('SELECT * FROM dhcp_lease'), []);
    await engine.close({ removeAll: true });
    server.close();
  });

  /** Ranges with this address alone. */
  function only(address: string): object {
    const ip = address.slice(0, address.indexOf('/'));
    return { type: 'portcullis-ipam', ranges: [[{ subnet: '10.90.0.0/24', rangeStart: ip, rangeEnd: ip }]] };
  }
}
