import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { NETLINK_GENERIC } from '../../../base/kernel/index.ts';
import { openNetlink } from '../../../base/netlink/index.ts';
import { becomeRouter, openHost, shell } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import { openIpvsBalancer } from './balancer.ts';
import type { IpvsBalancer } from './balancer.ts';
import { openIpvsKernel } from './kernel.ts';
import { destinationsOf, serviceOf } from './plan.ts';
import { ipvsSysctls, canBalanceByIpvs, openIpvs } from './settings.ts';
import { webServer } from '../virtual-server.fixture.ts';

const absent = canBalanceByIpvs();

test(
  'a kernel without IPVS is reported with its own error code, and nothing is created',
  { skip: absent === undefined && 'this kernel has IPVS' },
  () => {
    assert.throws(openIpvsBalancer, (thrown) => {
      assert.ok(isPortcullisError(thrown));
      assert.equal(thrown.code, 'NETWORK_IPVS_MISSING');
      assert.match(thrown.message, /no IPVS/u);
      assert.match(thrown.message, /--backend nftables/u);
      return true;
    });
    assert.doesNotMatch(shell('ip -br link; nft list tables'), /portcullis/u);
  },
);

/** Returns the backend's answer to a connection of the host itself, from one of its addresses. */
async function greeted(address: string, port: number, localAddress?: string): Promise<string> {
  const socket = connect({ host: address, port, ...(localAddress !== undefined && { localAddress }) });
  const [data] = (await once(socket, 'data')) as [Buffer];
  socket.resetAndDestroy();
  return data.toString();
}

const server = (more: Partial<VirtualServer> = {}): VirtualServer => ({
  ...webServer,
  ...more,
});

describe('on a kernel with IPVS', { skip: absent, timeout: 240_000 }, () => {
  let balancer: IpvsBalancer;
  let client: TestHost;
  const backends: TestHost[] = [];
  before(async () => {
    becomeRouter();
    client = await openHost('client', 1, 2);
    for (const number of [11, 12]) {
      const backend = await openHost(`b${number}`, 2, number);
      await backend.serve('udp', '0.0.0.0', 8053);
      await backend.serve('tcp', '::', 8080);
      backends.push(backend);
    }
    balancer = openIpvsBalancer();
  });
  after(async () => {
    balancer.close();
    for (const host of [client, ...backends]) await host.stop();
  });

  test('sysctls and timeouts have the documented values', () => {
    for (const [name, value] of Object.entries(ipvsSysctls))
      assert.equal(readFileSync(`/proc/sys/net/ipv4/vs/${name}`, 'utf8').trim(), String(value), name);
  });

  test('a scheduler that the kernel lacks is named, also when a service gets it later', () => {
    using generic = openNetlink(NETLINK_GENERIC);
    const kernel = openIpvsKernel(generic, openIpvs(generic));
    const service = serviceOf(server({ address: '10.96.0.6' }));
    const missing = { code: 'NETWORK_IPVS_SCHEDULER_MISSING', message: /scheduler absent/u };
    const destinations = destinationsOf(server());
    try {
      assert.throws(() => kernel.put({ ...service, scheduler: 'absent' }, destinations), missing);
      kernel.put(service, []);
      assert.throws(() => kernel.put({ ...service, scheduler: 'absent' }, destinations), missing);
    } finally {
      kernel.deleteService(service.key);
    }
  });

  test('a hash of the client reaches all backends, also if their weights add up to more than IPVS has slots', async () => {
    const sources = Array.from({ length: 24 }, (_, index) => `10.5.0.${index + 1}`);
    shell(sources.map((address) => `ip address add ${address}/32 dev lo`).join('; '));
    const destinations = [11, 12].map((number) => ({ address: `10.2.0.${number}`, port: 8080, weight: 256 }));
    const hashed = server({ address: '10.96.0.5', scheduler: 'sh', destinations });
    balancer.reconcile([hashed]);
    const answers = new Set<string>();
    for (const source of sources) answers.add((await greeted('10.96.0.5', 80, source)).slice(0, 3));
    balancer.change([], [keyOf(hashed)]);
    shell(sources.map((address) => `ip address delete ${address}/32 dev lo`).join('; '));
    assert.deepEqual([...answers].toSorted(), ['b11', 'b12']);
  });

  test('connections are balanced over IPv4 and IPv6, backends see the client, and an unknown port is refused', async () => {
    const six = server({
      family: 6,
      address: 'fd96::1',
      destinations: [11, 12].map((number) => ({ address: `fd02::${number}`, port: 8080, weight: 1 })),
    });
    assert.equal(balancer.reconcile([server(), six]), 2);
    assert.equal(balancer.reconcile([server(), six]), 0, 'nothing differs any more');
    assert.deepEqual((await client.greet('10.96.0.1', 80, 4)).toSorted(), [
      'b11 10.1.0.2',
      'b11 10.1.0.2',
      'b12 10.1.0.2',
      'b12 10.1.0.2',
    ]);
    assert.deepEqual((await client.greet('fd96::1', 80, 2)).toSorted(), ['b11 fd01::2', 'b12 fd01::2']);
    assert.deepEqual(await client.greet('10.96.0.1', 81), ['ECONNREFUSED']);
    const counted = (): bigint | undefined =>
      balancer
        .counts()
        .find(({ key }) => key === keyOf(server()))
        ?.destinations.reduce((sum, { connections = 0n }) => sum + connections, 0n);
    // IPVS adds up the counts of its processors only now and then.
    for (let at = 0; at < 300 && counted() !== 4n; at += 1)
      await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(counted(), 4n);
  });

  test('UDP, a node port at every address, hairpin connections and connections of the host itself are balanced', async () => {
    const udp = server({
      protocol: 'udp',
      port: 53,
      destinations: [{ address: '10.2.0.11', port: 8053, weight: 1 }],
    });
    const { address: _, ...rest } = server({ kind: 'node', port: 30080 });
    const node: VirtualServer = rest;
    balancer.change([udp, node], []);
    assert.equal(await client.ask('10.96.0.1', 53, 1), 'b11 10.1.0.2');
    assert.match((await client.greet('10.1.0.1', 30080))[0] ?? '', /^b1[12] 10\.1\.0\.2$/u);
    assert.match((await client.greet('10.2.0.1', 30080))[0] ?? '', /^b1[12] 10\.1\.0\.2$/u);
    // In both ways, to the other backend and to itself.
    for (const answer of await backends[0]!.greet('10.96.0.1', 80, 2))
      assert.match(answer, /^b1[12] 10\.2\.0\.1$/u);
    for (const answer of await backends[0]!.greet('10.2.0.1', 30080, 2))
      assert.match(answer, /^b1[12] 10\.2\.0\.1$/u);
    for (const [address, port] of [
      ['10.96.0.1', 80],
      ['10.1.0.1', 30080],
    ] as const)
      assert.match(await greeted(address, port), /^b1[12] 10\.2\.0\.1\n$/u);
    balancer.change([], [keyOf(udp), keyOf(node)]);
    assert.deepEqual(await client.greet('10.1.0.1', 30080), ['ECONNREFUSED']);
  });

  test('a listener of the host cannot be reached at a virtual address, but at the host’s own addresses, served or not; node ports as well', async () => {
    const own = createServer((socket) => socket.on('error', () => socket.destroy()).end('host itself\n'));
    await new Promise<void>((resolve) => own.listen(83, '::', resolve));
    const ofHost = server({ address: '10.1.0.1', port: 90 });
    try {
      for (const address of ['10.96.0.1', 'fd96::1'])
        assert.deepEqual(await client.greet(address, 83), ['ECONNREFUSED'], address);
      await assert.rejects(greeted('10.96.0.1', 83), /ECONNREFUSED/u);
      assert.deepEqual(await client.greet('10.1.0.1', 83), ['host itself']);
      balancer.change([ofHost], []);
      for (const bring of [() => undefined, () => balancer.reconcile([server(), ofHost])]) {
        bring();
        assert.match((await client.greet('10.1.0.1', 90))[0] ?? '', /^b1[12] 10\.1\.0\.2$/u);
        assert.deepEqual(await client.greet('10.1.0.1', 83), ['host itself']);
        assert.deepEqual(await client.greet('10.96.0.1', 83), ['ECONNREFUSED']);
      }
      const { address: _, ...node } = server({ kind: 'node', port: 30080 });
      for (const bring of [
        () => balancer.change([node], []),
        () => balancer.reconcile([server(), ofHost, node]),
      ]) {
        bring();
        assert.match(
          (await client.greet('10.1.0.1', 30080))[0] ?? '',
          /^b1[12] 10\.1\.0\.2$/u,
          'a node port',
        );
        assert.deepEqual(await client.greet('10.96.0.1', 30080), ['ECONNREFUSED']);
      }
      balancer.change([], [keyOf(ofHost), keyOf(node)]);
      assert.deepEqual(await client.greet('10.1.0.1', 83), ['host itself']);
    } finally {
      own.close();
    }
  });

  test('the count of packets that source ranges denied continues, whichever balancer restores the kernel', async () => {
    const restricted = server({ port: 82, sourceRanges: ['198.51.100.0/24'] });
    const denied = (by: IpvsBalancer): bigint =>
      by.counts().find(({ key }) => key === keyOf(restricted))?.denied ?? -1n;
    balancer.change([restricted], []);
    assert.equal(denied(balancer), 0n);
    client.run('timeout 3 bash -c "exec 3<>/dev/tcp/10.96.0.1/82" || true');
    const counted = denied(balancer);
    assert.ok(counted > 0n, String(counted));
    const existing = [server(), restricted];
    balancer.reconcile(existing);
    assert.equal(denied(balancer), counted);
    const next = openIpvsBalancer();
    try {
      next.reconcile(existing);
      assert.equal(denied(next), counted);
    } finally {
      next.close();
    }
    balancer.reconcile([server()]);
  });

  test('a backend with weight 0 keeps its connections and gets no new ones; cut ends connections', async () => {
    const stream = await client.stream('10.96.0.1', 80);
    const [name = ''] = stream.greeting.split(' ');
    const number = Number(name.slice(1));
    const drained = server({
      destinations: server().destinations.map((each) => ({
        ...each,
        weight: each.address.endsWith(String(number)) ? 0 : 1,
      })),
    });
    balancer.change([drained], []);
    const others = await client.greet('10.96.0.1', 80, 3);
    assert.ok(
      others.every((answer) => !answer.startsWith(name)),
      others.join(),
    );
    const early = (await client.report(stream.id))!;
    let later = early;
    for (let at = 0; at < 300 && later.received <= early.received && later.failure === undefined; at += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      later = (await client.report(stream.id))!;
    }
    assert.ok(
      later.received > early.received && later.failure === undefined && later.inOrder,
      JSON.stringify(later),
    );
    assert.ok(balancer.standing() > 0);
    assert.ok(balancer.cut(keyOf(drained), { address: `10.2.0.${number}`, port: 8080 }) >= 1);
    for (let at = 0; at < 200 && (await client.report(stream.id))?.failure === undefined; at += 1)
      await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await client.report(stream.id))?.failure, 'ECONNRESET');
    await client.end(stream.id);
    balancer.change([server()], []);
    assert.equal(new Set(await client.greet('10.96.0.1', 80, 4)).size, 2);
  });

  test('a foreign service is not changed; an unwanted service at our address is removed, whichever program created it', async () => {
    const other = openIpvsBalancer();
    try {
      other.reconcile([server()]);
      const before = shell('cat /proc/net/ip_vs');
      assert.match(before, /0A600001:0050/u);
      assert.equal(other.reconcile([server({ address: '10.96.0.2' })]), 2);
      const after = shell('cat /proc/net/ip_vs');
      assert.doesNotMatch(after, /0A600001:0050/u);
      assert.match(after, /0A600002:0050/u);
      assert.deepEqual((await client.greet('10.96.0.2', 80, 2)).toSorted(), ['b11 10.1.0.2', 'b12 10.1.0.2']);
      balancer.reconcile([server(), server({ port: 81, destinations: [] })]);
      assert.deepEqual(await client.greet('10.96.0.1', 81), ['ECONNREFUSED'], 'no backends');
    } finally {
      other.close();
    }
  });

  test('nothing of ours is left', () => {
    balancer.removeAll();
    assert.doesNotMatch(shell('ip -br link; nft list tables'), /portcullis/u);
    assert.doesNotMatch(shell('cat /proc/net/ip_vs'), /0A6000/u);
  });
});
