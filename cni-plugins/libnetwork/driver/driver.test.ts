import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { asNobody } from '../../../test/fixtures/as-nobody.ts';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { createDriverFixture } from './driver.fixture.ts';
import type { DriverFixture, Joined } from './driver.fixture.ts';
import { pluginContentType } from '../protocol/protocol.ts';

const id = (letter: string): string => letter.repeat(64);
const generic = (options: object): object => ({ 'com.docker.network.generic': options });
const debian = existsSync('/usr/lib/cni/bridge') && tried('iptables --version') !== undefined;

if (inPrivateNetns(import.meta.filename, 180_000)) {
  let fixture: DriverFixture;
  before(async () => (fixture = await createDriverFixture()));
  after(() => fixture.end());

  const create = (
    NetworkID: string,
    Options: object,
    pool?: { Pool: string; Gateway: string },
  ): Promise<object> =>
    fixture.call('NetworkDriver.CreateNetwork', {
      NetworkID,
      Options,
      IPv4Data: [
        pool === undefined ? { AddressSpace: 'null', Pool: '0.0.0.0/0' } : { AddressSpace: 'local', ...pool },
      ],
      IPv6Data: [],
    });

  /** CreateEndpoint and Join, in libnetwork's order. */
  const join_ = async (
    NetworkID: string,
    EndpointID: string,
    Interface: object,
  ): Promise<Joined & { mac: string }> => {
    const made = await fixture.call('NetworkDriver.CreateEndpoint', { NetworkID, EndpointID, Interface });
    const joined = await fixture.call('NetworkDriver.Join', {
      NetworkID,
      EndpointID,
      SandboxKey: join(fixture.folder, 'not-yet'),
    });
    const chosen = { ...Interface, ...made.Interface } as { Address?: string; MacAddress?: string };
    return {
      source: joined.InterfaceName?.SrcName ?? '',
      addresses: chosen.Address === undefined || chosen.Address === '' ? [] : [chosen.Address],
      ...(joined.Gateway !== undefined && { gateway: joined.Gateway }),
      mac: chosen.MacAddress ?? '',
    };
  };

  test('an endpoint of our own network is created and removed; every verb may come twice', async () => {
    const [NetworkID, EndpointID] = [id('1'), id('a')];
    const of = { NetworkID, EndpointID };
    for (const _ of [1, 2]) await create(NetworkID, {}, { Pool: '10.80.0.0/24', Gateway: '10.80.0.1/24' });
    assert.match(
      await fixture.refused('NetworkDriver.CreateNetwork', {
        NetworkID,
        IPv4Data: [{ AddressSpace: 'local', Pool: '10.81.0.0/24', Gateway: '10.81.0.1/24' }],
      }),
      /NETWORK_EXISTS/u,
    );
    const wanted = { Address: '10.80.0.5/24', AddressIPv6: '', MacAddress: '' };
    const joined = await join_(NetworkID, EndpointID, wanted);
    const again = await fixture.call('NetworkDriver.CreateEndpoint', { ...of, Interface: wanted });
    assert.deepEqual(
      again,
      { Interface: { MacAddress: joined.mac } },
      'nothing that the engine chose is returned',
    );
    assert.equal(joined.mac, '0a:58:0a:50:00:05');
    assert.equal(joined.gateway, '10.80.0.1');
    const pod = fixture.sandbox('own');
    fixture.enter(joined, pod);
    assert.ok(fixture.inside(pod, 'busybox ping -c1 -W2 10.80.0.1') !== undefined);

    const ports = (HostPort: number): object => ({
      ...of,
      Options: { 'com.docker.network.portmap': [{ Proto: 6, Port: 80, HostPort, HostIP: '0.0.0.0' }] },
    });
    const published = async (): Promise<unknown> => {
      const { Value } = await fixture.call('NetworkDriver.EndpointOperInfo', of);
      return (Value['com.docker.network.portmap'] as { HostPort: number }[] | undefined)?.map(
        ({ HostPort }) => HostPort,
      );
    };
    for (const _ of [1, 2]) await fixture.call('NetworkDriver.ProgramExternalConnectivity', ports(0));
    assert.deepEqual(await published(), [49153]);
    const listening = createServer().listen(8080, '127.0.0.1');
    await once(listening, 'listening');
    const refused = await fixture.refused('NetworkDriver.ProgramExternalConnectivity', ports(8080));
    assert.match(refused, /8080\/tcp: a program of the host listens there; .*NETWORK_HOST_PORT_TAKEN/u);
    await new Promise((resolve) => listening.close(resolve));
    await fixture.call('NetworkDriver.ProgramExternalConnectivity', ports(8080));
    assert.deepEqual(await published(), [8080]);
    assert.match(
      shell('nft list map ip portcullis_plugins any_host_ports'),
      /tcp \. 8080 : 10\.80\.0\.5 \. 80/u,
    );
    for (const _ of [1, 2]) await fixture.call('NetworkDriver.RevokeExternalConnectivity', of);
    assert.doesNotMatch(shell('nft list map ip portcullis_plugins any_host_ports'), /8080/u);

    assert.match(
      await fixture.refused('NetworkDriver.DeleteNetwork', { NetworkID }),
      /NETWORK_IN_USE/u,
      'a container uses the link',
    );
    await fixture.call('NetworkDriver.Leave', of);
    fixture.leave(joined, pod);
    for (const _ of [1, 2]) await fixture.call('NetworkDriver.DeleteEndpoint', of);
    await fixture.call('NetworkDriver.Leave', of);
    await fixture.call('NetworkDriver.RevokeExternalConnectivity', of);
    assert.match(
      await fixture.refused('NetworkDriver.Join', { ...of, SandboxKey: '/x' }),
      /NETWORK_CNM_ENDPOINT_UNKNOWN/u,
    );
    for (const _ of [1, 2]) await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
    assert.deepEqual(fixture.left(), []);
  });

  test('an endpoint whose container ended while no driver ran is removed at the start; other endpoints stay', async () => {
    const NetworkID = id('9');
    await create(NetworkID, {}, { Pool: '10.89.0.0/24', Gateway: '10.89.0.1/24' });
    const endpoints = ['d', 'e', 'f'].map(id);
    const joined: Joined[] = [];
    for (const [index, each] of endpoints.entries())
      joined.push(
        await join_(NetworkID, each, { Address: `10.89.0.${index + 2}/24`, AddressIPv6: '', MacAddress: '' }),
      );
    const [dies, lives] = [fixture.sandbox('dies'), fixture.sandbox('lives')];
    // The third one is in transit: docker has not moved it yet.
    for (const [index, sandbox] of [dies, lives].entries())
      fixture.enter(joined[index] ?? { source: '', addresses: [] }, sandbox);
    shell(`umount ${dies}`);
    const existing = (): string[] =>
      endpoints.filter((each) =>
        fixture.left().some((row) => row.startsWith('cnm_endpoint') && row.includes(each)),
      );
    for (let tries = 0; tries < 500 && existing().length > 2; tries += 1) {
      // The kernel removes a namespace's links a moment after the namespace.
      spawnSync('sleep', ['0.02']);
      await fixture.recover();
    }
    assert.deepEqual(existing(), endpoints.slice(1));
    for (const EndpointID of endpoints)
      await fixture.call('NetworkDriver.DeleteEndpoint', { NetworkID, EndpointID });
    await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
    assert.deepEqual(fixture.left(), []);
  });

  test('the plugins of a conflist give address and routes; routes to the link’s own network are not reported', async () => {
    const [NetworkID, EndpointID] = [id('2'), id('b')];
    const ipam = {
      type: 'portcullis-ipam',
      ranges: [[{ subnet: '10.82.0.0/24' }]],
      routes: [{ dst: '10.99.0.0/16' }, { dst: '10.98.0.0/16', gw: '10.82.0.9' }],
    };
    const path = fixture.conflist('ours', [
      { type: 'portcullis-bridge', bridge: 'ours0', isGateway: true, ipam },
    ]);
    await create(NetworkID, generic({ conflist: path }));
    const made = await fixture.call('NetworkDriver.CreateEndpoint', { NetworkID, EndpointID, Interface: {} });
    assert.equal(made.Interface?.Address, '10.82.0.2/24');
    const joined = await fixture.call('NetworkDriver.Join', {
      NetworkID,
      EndpointID,
      SandboxKey: '/run/docker/netns/x',
    });
    assert.deepEqual(joined.StaticRoutes, [
      { Destination: '10.99.0.0/16', RouteType: 0, NextHop: '10.82.0.1' },
      { Destination: '10.98.0.0/16', RouteType: 0, NextHop: '10.82.0.9' },
    ]);
    assert.deepEqual([joined.Gateway, joined.DisableGatewayService], [undefined, true]);
    const { status } = await fixture.say(
      'NetworkDriver.ProgramExternalConnectivity',
      JSON.stringify({ NetworkID, EndpointID, Options: { 'com.docker.network.portmap': [] } }),
    );
    assert.equal(status, 200, 'without ports no port plugin is needed');
    // No container ever got the link, so it is removed with the network.
    await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
    assert.deepEqual(fixture.left(), []);
  });

  test('an address that the engine chose and the conflist cannot give is refused, and nothing is left', async () => {
    const [NetworkID, EndpointID] = [id('3'), id('c')];
    const bare = fixture.conflist('bare', [{ type: 'portcullis-bridge', bridge: 'bare0' }]);
    await create(NetworkID, generic({ conflist: bare }), { Pool: '10.84.0.0/24', Gateway: '10.84.0.1/24' });
    assert.match(
      await fixture.refused('NetworkDriver.CreateEndpoint', {
        NetworkID,
        EndpointID,
        Interface: { Address: '10.84.0.3/24' },
      }),
      /NETWORK_CNM_ADDRESS/u,
    );
    await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
    assert.deepEqual(fixture.left(), []);
  });

  test('a conflist that is a FIFO is refused, and no other request waits for it', async () => {
    const fifo = join(fixture.folder, 'fifo.conflist');
    execFileSync('mkfifo', [fifo]);
    assert.match(
      await fixture.refused('NetworkDriver.CreateNetwork', {
        NetworkID: id('4'),
        Options: generic({ conflist: fifo }),
        IPv4Data: [],
      }),
      /NETWORK_CNM_OPTION.*not a regular file|not a regular file.*NETWORK_CNM_OPTION/u,
    );
  });

  test(
    'Debian’s plugins release everything, also if the link ended with its container',
    { skip: debian ? false : 'no /usr/lib/cni, or no iptables' },
    async () => {
      const leases = join(fixture.folder, 'leases');
      const ipam = { type: 'host-local', ranges: [[{ subnet: '10.85.0.0/24' }]], dataDir: leases };
      const path = fixture.conflist('debian', [
        { type: 'bridge', bridge: 'deb0', isDefaultGateway: true, ipMasq: true, ipam },
        { type: 'portmap', capabilities: { portMappings: true } },
      ]);
      const NetworkID = id('4');
      await create(NetworkID, generic({ conflist: path, plugins: 'exec' }));
      for (const dies of [false, true]) {
        const of = { NetworkID, EndpointID: id('d') };
        const joined = await join_(NetworkID, of.EndpointID, {});
        const pod = fixture.sandbox(`deb-${dies}`);
        fixture.enter(joined, pod);
        await fixture.call('NetworkDriver.ProgramExternalConnectivity', {
          ...of,
          Options: { 'com.docker.network.portmap': [{ Proto: 17, Port: 53, HostPort: 5353 }] },
        });
        assert.match(shell('iptables-save -t nat'), /dport 5353/u);
        await fixture.call('NetworkDriver.Leave', of);
        if (dies) shell(`umount ${pod}`);
        else fixture.leave(joined, pod);
        // The kernel removes a namespace's links a moment after the namespace.
        if (dies)
          for (let tries = 0; tries < 500 && (tried('ip -br link show type veth') ?? '') !== ''; tries += 1)
            spawnSync('sleep', ['0.02']);
        await fixture.call('NetworkDriver.DeleteEndpoint', of);
        assert.doesNotMatch(shell('iptables-save -t nat'), /10\.85\.|5353/u);
        assert.deepEqual(
          readdirSync(join(leases, 'debian')).filter((name) => name.startsWith('10.')),
          [],
        );
      }
      await fixture.call('NetworkDriver.DeleteNetwork', { NetworkID });
      assert.deepEqual(fixture.left(), []);
    },
  );

  for (const plugins of ['auto', ...(debian ? ['exec'] : [])])
    test(`plugins (${plugins}) act in the network namespace of the engine that asks`, async () => {
      const host = fixture.sandbox(`host-${plugins}`);
      const of = { NetworkID: id('7'), EndpointID: id('8') };
      const ipam = {
        type: 'host-local',
        ranges: [[{ subnet: '10.88.0.0/24' }]],
        dataDir: join(fixture.folder, 'leases'),
      };
      const conflist = fixture.conflist('elsewhere', [
        { type: 'bridge', bridge: 'far0', isDefaultGateway: true, ipam },
      ]);
      const network = { ...of, Options: generic({ conflist, plugins }), IPv4Data: [{ Pool: '0.0.0.0/0' }] };
      const script = `
        const { ask } = await import(${JSON.stringify(new URL('./driver.fixture.ts', import.meta.url).href)});
        for (const [verb, body] of JSON.parse(process.argv[1])) {
          const { status, text } = await ask(${JSON.stringify(fixture.socket)}, verb, JSON.stringify(body));
          if (status !== 200) throw new Error(text);
        }`;
      const engine = (...calls: readonly [string, object][]): Promise<void> =>
        new Promise((resolve, reject) => {
          const words = [
            `--net=${host}`,
            process.execPath,
            '--input-type=module',
            '-e',
            script,
            JSON.stringify(calls),
          ];
          const child = spawn('nsenter', words, { stdio: ['ignore', 'ignore', 'inherit'] });
          child.once('exit', (code) =>
            code === 0 ? resolve() : reject(new Error(`the engine ended with ${code}`)),
          );
        });
      await engine(
        ['NetworkDriver.CreateNetwork', network],
        ['NetworkDriver.CreateEndpoint', { ...of, Interface: {} }],
      );
      assert.match(fixture.inside(host, 'ip -br link show') ?? '', /far0[^]*pce8{12}/u);
      assert.doesNotMatch(shell('ip -br link show'), /far0|pce8/u);
      await engine(
        ['NetworkDriver.DeleteEndpoint', of],
        ['NetworkDriver.DeleteNetwork', { NetworkID: of.NetworkID }],
      );
      assert.doesNotMatch(fixture.inside(host, 'ip -br link show') ?? '', /far0|pce8|veth/u);
      assert.deepEqual(fixture.left(), []);
    });

  test('the scope is local; verbs of a swarm are refused with a reason, and discoveries are accepted', async () => {
    assert.deepEqual(await fixture.call('Plugin.Activate'), { Implements: ['NetworkDriver', 'IpamDriver'] });
    assert.equal((await fixture.call('NetworkDriver.GetCapabilities')).Scope, 'local');
    for (const verb of ['NetworkDriver.AllocateNetwork', 'NetworkDriver.FreeNetwork'] as const)
      assert.match(await fixture.refused(verb, { NetworkID: id('5') }), /NETWORK_CNM_SCOPE/u);
    for (const verb of ['NetworkDriver.DiscoverNew', 'NetworkDriver.DiscoverDelete'] as const)
      assert.deepEqual(
        await fixture.call(verb, { DiscoveryType: 1, DiscoveryData: { Address: '192.0.2.1', Self: true } }),
        {},
      );
    assert.deepEqual(
      await fixture.call('NetworkDriver.GwAllocCheck', { Options: { 'com.docker.network.internal': true } }),
      {
        SkipIPv4: true,
        SkipIPv6: true,
      },
    );
    assert.deepEqual(await fixture.call('NetworkDriver.GwAllocCheck', {}), {
      SkipIPv4: false,
      SkipIPv6: false,
    });
  });

  test('HTTP works as in the Go plugin helpers; only root gets an answer', async () => {
    const fine = await fixture.say('Plugin.Activate', '');
    assert.deepEqual([fine.status, fine.type], [200, pluginContentType]);
    assert.equal((await fixture.say('NetworkDriver.Frobnicate', '{}')).status, 404);
    assert.equal((await fixture.say('toString', '{}')).status, 404);
    assert.equal((await fixture.say('NetworkDriver.CreateNetwork', '{')).status, 400);
    assert.equal((await fixture.say('NetworkDriver.CreateNetwork', '')).status, 400);
    assert.equal(
      (await fixture.say('NetworkDriver.CreateNetwork', `{"NetworkID":"${'x'.repeat(2 ** 20)}"}`)).status,
      413,
    );
    const refused = await fixture.say('NetworkDriver.CreateNetwork', '{"networkid":"/etc"}');
    assert.deepEqual([refused.status, refused.type], [500, pluginContentType]);
    assert.match((JSON.parse(refused.text) as { Err: string }).Err, /NetworkID "\/etc" is not an id/u);
    shell(`chmod 755 ${fixture.folder}; chmod 666 ${fixture.socket}`);
    const script = `const c=require('net').connect(${JSON.stringify(fixture.socket)},()=>c.write('POST /Plugin.Activate HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n'));c.on('data',()=>process.exit(1));c.on('close',()=>process.exit(0));c.on('error',()=>process.exit(0))`;
    const other = await new Promise<number | null>((resolve) => {
      void import('node:child_process').then(({ spawn }) =>
        spawn(asNobody[0], [...asNobody.slice(1), process.execPath, '-e', script]).on('exit', resolve),
      );
    });
    assert.equal(other, 0);
  });

  test('the IPAM driver assigns pools and addresses', async () => {
    const pool = (body: object): Promise<{ PoolID: string; Pool: string }> =>
      fixture.call('IpamDriver.RequestPool', { AddressSpace: 'portcullis', ...body });
    const lease = async (PoolID: string, more: object = {}): Promise<string> =>
      (await fixture.call('IpamDriver.RequestAddress', { PoolID, ...more })).Address;
    const gateway = { Options: { RequestAddressType: 'com.docker.network.gateway' } };
    const ranged = await pool({ Pool: '10.86.0.0/24', SubPool: '10.86.0.252/30' });
    assert.equal(ranged.Pool, '10.86.0.0/24');
    assert.equal(await lease(ranged.PoolID, gateway), '10.86.0.1/24');
    assert.deepEqual(
      [await lease(ranged.PoolID), await lease(ranged.PoolID), await lease(ranged.PoolID)],
      ['10.86.0.252/24', '10.86.0.253/24', '10.86.0.254/24'],
    );
    assert.match(
      await fixture.refused('IpamDriver.RequestAddress', { PoolID: ranged.PoolID }),
      /NETWORK_ADDRESSES_EXHAUSTED/u,
    );
    assert.equal(await lease(ranged.PoolID, { Address: '10.86.0.7' }), '10.86.0.7/24');
    assert.match(
      await fixture.refused('IpamDriver.RequestAddress', { PoolID: ranged.PoolID, Address: '10.86.0.7' }),
      /it is leased/u,
    );
    assert.match(
      await fixture.refused('IpamDriver.RequestAddress', { PoolID: ranged.PoolID, Address: '10.87.0.7' }),
      /not in this pool/u,
    );
    for (const _ of [1, 2])
      await fixture.call('IpamDriver.ReleaseAddress', { PoolID: ranged.PoolID, Address: '10.86.0.253' });
    assert.equal(await lease(ranged.PoolID), '10.86.0.253/24');
    assert.match(
      await fixture.refused('IpamDriver.RequestPool', { AddressSpace: 'portcullis', Pool: '10.86.0.0/16' }),
      /overlaps 10\.86\.0\.0\/24/u,
    );
    for (const _ of [1, 2]) await fixture.call('IpamDriver.ReleasePool', { PoolID: ranged.PoolID });
    // A pool that only the engine remembers is recreated.
    assert.equal(await lease(ranged.PoolID), '10.86.0.252/24');
    await fixture.call('IpamDriver.ReleasePool', { PoolID: ranged.PoolID });
    const [first, second] = [await pool({}), await pool({})];
    assert.deepEqual([first.Pool, second.Pool], ['10.212.0.0/24', '10.212.1.0/24']);
    // The engine crashed during the request, and asks again.
    assert.equal((await pool({ Pool: '10.212.1.0/24' })).PoolID, second.PoolID);
    await lease(second.PoolID);
    assert.match(await fixture.refused('IpamDriver.RequestPool', { Pool: '10.212.1.0/24' }), /overlaps/u);
    const six = await pool({ V6: true });
    assert.match(six.Pool, /^fd70:6f72:7463::\/64$/u);
    assert.equal(await lease(six.PoolID), 'fd70:6f72:7463::1/64');
    for (const { PoolID } of [first, second, six]) await fixture.call('IpamDriver.ReleasePool', { PoolID });
    assert.match(
      await fixture.refused('IpamDriver.RequestAddress', { PoolID: 'of another driver' }),
      /NETWORK_CNM_POOL/u,
    );
    assert.deepEqual(fixture.left(), []);
  });
}
