import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { conflist, createFixture, inPrivateNetns, shell } from './engine.fixture.ts';
import type { Fixture } from './engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, PluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import type { AttachRequest, NetworkEngine } from '../types.ts';
import { isListenedAt, portUse, sctpPortsIn } from '../database/host-sockets.ts';

/** Requests of a pod that affect its host or its neighbours on a network: ports, services, MAC addresses. */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let plugins: PluginFixture;
  before(async () => {
    const ingress = { namespaces: ['shop'], ports: ['30000-32767', '22', '10250'] };
    fixture = createFixture(
      conflist({ capabilities: { aliases: true, services: true }, ingress, servicesPerNamespace: 2 }),
    );
    engine = await fixture.engine();
    plugins = createPluginFixture();
    const script = `const net = require('node:net'), udp = require('node:dgram');
      net.createServer().listen(10250, '127.0.0.2'); net.createServer().listen(31000, '::1');
      udp.createSocket({ type: 'udp4', reuseAddr: true }).bind(5300, '127.0.0.53', () => {});`;
    fixture.start(process.execPath, '-e', script);
    // A look that binds the port would take it from the program that is about to listen there.
    const isServed = (protocol: 'tcp' | 'udp', port: number, list: string = protocol): boolean =>
      portUse(protocol, port, readFileSync(`/proc/net/${list}`, 'utf8').split('\n')) === 'server';
    for (const late = Date.now() + 60_000; ;) {
      if (isServed('tcp', 10_250) && isServed('udp', 5300) && isServed('tcp', 31_000, 'tcp6')) break;
      if (Date.now() > late) assert.fail('nobody listens');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
  after(async () => {
    await engine.close({ removeAll: true });
    await plugins.end();
    fixture.end();
  });

  const request = (
    name: string,
    namespace: string,
    services: readonly object[],
    more: Partial<AttachRequest> = {},
  ): AttachRequest => {
    const pod = fixture.pod(name, { ...more, capabilities: { services } }).request;
    return { ...pod, pod: { ...pod.pod, namespace } };
  };
  const refused = async (asked: AttachRequest, code: string, why: RegExp): Promise<void> => {
    const outside = fixture.kernelState();
    await assert.rejects(engine.attach(asked), (thrown: Error & { code?: string; kind?: string }) => {
      assert.equal(thrown.code, code, thrown.message);
      assert.match(thrown.message, why);
      return true;
    });
    assert.equal(fixture.kernelState(), outside, 'nothing outside the pod changed');
    assert.deepEqual(fixture.rows(`SELECT 1 FROM attachment WHERE container_id = '${asked.id}'`), []);
    assert.deepEqual(fixture.rows('SELECT 1 FROM service_node_port UNION ALL SELECT 1 FROM host_port'), []);
  };

  test('ingress ports open only if the network file allows it: for its namespaces, in its ranges, from 1024, and not at ports of host programs', async () => {
    const asking = (...ingressPorts: string[]): object[] => [{ name: 'x', ingressPorts }];
    const closed = 'NETWORK_SERVICE_INGRESS_CLOSED';
    await refused(
      request('a1', 'shop', asking('22:2222', '10250:8443', '53:5353/udp')),
      closed,
      /22\/tcp.*below 1024/u,
    );
    await refused(request('a2', 'shop', asking('10250:8443')), closed, /10250\/tcp.*program of the host/u);
    await refused(request('a3', 'shop', asking('31000:80')), closed, /31000\/tcp.*program of the host/u);
    await refused(request('a4', 'shop', asking('5300:80/udp')), closed, /5300\/udp/u);
    await refused(request('a5', 'evil', asking('30080:80')), closed, /to evil/u);
  });

  test('a host port below 1024, or one that a program of the host uses, is refused', async () => {
    const mapped = (hostPort: number, protocol: 'tcp' | 'udp'): Partial<AttachRequest> => ({
      portMappings: [{ protocol, hostPort, containerPort: 80 }],
    });
    await refused(
      request('b1', 'shop', [], mapped(53, 'udp')),
      'NETWORK_HOST_PORT_CLOSED',
      /53\/udp.*below 1024/u,
    );
    await refused(
      request('b2', 'shop', [], mapped(5300, 'udp')),
      'NETWORK_HOST_PORT_CLOSED',
      /5300\/udp.*program of the host/u,
    );
    await refused(
      request('b3', 'shop', [], mapped(10_250, 'tcp')),
      'NETWORK_HOST_PORT_CLOSED',
      /10250\/tcp.*program of the host/u,
    );
  });

  test('a service belongs to the namespace of its first member, and the number of services of a namespace is limited', async () => {
    const first = request('c1', 'shop', [{ name: 'web', ports: [80] }]);
    await engine.attach(first);
    const strange = request('c2', 'evil', [{ name: 'web', ports: [80] }]);
    await assert.rejects(engine.attach(strange), { code: 'NETWORK_SERVICE_OTHER_NAMESPACE', kind: 'denied' });
    const more = request('c3', 'shop', [{ name: 'two', ports: [80] }]);
    await engine.attach(more);
    await assert.rejects(engine.attach(request('c4', 'shop', [{ name: 'three', ports: [80] }])), {
      code: 'NETWORK_SERVICES_EXHAUSTED',
      kind: 'exhausted',
    });
    await engine.close({ removeAll: false });
    engine = await fixture.engine();
    await assert.rejects(
      engine.attach(strange),
      { code: 'NETWORK_SERVICE_OTHER_NAMESPACE' },
      'after a restart',
    );
    await engine.detach(first.id);
    await engine.attach(strange);
    for (const each of [strange, more]) await engine.detach(each.id);
  });

  test('a MAC address of another interface, of the bridge, of a host link, or of the range that we assign is refused', async () => {
    const wanting = (mac: string): Conf =>
      bridgeConf({ bridge: 'br5', runtimeConfig: { mac }, capabilities: { mac: true } });
    const of = (id: string): { id: string; netns: string } => ({ id, netns: plugins.pin(id) });
    const first = await plugins.add([wanting('02:00:00:00:00:05')], of('m1'));
    const bridge = first.interfaces[0]?.mac ?? '';
    shell('ip link add strange type bridge; ip link set strange address 02:00:00:00:00:09');
    for (const [at, mac] of [
      '02:00:00:00:00:05',
      '02:00:00:00:00:05'.toUpperCase(),
      bridge,
      '02:00:00:00:00:09',
    ].entries())
      await assert.rejects(plugins.add([wanting(mac)], of(`m${at + 2}`)), { code: 'NETWORK_MAC_TAKEN' }, mac);
    const args = { K8S_POD_NAMESPACE: 'evil', K8S_POD_NAME: 'x' };
    await assert.rejects(
      plugins.call('add', wanting('0a:58:0a:5a:00:63'), of('m8'), { args }),
      { code: 'NETWORK_MAC_TAKEN' },
      'that of the next pod',
    );
    for (const mac of ['01:00:5e:00:00:01', '00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff'])
      await assert.rejects(
        plugins.add([wanting(mac)], of(`bad${mac.slice(0, 2)}`)),
        { code: 'NETWORK_CONFIG_INVALID' },
        mac,
      );
    const other = await plugins.add([wanting('02:00:00:00:00:06')], of('m9'));
    assert.equal(other.interfaces.at(-1)?.mac, '02:00:00:00:00:06');
  });

  test('a host port at an address that the host does not have yet belongs to the program that listens at every address', async () => {
    for (const host of ['0.0.0.0', '::']) {
      const server = createServer().listen(0, host);
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const isHeld = (hostIp: string, at = port): boolean =>
        isListenedAt({ protocol: 'tcp', port: at, hostIp });
      const family = host === '::' ? 'fd00:99::1' : '192.0.2.77';
      assert.deepEqual([isHeld(family), isHeld('fe80::1')], [true, host === '::'], host);
      server.close();
      await once(server, 'close');
      assert.equal(isHeld(family), false, 'no program listens any longer');
    }
    const udp = createSocket('udp4').bind(0);
    await once(udp, 'listening');
    assert.equal(isListenedAt({ protocol: 'udp', port: udp.address().port, hostIp: '192.0.2.77' }), true);
    udp.close();
  });

  test('the local port of an outgoing connection does not count as a port of a program', async () => {
    const isHeld = (protocol: 'tcp' | 'udp', port = 0): boolean[] =>
      ['', '127.0.0.1'].map((hostIp) => isListenedAt({ protocol, port, hostIp }));
    const client = connect(10_250, '127.0.0.2');
    await once(client, 'connect');
    assert.deepEqual(isHeld('tcp', client.localPort), [false, false]);
    client.destroy();
    const asking = createSocket('udp4');
    asking.connect(5300, '127.0.0.53');
    await once(asking, 'connect');
    assert.deepEqual(isHeld('udp', asking.address().port), [false, false]);
    asking.close();
    assert.deepEqual(
      [
        isListenedAt({ protocol: 'tcp', port: 10_250, hostIp: '127.0.0.2' }),
        isListenedAt({ protocol: 'udp', port: 5300, hostIp: '' }),
      ],
      [true, true],
    );
  });

  test('the program that serves a port is read from the kernel’s list of sockets', () => {
    const head = '  sl  local_address rem_address   st tx_queue rx_queue';
    const row = (local: string, remote: string, state: string): string =>
      `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000`;
    const client = row('0100007F:9C40', '0200007F:280A', '01');
    assert.equal(
      portUse('tcp', 40_000, [head, client, row('00000000:9C40', '00000000:0000', '0A')]),
      'server',
    );
    assert.equal(
      portUse('tcp', 40_000, [head, client, row('00000000:9C41', '00000000:0000', '0A')]),
      'client',
    );
    assert.equal(portUse('tcp', 10_250, [head, client]), undefined, 'the port of the peer');
    assert.equal(portUse('udp', 40_000, [head, row('0100007F:9C40', '00000000:0000', '07')]), 'server');
    assert.equal(
      portUse('udp', 40_000, [head, row(`${'0'.repeat(32)}:9C40`, `${'0'.repeat(31)}1:0035`, '01')]),
      'client',
    );
  });

  test('endpoints of SCTP are read as the kernel lists them', () => {
    const eps =
      ' ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\nffff8881 ffff8882 2   10  29   3868    0   4711 0.0.0.0\n';
    assert.deepEqual([...sctpPortsIn(eps)], [3868]);
    assert.deepEqual([...sctpPortsIn('')], []);
  });
}
