import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  const tunnel = { type: 'vxlan', vni: 42, local: '10.9.0.1', remotes: ['10.9.0.2'], port: 4789 };

  /** Another node with a bridge, a pod on it, and a VXLAN of ip(8): the peer of ours. */
  const node = pods.pod('node');
  shell(
    `ip link add u0 mtu 1500 type veth peer name u1 netns ${node.netns}; ip addr add 10.9.0.1/24 dev u0; ip link set u0 up; ip addr add fd09::1/64 dev u0 nodad`,
  );
  for (const command of [
    'ip addr add 10.9.0.2/24 dev u1',
    'ip addr add fd09::2/64 dev u1 nodad',
    'ip link set u1 up',
    'ip link add vx type vxlan id 42 dstport 4789 local 10.9.0.2 remote 10.9.0.1',
    'ip link add vx6 type vxlan id 43 dstport 4789 local fd09::2 remote fd09::1',
    'ip addr add 10.77.0.9/24 dev vx',
    'ip addr add 10.78.0.9/24 dev vx6',
    'ip link set vx up',
    'ip link set vx6 up',
  ])
    node.run(command);

  const onBridge = (
    name: string,
    bridge: string,
    address: string,
  ): { pod: TestPod; prevResult: CniResult } => {
    const pod = pods.pod(name);
    shell(
      `ip link show ${bridge} >/dev/null 2>&1 || { ip link add ${bridge} type bridge; ip link set ${bridge} up; }`,
    );
    shell(
      `ip link add host${name} type veth peer name eth0 netns ${pod.netns}; ip link set host${name} master ${bridge} up`,
    );
    pod.run(`ip addr add ${address} dev eth0`);
    pod.run('ip link set eth0 up');
    return {
      pod,
      prevResult: {
        interfaces: [{ name: bridge }, { name: `host${name}` }, { name: 'eth0', sandbox: pod.netns }],
        ips: [],
        routes: [],
        dns: {},
      },
    };
  };

  test('a pod reaches a pod of another node, over IPv4 and over IPv6', async () => {
    for (const [name, bridge, config, far, mtu] of [
      ['a', 'ov0', { ...tunnel, master: 'u0' }, '10.77.0.9', 1450],
      [
        'b',
        'ov1',
        { type: 'vxlan', vni: 43, local: 'fd09::1', remotes: ['fd09::2'], master: 'u0' },
        '10.78.0.9',
        1430,
      ],
    ] as const) {
      const { pod, prevResult } = onBridge(name, bridge, `${far.replace(/9$/u, '2')}/24`);
      const result = await pod.add(config, { prevResult });
      assert.ok(pod.run(`busybox ping -c1 -W2 ${far}`));
      assert.deepEqual(
        result.interfaces.map(({ mtu: reported }) => reported),
        [undefined, undefined, mtu, mtu],
      );
      assert.equal(json(pod.run('ip -j link show eth0'))[0]?.['mtu'], mtu);
      assert.ok(pod.run(`busybox ping -c1 -W2 -s ${mtu - 28} ${far}`), 'the largest packet fits');
      assert.deepEqual(await pod.check(config), []);
      await pod.del(config);
      assert.doesNotMatch(shell('ip -o link'), /vxlan4/u);
    }
  });

  test('pods of one bridge share it; it is removed with the last pod', async () => {
    const [one, two] = [onBridge('c', 'ov2', '10.77.0.3/24'), onBridge('d', 'ov2', '10.77.0.4/24')];
    await one.pod.add(tunnel, one);
    await two.pod.add(tunnel, two);
    await one.pod.del(tunnel);
    assert.match(shell('ip -o link'), /vxlan42/u);
    assert.deepEqual(await two.pod.check(tunnel), []);
    one.pod.run('ip link del eth0');
    two.pod.die();
    shell('ip link del hostd 2>/dev/null || true');
    await two.pod.delDead(tunnel);
    assert.doesNotMatch(shell('ip -o link'), /vxlan42/u);
  });

  test('entries and neighbours are created, differences are reported and repaired', async () => {
    const { pod, prevResult } = onBridge('e', 'ov3', '10.77.0.5/24');
    const config = {
      ...tunnel,
      vxlan: 'tunnel0',
      learning: false,
      remotes: ['10.9.0.2', '10.9.0.3'],
      fdb: [{ mac: '02:00:00:00:00:99', remote: '10.9.0.3' }],
      neighbours: [{ mac: '02:00:00:00:00:99', ip: '10.77.0.99' }],
    };
    await pod.add(config, { prevResult });
    assert.match(
      shell('bridge fdb show dev tunnel0'),
      /00:00:00:00:00:00 dst 10\.9\.0\.3[^]*02:00:00:00:00:99 dst 10\.9\.0\.3|02:00:00:00:00:99 dst 10\.9\.0\.3[^]*00:00:00:00:00:00 dst 10\.9\.0\.3/u,
    );
    assert.match(shell('ip neigh show dev tunnel0'), /10\.77\.0\.99 lladdr 02:00:00:00:00:99 PERMANENT/u);
    for (const [spoil, words] of [
      ['bridge fdb del 00:00:00:00:00:00 dev tunnel0 dst 10.9.0.3', /does not send to 10\.9\.0\.3/u],
      ['bridge fdb del 02:00:00:00:00:99 dev tunnel0 dst 10.9.0.3', /does not send to/u],
      ['ip neigh del 10.77.0.99 dev tunnel0', /no neighbour/u],
      ['ip link set tunnel0 nomaster', /is not on ov3/u],
      ['ip link set tunnel0 down', /is down/u],
      ['ip link set tunnel0 mtu 1300', /has the MTU 1300/u],
      ['ip link del tunnel0', /no link tunnel0/u],
    ] as const) {
      shell(spoil);
      assert.match((await pod.check(config)).join('; '), words, spoil);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    await pod.del(config);
  });

  test('impossible settings are refused, and third-party links are not touched', async () => {
    const { pod, prevResult } = onBridge('f', 'ov4', '10.77.0.6/24');
    assert.equal(
      await codeOf(() =>
        pod.add(tunnel, { prevResult: { ...prevResult, interfaces: prevResult.interfaces.slice(1) } }),
      ),
      'NETWORK_BRIDGE_MISSING',
    );
    assert.equal(
      await codeOf(() => pod.add({ ...tunnel, master: 'nowhere' }, { prevResult })),
      'NETWORK_MASTER_MISSING',
    );
    assert.equal(
      await codeOf(() => pod.add({ ...tunnel, master: 'u0', mtu: 1480 }, { prevResult })),
      'NETWORK_MTU_TOO_LARGE',
    );
    shell('ip link add vxlan42 type vxlan id 7 dstport 4789');
    assert.equal(await codeOf(() => pod.add(tunnel, { prevResult })), 'NETWORK_INTERFACE_TAKEN');
    await pod.del(tunnel);
    assert.match(shell('ip -o link'), /vxlan42/u);
    shell('ip link del vxlan42');
  });
}
