import assert from 'node:assert/strict';
import { constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { closeFd, openFile, tryLockFile } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { createFixture, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { createNetwork, removeNetwork } from './conflist-file.ts';
import type { NewNetwork } from './new-network.ts';
import { collectConnections, connectNetwork, disconnectNetwork } from './connect.ts';
import type { ConnectSource } from './connect.ts';

/**
 * User-defined networks on the real kernel: which pods reach each other, by which command, and that nothing
 * is left behind.
 */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const fixture = createFixture();
  after(() => fixture.end());
  shell('sysctl -qw net.ipv4.ip_forward=1');
  const source: ConnectSource = {
    databasePath: fixture.databasePath,
    confDir: fixture.confDir,
    choice: { plugins: 'auto', maxConfigs: 1 },
    binDirs: [],
    cacheDir: join(fixture.folder, 'cni'),
    log: createLogger({ level: 'error' }),
  };
  const create = (name: string, subnet: string, more: Partial<NewNetwork> = {}): string =>
    createNetwork(source, {
      name,
      type: 'bridge',
      subnets: [subnet],
      gateways: [],
      masquerade: true,
      separated: true,
      internal: false,
      podNamespaces: [],
      order: '50',
      ...more,
    });
  const none = { ips: [], aliases: [] };
  const failure = async (body: () => Promise<unknown>): Promise<string> => {
    try {
      await body();
    } catch (thrown) {
      if (isPortcullisError(thrown)) return thrown.code;
      throw thrown;
    }
    return 'none';
  };
  const { rows } = fixture;
  const pings = (from: string, to: string): boolean =>
    tried(`nsenter --net=${from} busybox ping -c1 -W1 ${to}`) !== undefined;

  test('members of two networks reach their own network by address, not the other; an internal network has no route out', async () => {
    create('shop', '10.81.0.0/24');
    const other = create('mail', '10.82.0.0/24');
    create('vault', '10.83.0.0/24', { internal: true });
    assert.notEqual(
      (JSON.parse(readFileSync(other, 'utf8')) as { plugins: { bridge?: string }[] }).plugins[0]?.bridge,
      undefined,
      'a second network has its own bridge',
    );
    shell(
      'ip link add up1 type veth peer name up2 && ip addr add 10.87.0.7/16 dev up1 && ip addr add fd87::7/64 dev up1',
    );
    assert.equal(
      await failure(() => Promise.resolve(create('own', '10.87.0.0/24'))),
      'NETWORK_SUBNET_TAKEN',
      'the host has an address of it',
    );
    assert.equal(await failure(() => Promise.resolve(create('own', 'fd87::/80'))), 'NETWORK_SUBNET_TAKEN');
    removeNetwork(source, (create('beside-own', '10.87.1.0/24'), 'beside-own'));
    removeNetwork(source, (create('own', '10.87.0.0/24', { link: 'up1' }), 'own'));
    shell('ip link del up1');
    const [a, b, c, d, outside] = ['a', 'b', 'c', 'd', 'outside'].map(
      (name) => fixture.pod(name).request.netns,
    ) as [string, string, string, string, string];
    shell(
      `ip link add up0 type veth peer name eth0 netns ${outside} && ip addr add 10.99.0.1/24 dev up0 && ip link set up0 up`,
    );
    shell(
      `nsenter --net=${outside} sh -c 'ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip route add 10.83.0.0/24 via 10.99.0.1'`,
    );

    const first = await connectNetwork(source, 'shop', {
      ...none,
      target: a,
      aliases: ['Front'],
      ips: ['10.81.0.9'],
    });
    assert.deepEqual([first.connection.interface, first.result.ips[0]?.address], ['eth0', '10.81.0.9/24']);
    await connectNetwork(source, 'shop', { ...none, target: b, interface: 'shop0' });
    await connectNetwork(source, 'mail', { ...none, target: c });
    await connectNetwork(source, 'vault', { ...none, target: d });
    assert.ok(pings(b, '10.81.0.9'), 'one network');
    assert.ok(pings(a, '10.99.0.2'), 'a way out');
    assert.ok(pings(c, '10.99.0.2'));
    assert.ok(!pings(a, '10.82.0.2') && !pings(c, '10.81.0.9'), 'there is no route between two networks');
    // A pod that adds a route to an internal network still has no way out or in.
    shell(`nsenter --net=${d} ip route add default via 10.83.0.1`);
    assert.ok(!pings(d, '10.99.0.2') && !pings(d, '10.81.0.9'));
    assert.ok(!pings(outside, '10.83.0.2') && !pings(a, '10.83.0.2'));
    assert.ok(pings(d, '10.83.0.1'), 'its gateway answers');

    // One more network for the same namespace: it reaches both.
    assert.equal((await connectNetwork(source, 'mail', { ...none, target: a })).connection.interface, 'eth1');
    assert.ok(pings(a, '10.82.0.2'));
    assert.deepEqual(rows("SELECT DISTINCT network, name, kind FROM name WHERE kind = 'alias'"), [
      'shop front alias',
    ]);
    assert.equal(
      await failure(() => connectNetwork(source, 'shop', { ...none, target: a })),
      'NETWORK_ALREADY_CONNECTED',
    );
    for (const wrong of ['../x', 'a b', 'lo', 'x'.repeat(16), ''])
      assert.equal(
        await failure(() => connectNetwork(source, 'vault', { ...none, target: a, interface: wrong })),
        'NETWORK_INTERFACE_INVALID',
      );
    assert.equal(
      await failure(() => connectNetwork(source, 'nowhere', { ...none, target: a })),
      'NETWORK_UNKNOWN',
    );
    assert.equal(
      await failure(() => connectNetwork(source, 'shop', { ...none, target: '/none' })),
      'NETWORK_TARGET_UNKNOWN',
    );
    assert.equal(
      await failure(() => connectNetwork(source, 'shop', { ...none, target: 'nobody' })),
      'NETWORK_TARGET_UNKNOWN',
    );
    const own = { ...none, target: `pid:${process.pid}` };
    assert.equal(
      await failure(() => connectNetwork(source, 'shop', own)),
      'NETWORK_TARGET_UNKNOWN',
      'the host’s own namespace',
    );
    const away = { ...source, dockerSocket: join(fixture.folder, 'no.sock') };
    assert.equal(
      await failure(() => connectNetwork(away, 'shop', { ...none, target: 'docker://web' })),
      'NETWORK_DOCKER_UNREACHABLE',
    );
    assert.equal(
      await failure(() => disconnectNetwork(away, 'shop', 'docker://web')),
      'NETWORK_DOCKER_UNREACHABLE',
    );
    assert.equal(
      await failure(() => connectNetwork(source, 'shop', { ...none, target: c, ips: ['10.81.0.9'] })),
      'NETWORK_ADDRESS_TAKEN',
    );
    assert.equal(await failure(() => Promise.resolve(removeNetwork(source, 'shop'))), 'NETWORK_IN_USE');

    await disconnectNetwork(source, 'mail', a);
    assert.equal(tried(`nsenter --net=${a} ip link show eth1`), undefined);
    assert.equal(await failure(() => disconnectNetwork(source, 'mail', a)), 'NETWORK_NOT_CONNECTED');
    for (const [network, target] of [
      ['shop', a],
      ['shop', b],
      ['mail', c],
    ] as const)
      await disconnectNetwork(source, network, target);
    // A connection whose namespace ended without a disconnect is collected.
    assert.deepEqual(await collectConnections(source), []);
    shell(`umount ${d}`);
    assert.deepEqual(
      (await collectConnections(source)).map(({ network }) => network),
      ['vault'],
    );
    for (const table of ['attachment', 'part', 'lease', 'name'])
      assert.deepEqual(rows(`SELECT * FROM ${table}`), [], table);
    assert.doesNotMatch(shell('nft list ruleset'), /10\.8[123]\.|cni0|pcbr/u);
    for (const name of ['shop', 'mail', 'vault']) removeNetwork(source, name);
  });

  test('a removed network leaves no bridge: the next network with its subnet is reachable', async () => {
    const pod = fixture.pod('next');
    const connected = async (name: string): Promise<void> => {
      await connectNetwork(source, name, { ...none, target: pod.request.netns });
    };
    create('first', '10.85.0.0/24', { link: 'brfirst' });
    await connected('first');
    await disconnectNetwork(source, 'first', pod.request.netns);
    assert.deepEqual(removeNetwork(source, 'first').bridges, ['brfirst']);
    assert.doesNotMatch(shell('ip route'), /10\.85\./u);
    create('second', '10.85.0.0/24', { link: 'brsecond' });
    create('beside', '10.86.0.0/24', { link: 'brsecond' });
    await connected('second');
    assert.ok(tried('busybox ping -c1 -W1 10.85.0.2') !== undefined);
    await disconnectNetwork(source, 'second', pod.request.netns);
    assert.deepEqual(removeNetwork(source, 'second').bridges, [], 'another network is on it');
    shell('ip link add dev0 type veth peer name dev1; ip link set dev0 master brsecond');
    assert.deepEqual(removeNetwork(source, 'beside').bridges, [], 'another program put a link on it');
    shell('ip link del dev0; ip link add brown type bridge');
    create('third', '10.87.0.0/24', { link: 'brown' });
    await connected('third');
    await disconnectNetwork(source, 'third', pod.request.netns);
    assert.deepEqual(removeNetwork(source, 'third').bridges, [], 'it existed before');
    shell('ip link del brown; ip link del brsecond');
  });

  test('a pod of the daemon is connected by its name, but not a pod to which peer rules apply', async () => {
    create('side', '10.84.0.0/24');
    const engine = await fixture.engine();
    const pod = fixture.pod('web');
    await engine.attach(pod.request);
    try {
      assert.equal(
        await failure(() => connectNetwork(source, 'side', { ...none, target: 'default/web' })),
        'NETWORK_TARGET_BOUND',
      );
      await engine.setClass(pod.request.id, 'user', {});
      const { connection } = await connectNetwork(source, 'side', { ...none, target: 'default/web' });
      assert.equal(connection.interface, 'eth1');
      assert.match(pod.run('ip -o addr show eth1') ?? '', /10\.84\.0\.2\/24/u);
      assert.ok(rows('SELECT network, name FROM name').includes('side web.default'));
      // The daemon collects only its own attachments, so the connection stays.
      await engine.gc(new Set([pod.request.id]));
      assert.match(pod.run('ip -o addr show eth1') ?? '', /10\.84\.0\.2\/24/u);
      await disconnectNetwork(source, 'side', 'default/web');
      assert.equal(pod.run('ip link show eth1'), undefined);
      assert.equal(
        await failure(() => disconnectNetwork(source, 'side', 'default/web')),
        'NETWORK_NOT_CONNECTED',
      );
      // A pod that ended without a disconnect is collected.
      await connectNetwork(source, 'side', { ...none, target: pod.request.id.slice(0, 12) });
    } finally {
      await engine.detach(pod.request.id);
      await engine.close({ removeAll: true });
    }
    // Address and names were removed with the pod, not by the collection.
    assert.deepEqual(rows('SELECT * FROM lease'), []);
    assert.deepEqual(rows('SELECT * FROM name'), []);
    shell(`umount ${pod.request.netns}`);
    assert.equal((await collectConnections(source)).length, 1);
    assert.equal((await collectConnections(source)).length, 0);
    assert.deepEqual(rows('SELECT * FROM attachment'), []);
  });

  test('of commands that connect a target at the same time, one connects it to each network', async () => {
    create('once', '10.95.0.0/24');
    create('beside', '10.96.0.0/24');
    const pod = fixture.pod('once');
    const connect = (network: string): Promise<string> =>
      failure(() => connectNetwork(source, network, { ...none, target: pod.request.netns }));
    const ended = await Promise.all(['once', 'once', 'once', 'beside'].map(connect));
    assert.deepEqual(ended.toSorted(), [
      'NETWORK_ALREADY_CONNECTED',
      'NETWORK_ALREADY_CONNECTED',
      'none',
      'none',
    ]);
    const links = pod.run('ip -4 -o addr show')?.matchAll(/(eth\d+)\s+inet (10\.\d+\.0)\./gu) ?? [];
    const connected = [...links].map(([, name, subnet]) => [name, subnet]);
    assert.deepEqual(connected.map(([name]) => name).toSorted(), ['eth0', 'eth1']);
    assert.deepEqual(connected.map(([, subnet]) => subnet).toSorted(), ['10.95.0', '10.96.0']);
    for (const network of ['once', 'beside']) await disconnectNetwork(source, network, pod.request.netns);
    assert.deepEqual(rows('SELECT * FROM attachment'), []);
  });

  test('a connection of a command that was killed, or could not clean up, is replaced or disconnected', async () => {
    create('cut', '10.89.0.0/24');
    const pod = fixture.pod('cut');
    // This is the state after a process was killed once its plugins had finished: the result was never
    // stored.
    const { connection } = await connectNetwork(source, 'cut', { ...none, target: pod.request.netns });
    const kept = join(source.cacheDir, 'results', `cut-${connection.containerId}-${connection.interface}`);
    const { result: _result, ...intent } = JSON.parse(readFileSync(kept, 'utf8')) as Record<string, unknown>;
    writeFileSync(kept, JSON.stringify(intent));
    const connect = (): Promise<string> =>
      failure(() => connectNetwork(source, 'cut', { ...none, target: pod.request.netns }));
    // Another command is still connecting it.
    const other = openFile(pod.request.netns, constants.O_RDONLY);
    assert.ok(tryLockFile(other));
    assert.equal(await connect(), 'NETWORK_ALREADY_CONNECTED');
    // A process of the pod can hold the same lock for ever. That does not prevent the removal.
    await disconnectNetwork(source, 'cut', pod.request.netns);
    assert.equal(await connect(), 'none');
    writeFileSync(kept, JSON.stringify(intent));
    closeFd(other);
    assert.equal(await connect(), 'none');
    assert.equal(rows('SELECT * FROM attachment').length, 1);
    assert.equal(await connect(), 'NETWORK_ALREADY_CONNECTED', 'it is connected now');
    writeFileSync(kept, JSON.stringify(intent));
    await disconnectNetwork(source, 'cut', pod.request.netns);
    assert.deepEqual(rows('SELECT * FROM attachment'), []);
    assert.equal(pod.run('ip link show eth0'), undefined);
    // A failure leaves no intent behind.
    assert.equal(
      await failure(() =>
        connectNetwork(source, 'cut', { ...none, target: pod.request.netns, ips: ['10.1.1.1'] }),
      ),
      'NETWORK_ADDRESS_OUT_OF_RANGE',
    );
    assert.ok(!existsSync(kept));
    removeNetwork(source, 'cut');
  });
}
