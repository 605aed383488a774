import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { FurtherNetwork, NetworkEngine } from '../types.ts';
import { conflist, createFixture, eventually, inPrivateNetns, tried } from './engine.fixture.ts';
import type { Pod } from './engine.fixture.ts';

/** Networks that a pod requests beside the one of every pod. */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const fixture = createFixture(conflist({ capabilities: { aliases: true } }));
  let engine: NetworkEngine | undefined;
  after(async () => {
    await engine?.close({ removeAll: true });
    fixture.end();
  });
  const further = (name: string, subnet: string, podNamespaces: readonly string[]): void =>
    writeFileSync(
      join(fixture.confDir, `50-${name}.conflist`),
      JSON.stringify({
        cniVersion: '1.0.0',
        name,
        podNamespaces,
        plugins: [
          {
            type: 'portcullis-bridge',
            bridge: `br-${name}`,
            isGateway: true,
            capabilities: { aliases: true, ips: true, mac: true },
            ipam: { type: 'portcullis-ipam', ranges: [[{ subnet }]] },
          },
        ],
      }),
    );
  further('shop', '10.85.0.0/24', ['default']);
  further('open', '10.86.0.0/24', ['*']);
  further('shut', '10.87.0.0/24', ['elsewhere']);
  const { rows } = fixture;
  const attach = async (pod: Pod, networks: readonly FurtherNetwork[]): Promise<string> => {
    engine ??= await fixture.engine();
    try {
      await engine.attach({ ...pod.request, networks, capabilities: { aliases: [pod.request.pod.name] } });
      return 'attached';
    } catch (thrown) {
      if (isPortcullisError(thrown)) return thrown.code;
      throw thrown;
    }
  };

  test('get their own interfaces with the requested addresses, survive a restart and end with the pod', async () => {
    const [a, b] = [fixture.pod('a'), fixture.pod('b')];
    assert.equal(
      await attach(a, [
        { network: 'shop', ips: ['10.85.0.77'], mac: '02:00:00:00:85:77' },
        { network: 'open', interface: 'open0' },
      ]),
      'attached',
    );
    assert.equal(await attach(b, [{ network: 'shop' }]), 'attached');
    assert.equal(b.run('busybox ping -c1 -W1 10.85.0.77'), undefined);
    for (const pod of [a, b]) await engine?.setClass(pod.request.id, 'user');
    assert.match(a.run('ip -o addr show net1') ?? '', /10\.85\.0\.77\/24/u);
    assert.match(a.run('ip -o link show net1') ?? '', /02:00:00:00:85:77/u);
    assert.match(a.run('ip -o addr show open0') ?? '', /10\.86\.0\.2\/24/u);
    assert.ok(b.run('busybox ping -c1 -W5 10.85.0.77') !== undefined);
    // The rules of the pod apply to each of its interfaces, with its own addresses.
    const peer = { direction: 'egress', peer: '10.85.0.77', protocol: 'tcp', port: 80 } as const;
    const outcome = async (): Promise<unknown> =>
      (await engine?.explain({ pod: b.request.id, connection: peer }))?.outcome;
    assert.equal(await outcome(), 'allowed');
    assert.equal(b.run('busybox ping -c1 -W1 -I 10.88.0.3 10.85.0.77'), undefined);
    const only = { cidr: '10.85.0.78/32', protocol: 'icmp', ports: { low: 0, high: 65535 } } as const;
    await engine?.setClass(b.request.id, 'user', { egress: [only] });
    assert.equal(b.run('busybox ping -c1 -W1 10.85.0.77'), undefined);
    assert.equal(await outcome(), 'denied');
    const denials = (await engine?.denials()) ?? [];
    assert.deepEqual(
      [...new Set(denials.filter(({ id }) => id === b.request.id).map(({ rule }) => rule))].sort(),
      ['network.address', 'network.egress', 'network.none'],
    );
    await engine?.setClass(a.request.id, 'user', { ingress: [] });
    await engine?.setClass(b.request.id, 'user');
    assert.equal(b.run('busybox ping -c1 -W1 10.85.0.77'), undefined);
    await engine?.setClass(a.request.id, 'user');
    assert.ok(b.run('busybox ping -c1 -W5 10.85.0.77') !== undefined);
    assert.deepEqual(
      rows("SELECT DISTINCT network, name FROM name WHERE name LIKE '%.default' ORDER BY network, name"),
      ['open a.default', 'pods a.default', 'pods b.default', 'shop a.default', 'shop b.default'],
    );
    await engine?.close({ removeAll: false });
    engine = await fixture.engine();
    await engine.gc(new Set([a.request.id, b.request.id]));
    assert.ok(b.run('busybox ping -c1 -W5 10.85.0.77') !== undefined);
    for (const pod of [a, b]) await engine.detach(pod.request.id);
    assert.equal(a.run('ip link show net1'), undefined);
    assert.deepEqual(rows("SELECT network FROM attachment WHERE network <> 'pods'"), []);
    assert.deepEqual(rows('SELECT * FROM name'), []);
  });

  test('leave nothing of the pod if one is missing, not open to its namespace, or has a taken interface name', async () => {
    for (const [networks, code] of [
      [[{ network: 'nowhere' }], 'NETWORK_UNKNOWN'],
      [[{ network: 'shut' }], 'NETWORK_NOT_OPEN'],
      [[{ network: 'pods' }], 'NETWORK_NOT_OPEN'],
      [[{ network: 'shop', interface: 'eth0' }], 'NETWORK_INTERFACE_INVALID'],
      [[{ network: 'shop', interface: '../x' }], 'NETWORK_INTERFACE_INVALID'],
      [
        [
          { network: 'shop', interface: 'x' },
          { network: 'open', interface: 'x' },
        ],
        'NETWORK_INTERFACE_INVALID',
      ],
      [[{ network: 'open' }, { network: 'shop', ips: ['10.99.0.1'] }], 'NETWORK_ADDRESS_OUT_OF_RANGE'],
      // Arguments that no plugin can read do not prevent the removal of what the earlier plugins created.
      [
        [
          { network: 'open', mac: '02:00:00:00:86:01' },
          { network: 'shop', ips: ['10.85.0.999'] },
        ],
        'NETWORK_CONFIG_INVALID',
      ],
      [[{ network: 'open' }, { network: 'shop', mac: 'none' }], 'NETWORK_CONFIG_INVALID'],
    ] as const) {
      const pod = fixture.pod(
        `p${code}${networks[0].network}${networks.length}${JSON.stringify(networks).length}`
          .toLowerCase()
          .replaceAll('_', '')
          .slice(0, 40),
      );
      assert.equal(await attach(pod, networks), code);
      await engine?.detach(pod.request.id);
      await eventually(() => (pod.run('ip link show eth0') === undefined ? true : undefined));
      await eventually(() => (tried('ip -o link show type veth') === '' ? true : undefined));
      tried(`umount ${pod.request.netns}`);
    }
    assert.deepEqual(rows("SELECT network FROM attachment WHERE network <> 'pods'"), []);
  });
}
