import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { messageTypes, optionCodes as codes } from '../dhcp/option-codes.ts';
import { typeOf } from '../dhcp/requests.ts';
import type { DhcpMessage } from '../dhcp/message.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { CniResult } from '../spec/result.ts';
import { dhcpCall } from './dhcp.fixture.ts';
import { be32, startTestServer, usualAnswer } from './dhcp-server.fixture.ts';
import type { ServerAnswer } from './dhcp-server.fixture.ts';

/** The address plugin `dhcp`, and servers that give absurd or changing answers. */

if (inPrivateNetns(import.meta.filename, 300_000)) {
  const fixture = createFixture();
  shell('ip link add ts0 type veth peer name ts1; ip link set ts0 up; ip link set ts1 up');
  const engine = await fixture.engine();
  const conf = { type: 'portcullis-macvlan', master: 'ts0', ipam: { type: 'portcullis-dhcp' } };
  const call = (
    verb: PluginCall['verb'],
    id: string,
    more: Partial<PluginCall> = {},
  ): Promise<CniResult | undefined> => engine.callPlugin(dhcpCall(fixture.folder, verb, conf, id, more));
  const add = async (id: string): Promise<CniResult> => {
    const result = await call('add', id);
    if (result === undefined) assert.fail('the ADD has no result');
    return result;
  };
  const serve = (
    answer: (request: DhcpMessage) => readonly ServerAnswer[],
  ): ReturnType<typeof startTestServer> => startTestServer('ts1', answer);
  const documents = (): string[] => fixture.rows('SELECT document FROM dhcp_lease');

  /** Offers that must be refused or ignored. The server sends each before a usable one. */
  const absurd: readonly Partial<ServerAnswer>[] = [
    { address: '0.0.0.0' },
    { address: '127.0.0.1' },
    { address: '224.0.0.5' },
    { address: '10.77.0.255' },
    { mask: '0.0.0.0' },
    { mask: '255.0.255.0' },
    { seconds: 0 },
    { change: (message) => ({ ...message, xid: (message.xid ^ 1) >>> 0 }) },
    { change: (message) => ({ ...message, hardware: Buffer.alloc(6, 2) }) },
    { change: (message) => ({ ...message, op: 1 }) },
    { change: (message) => ({ ...message, options: new Map() }) },
  ];

  test('absurd and forged answers are passed over, and a usable one is taken', async () => {
    const server = serve((request) => [
      ...absurd.flatMap((changes) => usualAnswer(request, { address: '10.77.0.99', ...changes })),
      // Another server confirms or refuses what it was not asked for.
      ...(typeOf(request) === messageTypes.request
        ? [
            ...usualAnswer(request, { server: '10.77.0.2' }),
            ...usualAnswer(request, { server: '10.77.0.2', type: messageTypes.nak }),
            ...usualAnswer(request, { address: '10.77.0.61' }),
          ]
        : []),
      ...usualAnswer(request),
    ]);
    const pod = fixture.pod('absurd');
    const result = await add('absurd');
    assert.deepEqual(result.ips, [{ address: '10.77.0.60/24', gateway: '10.77.0.1', interface: 0 }]);
    assert.ok(pod.run('ip -4 -o address show dev eth0')?.includes(' 10.77.0.60/24 '));
    await call('del', 'absurd');
    await eventually(() => server.received.at(-1) === messageTypes.release || undefined);
    server.close();
  });

  const hasVlans =
    tried('ip link add link ts1 name ts1v type vlan id 7 && ip link set ts1v up') !== undefined;
  shell('ip link add hd0 type veth peer name hd1; ip link set hd1 up');
  const others = [
    { type: 'portcullis-vlan', fields: { master: 'ts0', vlanId: 7 }, link: 'ts1v', isThere: hasVlans },
    { type: 'portcullis-host-device', fields: { device: 'hd0' }, link: 'hd1', isThere: true },
  ];
  for (const { type, fields, link, isThere } of others)
    test(`a lease for ${type}`, { skip: isThere ? false : 'the kernel has no VLANs' }, async () => {
      const server = startTestServer(link, (request) => usualAnswer(request));
      const pod = fixture.pod(type);
      const config = { cniVersion: '1.1.0', name: 'net', type, ...fields, ipam: conf.ipam };
      const more = { type, config: JSON.stringify(config) };
      const result = await call('add', type, more);
      assert.equal(result?.ips[0]?.address, '10.77.0.60/24');
      assert.ok(pod.run('ip -4 -o address show dev eth0')?.includes(' 10.77.0.60/24 '));
      await call('check', type, { ...more, ...(result !== undefined && { prevResult: result }) });
      await call('del', type, more);
      await eventually(() => server.received.at(-1) === messageTypes.release || undefined);
      assert.deepEqual(documents(), []);
      server.close();
    });

  test('routes are at most 64, and those through routers outside of the subnet are left out', async () => {
    const route = (third: number, gateway: number): Buffer =>
      Buffer.concat([Buffer.of(24, 11, third >>> 8, third & 255), be32(gateway)]);
    const inside = 0x0a4d0001;
    const routes = Buffer.concat([
      route(1, 0xc0000201),
      ...Array.from({ length: 130 }, (_, at) => route(at + 2, inside)),
    ]);
    const server = serve((request) =>
      usualAnswer(request, { options: [[codes.classlessRoutes, routes]], router: '192.0.2.1' }),
    );
    const pod = fixture.pod('routes');
    const result = await add('routes');
    assert.equal(result.routes.length, 63);
    assert.equal(result.ips[0]?.gateway, undefined);
    assert.equal(pod.run('ip route')?.match(/ via 10\.77\.0\.1 /gu)?.length, 63);
    await call('del', 'routes');
    server.close();
  });

  test('a server whose answers are all unusable fails the ADD with the reason', async () => {
    const server = serve((request) => usualAnswer(request, { mask: '0.0.0.0' }));
    const pod = fixture.pod('unusable');
    await assert.rejects(call('add', 'unusable'), (thrown: Error) => {
      assert.match(thrown.message, /NETWORK_DHCP_NO_LEASE/u);
      assert.match(thrown.message, /its subnet mask 0\.0\.0\.0 is not one of/u);
      return true;
    });
    assert.doesNotMatch(pod.run('ip -o link') ?? '', /eth0/u);
    assert.deepEqual(documents(), []);
    server.close();
  });

  test('a flood of datagrams to the port of the client does not stop other calls', async () => {
    const server = serve((request) =>
      typeOf(request) === messageTypes.discover
        ? Array.from({ length: 400 }, () => usualAnswer(request, { seconds: 0 })).flat()
        : [],
    );
    fixture.pod('flooded');
    const failing = assert.rejects(call('add', 'flooded'), /NETWORK_DHCP_NO_LEASE/u);
    const started = performance.now();
    await call('status', '', { netns: '' });
    assert.ok(performance.now() - started < 2000);
    await call('del', 'flooded');
    await failing;
    server.close();
  });

  test('any number of answers to other clients does not stop a client', async () => {
    const server = serve((request) => [
      ...Array.from({ length: 400 }, () =>
        usualAnswer(request, { change: (message) => ({ ...message, hardware: Buffer.alloc(6, 2) }) }),
      ).flat(),
      ...usualAnswer(request),
    ]);
    const pod = fixture.pod('crowd');
    await add('crowd');
    assert.deepEqual(server.received, [messageTypes.discover, messageTypes.request]);
    assert.ok(pod.run('ip -4 -o address show dev eth0')?.includes(' 10.77.0.60/24 '));
    await call('del', 'crowd');
    server.close();
  });

  test('a refused lease is lost: the address is removed, CHECK reports it, and a new one is taken', async () => {
    let refuses = false;
    let offers = true;
    const server = serve((request) => {
      const isRenewal = request.clientAddress !== 0;
      if (isRenewal && refuses) return usualAnswer(request, { type: messageTypes.nak });
      return offers ? usualAnswer(request, { address: refuses ? '10.77.0.70' : '10.77.0.60' }) : [];
    });
    const pod = fixture.pod('refused');
    const prevResult = await add('refused');
    const addresses = (): string => pod.run('ip -4 -o address show dev eth0') ?? '';
    await call('check', 'refused', { prevResult });
    refuses = true;
    offers = false;
    await eventually(() => !addresses().includes('10.77.0.60') || undefined, 30_000);
    await assert.rejects(call('check', 'refused', { prevResult }), /the DHCP lease is lost: 10\.77\.0\.60/u);
    offers = true;
    await eventually(() => addresses().includes(' 10.77.0.70/24 ') || undefined, 60_000);
    assert.match(pod.run('ip route') ?? '', /default via 10\.77\.0\.1/u);
    // The caller still believes in the former address.
    await assert.rejects(
      call('check', 'refused', { prevResult }),
      /prevResult has no address 10\.77\.0\.70/u,
    );
    await call('del', 'refused');
    assert.deepEqual(documents(), []);
    server.close();
  });

  test('a lease that no server renews ends, and its address is removed', async () => {
    const server = serve((request) => usualAnswer(request));
    const pod = fixture.pod('ends');
    await add('ends');
    server.close();
    await eventually(
      () => !(pod.run('ip -4 -o address show dev eth0') ?? '').includes('10.77.0.60') || undefined,
      40_000,
    );
    // The record follows the link.
    await eventually(() => /no server renewed it/u.test(documents()[0] ?? '') || undefined, 10_000);
    await call('del', 'ends');
  });

  test('end', async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });
}
