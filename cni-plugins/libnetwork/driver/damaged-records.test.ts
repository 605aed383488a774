import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { createDriverFixture } from './driver.fixture.ts';
import type { DriverFixture, Joined } from './driver.fixture.ts';

const id = (letter: string): string => letter.repeat(64);
const debian = existsSync('/usr/lib/cni/bridge') && tried('iptables --version') !== undefined;

/** Records that the disk damaged cost their own network or endpoint, and docker can remove these. */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  let fixture: DriverFixture;
  before(async () => (fixture = await createDriverFixture()));
  after(() => fixture.end());

  const damage = (table: string, of: string): void => {
    const db = new DatabaseSync(join(fixture.folder, 'state/network.db'));
    const cut = db.prepare(`UPDATE ${table} SET spec = substr(spec, 1, length(spec) / 2) WHERE id = ?`);
    assert.equal(cut.run(of).changes, 1);
    db.close();
  };
  const create = (NetworkID: string, more: object): Promise<object> =>
    fixture.call('NetworkDriver.CreateNetwork', { NetworkID, IPv6Data: [], ...more });
  const own = (number: number): object => ({
    IPv4Data: [{ AddressSpace: 'local', Pool: `10.8${number}.0.0/24`, Gateway: `10.8${number}.0.1/24` }],
  });
  const enter = async (of: { NetworkID: string; EndpointID: string }, Address: string): Promise<string> => {
    await fixture.call('NetworkDriver.CreateEndpoint', { ...of, Interface: { Address } });
    const { InterfaceName, Gateway } = await fixture.call('NetworkDriver.Join', {
      ...of,
      SandboxKey: join(fixture.folder, 'not-yet'),
    });
    const joined: Joined = {
      source: InterfaceName?.SrcName ?? '',
      addresses: [Address],
      ...(Gateway !== undefined && { gateway: Gateway }),
    };
    const sandbox = fixture.sandbox(of.EndpointID.slice(0, 12));
    fixture.enter(joined, sandbox);
    return sandbox;
  };
  const publish = (of: object, HostPort: number): Promise<object> =>
    fixture.call('NetworkDriver.ProgramExternalConnectivity', {
      ...of,
      Options: { 'com.docker.network.portmap': [{ Proto: 6, Port: 80, HostPort }] },
    });
  /** As docker does when a container stops. */
  const remove = async (of: object): Promise<void> => {
    await fixture.call('NetworkDriver.RevokeExternalConnectivity', of);
    await fixture.call('NetworkDriver.Leave', of);
    await fixture.call('NetworkDriver.DeleteEndpoint', of);
  };

  test('a damaged record of an endpoint costs no other container, and its container runs until docker removes it', async () => {
    const NetworkID = id('1');
    await create(NetworkID, own(0));
    const [hurt, other] = ['a', 'b'].map((letter) => ({ NetworkID, EndpointID: id(letter) }));
    const sandbox = await enter(hurt!, '10.80.0.5/24');
    await publish(hurt!, 8080);
    damage('cnm_endpoint', hurt!.EndpointID);
    await enter(other!, '10.80.0.6/24');
    await publish(other!, 8081);
    await fixture.recover();
    assert.ok(fixture.inside(sandbox, 'busybox ping -c1 -W2 10.80.0.1') !== undefined);
    for (const each of [hurt!, other!]) await remove(each);
    assert.doesNotMatch(shell('nft list map ip portcullis_plugins any_host_ports'), /808/u);
    await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
    assert.deepEqual(fixture.left(), []);
  });

  test('a damaged record of a network costs no other network, and docker can remove it', async () => {
    const [hurt, other] = ['2', '3'].map((letter) => ({ NetworkID: id(letter), EndpointID: id(letter) }));
    await create(hurt!.NetworkID, own(2));
    await enter(hurt!, '10.82.0.5/24');
    await publish(hurt!, 8080);
    damage('cnm_network', hurt!.NetworkID);
    const { PoolID } = await fixture.call('IpamDriver.RequestPool', { AddressSpace: 'portcullis' });
    await fixture.call('IpamDriver.ReleasePool', { PoolID });
    await create(other!.NetworkID, own(3));
    await enter(other!, '10.83.0.5/24');
    await publish(other!, 8081);
    assert.match(
      await fixture.refused('NetworkDriver.CreateEndpoint', {
        NetworkID: hurt!.NetworkID,
        EndpointID: id('4'),
        Interface: { Address: '10.82.0.6/24' },
      }),
      /its record is damaged; .*remove it and create it again/u,
    );
    for (const each of [hurt!, other!]) {
      await remove(each);
      await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID: each.NetworkID });
    }
    assert.deepEqual(fixture.left(), []);
  });

  test(
    'Debian’s plugins release what an endpoint with a damaged record has',
    { skip: debian ? false : 'no /usr/lib/cni, or no iptables' },
    async () => {
      const ipam = {
        type: 'host-local',
        ranges: [[{ subnet: '10.85.0.0/24' }]],
        dataDir: join(fixture.folder, 'leases'),
      };
      const conflist = fixture.conflist('debian', [
        { type: 'bridge', bridge: 'deb0', isDefaultGateway: true, ipMasq: true, ipam },
        { type: 'portmap', capabilities: { portMappings: true } },
      ]);
      for (const [table, letter] of [
        ['cnm_endpoint', 'c'],
        ['cnm_network', 'd'],
      ] as const) {
        const of = { NetworkID: id('5'), EndpointID: id(letter) };
        await create(of.NetworkID, {
          Options: { 'com.docker.network.generic': { conflist, plugins: 'exec' } },
          IPv4Data: [{ AddressSpace: 'null', Pool: '0.0.0.0/0' }],
        });
        await fixture.call('NetworkDriver.CreateEndpoint', { ...of, Interface: {} });
        await publish(of, 5353);
        assert.match(shell('iptables-save -t nat'), /dport 5353/u);
        damage(table, table === 'cnm_endpoint' ? of.EndpointID : of.NetworkID);
        await remove(of);
        assert.doesNotMatch(shell('iptables-save -t nat'), /5353/u);
        assert.ok(!existsSync(join(fixture.folder, 'leases/debian/10.85.0.2')));
        await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID: of.NetworkID });
        tried('ip link delete deb0');
        assert.deepEqual(fixture.left(), []);
      }
    },
  );
}
