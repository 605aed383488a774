import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, afterEach, before, test } from 'node:test';
import { eventually, inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { createPluginFixture } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of, PluginFixture } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';

/**
 * Tests the effects of the bridge plugin's fields on ports and bridge, next to the upstream plugin where that
 * is installed.
 */
const upstream = `${process.env['PEERS'] ?? '/var/cache/portcullis-peers'}/bin/cni/bridge`;

if (inPrivateNetns(import.meta.filename, 600_000)) {
  let fixture: PluginFixture;
  let existing: { readonly conf: Conf; readonly of: Of }[] = [];
  before(() => {
    fixture = createPluginFixture();
  });
  afterEach(async () => {
    for (const { conf, of } of existing) await fixture.call('del', conf, of);
    existing = [];
    tried('for l in br.100 br.200 br up; do ip link del dev $l; done');
  });
  after(() => fixture.end());

  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const filters =
    tried(
      'ip link add name br type bridge vlan_filtering 1 && ip -d link show dev br | grep -q "vlan_filtering 1"; e=$?; ip link del dev br; exit $e',
    ) !== undefined;
  const skip = filters ? false : 'the kernel has no VLAN filtering on bridges';
  const config = (more: object): Conf => ({
    type: 'portcullis-bridge',
    bridge: 'br',
    ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.90.0.0/24' }], [{ subnet: 'fd00:90::/64' }]] },
    ...more,
  });
  const attached = async (
    name: string,
    more: object,
  ): Promise<{ of: Of; conf: Conf; result: CniResult; address: readonly string[]; port: string }> => {
    const of = { id: name, netns: fixture.pin(name) };
    const conf = config(more);
    const result = await fixture.add([conf], of);
    existing.push({ conf, of });
    await fixture.check([conf], of, result);
    const address = result.ips.map(({ address: each }) => each.split('/')[0] ?? '');
    return { of, conf, result, address, port: result.interfaces[1]?.name ?? '' };
  };
  const pings = (from: Of, ...addresses: readonly string[]): boolean[] =>
    addresses.map((address) => fixture.inside(from.netns, `busybox ping -c1 -W1 ${address}`) !== undefined);
  const vlansOf = (port: string): string =>
    shell(`bridge -color=never vlan show dev ${port}`)
      .split('\n')
      .slice(1)
      .join(' ')
      .replaceAll(/\s+/gu, ' ')
      .replace(port, '')
      .trim();

  test('a changed MAC address of the host’s end is reported and restored', async () => {
    const pod = await attached('ends', {});
    const mac = pod.result.interfaces[1]?.mac ?? '';
    shell(`ip link set ${pod.port} address 02:00:00:00:00:08`);
    await assert.rejects(
      fixture.check([pod.conf], pod.of, pod.result),
      new RegExp(`${pod.port} has the MAC address 02:00:00:00:00:08, not ${mac}`, 'u'),
    );
    await fixture.call('status', pod.conf, pod.of);
    await fixture.check([pod.conf], pod.of, pod.result);
  });

  for (const type of ['portcullis-bridge', 'portcullis-ptp'])
    test(`DEL of ${type} removes a pair whose host’s end was renamed, and nothing else`, async () => {
      const of = { id: `renamed-${type}`, netns: fixture.pin(`renamed-${type}`) };
      const ipam = { type: 'portcullis-ipam', ranges: [[{ subnet: '10.92.0.0/24' }]] };
      const conf = type === 'portcullis-ptp' ? { type, ipam } : config({ ipam });
      const result = await fixture.add([conf], of);
      const other = { ...of, name: 'eth1' };
      const kept = config({ ipam: { ...ipam, ranges: [[{ subnet: '10.91.0.0/24' }]] } });
      await fixture.add([kept], { ...other, network: 'kept' });
      existing.push({ conf: kept, of: { ...other, network: 'kept' } });
      const host =
        result.interfaces.find(({ sandbox, name }) => sandbox === undefined && name.startsWith('pc'))?.name ??
        '';
      shell(`ip link set ${host} down && ip link set ${host} name stray0`);
      await fixture.call('del', conf, of);
      assert.equal(tried('ip link show stray0'), undefined);
      assert.equal(fixture.inside(of.netns, 'ip link show eth0'), undefined);
      assert.ok(fixture.inside(of.netns, 'ip link show eth1') !== undefined);
    });

  const macOf = (link: string): string =>
    /link\/ether (\S+)/u.exec(shell(`ip -o link show ${link}`))?.[1] ?? '';

  test('enabledad refuses an address that a neighbour has; a free address works at once', async () => {
    const first = await attached('detecting', { enabledad: true });
    const [, own = ''] = first.address;
    assert.match(
      fixture.inside(first.of.netns, 'ip -6 -o addr show dev eth0 scope global') ?? '',
      new RegExp(`${own}/64 scope global`, 'u'),
    );
    assert.doesNotMatch(
      fixture.inside(first.of.netns, 'ip -6 -o addr show dev eth0 scope global') ?? '',
      /tentative|dadfailed/u,
    );
    const foreign = fixture.pin('stranger');
    const taken = 'fd00:90::77';
    shell(`ip link add strange type veth peer name eth0 netns ${foreign}; ip link set strange master br up`);
    fixture.inside(foreign, 'ip link set eth0 up');
    fixture.inside(foreign, `ip addr add ${taken}/64 dev eth0 nodad`);
    const conf = config({
      enabledad: true,
      runtimeConfig: { ips: [`${taken}/64`] },
      capabilities: { ips: true },
    });
    const of = { id: 'second', netns: fixture.pin('second') };
    await assert.rejects(fixture.add([conf], of), /a neighbour has the same IPv6 address/u);
    assert.equal(fixture.inside(of.netns, 'ip link show eth0'), undefined);
    const plain = await attached('plain', {
      runtimeConfig: { ips: [`${taken}/64`] },
      capabilities: { ips: true },
    });
    assert.ok(plain.address.includes(taken), 'without the field no neighbour is asked');
    shell('ip link del strange');
  });

  test('with disableContainerInterface the pod’s end is created and stays down, and CHECK and repair accept that', async () => {
    const of = { id: 'closed', netns: fixture.pin('closed') };
    const conf: Conf = { type: 'portcullis-bridge', bridge: 'br', disableContainerInterface: true };
    const result = await fixture.add([conf], of);
    existing.push({ conf, of });
    const flags = (): string =>
      /<(.*)>/u.exec(fixture.inside(of.netns, 'ip -o link show dev eth0') ?? '')?.[1] ?? 'none';
    assert.match(flags(), /BROADCAST/u);
    assert.ok(!flags().split(',').includes('UP'), flags());
    assert.deepEqual(result.ips, []);
    assert.match(
      shell(`ip -o link show dev ${result.interfaces[1]?.name ?? ''}`),
      /[<,]UP[,>].* master br /u,
    );
    await fixture.check([conf], of, result);
    await fixture.call('status', conf, of);
    assert.ok(!flags().split(',').includes('UP'), flags());
    fixture.inside(of.netns, 'ip link set eth0 up');
    await assert.rejects(fixture.check([conf], of, result), /eth0 is up/u);
  });

  test('changes to a bridge that we created are reported and undone', async () => {
    const pod = await attached('bridge', { isDefaultGateway: true, promiscMode: true });
    const mac = pod.result.interfaces[0]?.mac ?? '';
    for (const [spoil, words] of [
      [
        'ip link set dev br address 02:00:00:00:00:77',
        `the bridge br has the MAC address 02:00:00:00:00:77, not ${mac}`,
      ],
      ['ip address del fe80::1/64 dev br', 'the bridge br has no address fe80::1/64'],
      ['ip address del 10.90.0.1/24 dev br', 'the bridge br has no address 10.90.0.1/24'],
      ['ip link set dev br promisc off', 'the bridge br is not in promiscuous mode'],
      ['ip link set dev br down', 'the bridge br is down'],
    ] as const) {
      shell(spoil);
      await assert.rejects(fixture.check([pod.conf], pod.of, pod.result), new RegExp(words, 'u'), spoil);
      await fixture.call('status', pod.conf, pod.of);
      await fixture.check([pod.conf], pod.of, pod.result);
    }
    // Another pod gets the previous state, and neither pod undoes the other's settings.
    shell('ip link set dev br address 02:00:00:00:00:78');
    const next = await attached('next', { isDefaultGateway: true, promiscMode: true });
    assert.equal(next.result.interfaces[0]?.mac, mac);
    assert.equal(macOf('br'), mac);
    await fixture.check([pod.conf], pod.of, pod.result);
  });

  test('a bridge that we did not create keeps its MAC address whatever joins it; a change is reported and not undone', async () => {
    shell('ip link add name br type bridge; ip link set dev br up');
    const pod = await attached('foreign', { isDefaultGateway: true });
    const mac = pod.result.interfaces[0]?.mac ?? '';
    // The kernel would take the lowest address of the ports.
    shell(
      'ip link add low0 type veth peer name low1; ip link set low0 address 00:00:5e:00:53:01 master br; ip link set low0 up',
    );
    assert.equal(macOf('br'), mac);
    await fixture.check([pod.conf], pod.of, pod.result);
    shell('ip link del low0; ip link set dev br address 02:00:00:00:00:79');
    await assert.rejects(
      fixture.check([pod.conf], pod.of, pod.result),
      /the bridge br has the MAC address 02:00:00:00:00:79/u,
    );
    await fixture.call('status', pod.conf, pod.of);
    assert.equal(macOf('br'), '02:00:00:00:00:79');
  });

  test('a bridge that others left without a MAC address gets one, and its pods reach the gateway', async () => {
    // The kernel takes the address from the ports, as with the bridge of the upstream plugin without pods.
    shell('ip link add name br type bridge; ip link add p0 type veth peer name p1; ip link set p0 master br');
    shell('ip link del p0; ip link set dev br up');
    assert.equal(macOf('br'), '00:00:00:00:00:00');
    const pod = await attached('left', { isDefaultGateway: true });
    assert.equal(pod.result.interfaces[0]?.mac, macOf('br'));
    assert.notEqual(macOf('br'), '00:00:00:00:00:00');
    assert.deepEqual(pings(pod.of, '10.90.0.1', 'fd00:90::1'), [true, true]);
  });

  test('a failed ADD leaves no bridge; a bridge that others use, or that existed before, stays', async () => {
    const links = (): string[] => shell("ip -br link | awk '{ print $1 }'").trim().split('\n').toSorted();
    const before = links();
    const of = { id: 'refused', netns: fixture.pin('refused') };
    fixture.inside(of.netns, 'ip link add eth0 type bridge');
    await assert.rejects(fixture.add([config({ isGateway: true })], of), { code: 'NETWORK_INTERFACE_TAKEN' });
    assert.deepEqual(links(), before);
    const unreachable = {
      type: 'portcullis-ipam',
      ranges: [[{ subnet: '10.90.0.0/24' }]],
      routes: [{ dst: '10.1.0.0/16', gw: '10.77.0.1' }],
    };
    await assert.rejects(fixture.add([config({ ipam: unreachable })], { ...of, name: 'eth1' }));
    assert.deepEqual(links(), before);
    const pod = await attached('stays', {});
    await fixture.call('del', pod.conf, pod.of);
    existing = [];
    await assert.rejects(fixture.add([config({})], of), { code: 'NETWORK_INTERFACE_TAKEN' });
    assert.deepEqual(links(), [...before, 'br'].toSorted());
  });

  test('removed VLANs of the bridge itself are reported and restored', { skip }, async () => {
    const pod = await attached('gateway', { vlan: 100, isDefaultGateway: true });
    for (const [spoil, words] of [
      ['ip link set dev br type bridge vlan_filtering 0', 'the bridge br does not filter VLANs'],
      ['bridge vlan del dev br vid 100 self', 'br is not in VLAN 100'],
      ['ip link set br.100 down', 'br.100 is down'],
      ['ip address del 10.90.0.1/24 dev br.100', 'the bridge br has no address 10.90.0.1/24'],
      ['ip link del br.100', 'there is no link br.100'],
    ] as const) {
      shell(spoil);
      await assert.rejects(fixture.check([pod.conf], pod.of, pod.result), new RegExp(words, 'u'), spoil);
      await fixture.call('status', pod.conf, pod.of);
      await fixture.check([pod.conf], pod.of, pod.result);
      assert.deepEqual(pings(pod.of, '10.90.0.1'), [true], spoil);
    }
  });

  test(
    'pods of one VLAN and its gateway reach each other, pods of another VLAN do not',
    { skip },
    async () => {
      const [a, b, other] = [
        await attached('a', { vlan: 100, isDefaultGateway: true, ipMasq: true }),
        await attached('b', { vlan: 100, isDefaultGateway: true, ipMasq: true }),
        await attached('other', { vlan: 200 }),
      ];
      assert.equal(vlansOf(a.port), '100 PVID Egress Untagged');
      assert.match(
        shell('ip -d address show br.100'),
        /vlan protocol 802.1Q id 100[^]*10\.90\.0\.1\/24[^]*fd00:90::1\/64/u,
      );
      assert.doesNotMatch(shell('ip address show br'), /10\.90\.0\.1/u);
      await eventually(() => pings(a.of, '10.90.0.1')[0] || undefined, 20_000);
      assert.deepEqual(pings(a.of, ...b.address, '10.90.0.1', 'fd00:90::1'), [true, true, true, true]);
      assert.deepEqual(pings(a.of, ...other.address), [false, false]);
      assert.deepEqual(pings(other.of, ...a.address), [false, false]);
      shell(`bridge vlan del dev ${a.port} vid 100`);
      await assert.rejects(fixture.check([a.conf], a.of, a.result), /is not in VLAN 100/u);
      await fixture.call('status', a.conf, a.of);
      await fixture.check([a.conf], a.of, a.result);
      assert.deepEqual(pings(a.of, b.address[0] ?? ''), [true]);
    },
  );

  test('a trunk carries its VLANs with a tag, and no other VLANs', { skip }, async () => {
    const [inside, beyond] = [
      await attached('inside', { vlan: 100 }),
      await attached('beyond', { vlan: 300 }),
    ];
    const trunk = await attached('trunk', {
      vlanTrunk: [{ minID: 100, maxID: 103 }, { id: 200 }],
      preserveDefaultVlan: false,
    });
    assert.equal(vlansOf(trunk.port), '1 PVID Egress Untagged 100 101 102 103 200');
    // As on a bridge whose ports are created in another VLAN.
    shell(`bridge vlan add dev ${trunk.port} vid 7`);
    await assert.rejects(fixture.check([trunk.conf], trunk.of, trunk.result), /is in VLAN 7/u);
    await fixture.call('status', trunk.conf, trunk.of);
    await fixture.check([trunk.conf], trunk.of, trunk.result);
    for (const [id, { address }] of [
      [100, inside],
      [300, beyond],
    ] as const) {
      fixture.inside(trunk.of.netns, `ip link add link eth0 name eth0.${id} type vlan id ${id}`);
      fixture.inside(trunk.of.netns, `ip link set eth0.${id} up`);
      fixture.inside(trunk.of.netns, `ip address add 10.90.0.${id === 100 ? 210 : 211}/32 dev eth0.${id}`);
      fixture.inside(
        trunk.of.netns,
        `ip route add ${address[0] ?? ''} dev eth0.${id} src 10.90.0.${id === 100 ? 210 : 211}`,
      );
    }
    await eventually(() => pings(trunk.of, inside.address[0] ?? '')[0] || undefined, 20_000);
    assert.deepEqual(pings(trunk.of, beyond.address[0] ?? ''), [false]);
  });

  test(
    'the port has the same settings as with upstream',
    { skip: skip || (existsSync(upstream) ? false : 'no plugins of upstream: test/peers/get cniplugins') },
    async () => {
      const fields = [
        { vlan: 100 },
        { vlan: 100, preserveDefaultVlan: true },
        { vlanTrunk: [{ id: 100 }], preserveDefaultVlan: true },
        { vlanTrunk: [{ minID: 100, maxID: 102 }] },
        { vlan: 5, vlanTrunk: [{ id: 7 }], preserveDefaultVlan: false },
        { hairpinMode: true },
        { promiscMode: true, isGateway: true },
        { portIsolation: true },
      ];
      const state = (port: string): object => ({
        vlans: filters ? vlansOf(port) : '',
        flags: shell(`bridge -d link show dev ${port}`).match(/hairpin \w+|isolated \w+/gu),
        promiscuous: /promiscuity \d+/u.exec(shell('ip -d link show br'))?.[0],
      });
      for (const [index, more] of fields.entries()) {
        const ours = await attached(`ours${index}`, more);
        const found = state(ours.port);
        await fixture.call('del', ours.conf, ours.of);
        existing = [];
        tried('ip link del dev br');
        const netns = fixture.pin(`theirs${index}`);
        const ipam = { type: 'static', addresses: [{ address: '10.90.0.9/24', gateway: '10.90.0.1' }] };
        const input = JSON.stringify({
          cniVersion: '1.0.0',
          name: 'net',
          type: 'bridge',
          bridge: 'br',
          ...more,
          ipam,
        });
        const env = {
          PATH: process.env['PATH'],
          CNI_CONTAINERID: 'x',
          CNI_NETNS: netns,
          CNI_IFNAME: 'eth0',
          CNI_PATH: upstream.replace(/bridge$/u, ''),
        };
        const run = spawnSync(upstream, { input, encoding: 'utf8', env: { ...env, CNI_COMMAND: 'ADD' } });
        assert.equal(run.status, 0, run.stdout + run.stderr);
        const port =
          (JSON.parse(run.stdout) as CniResult).interfaces.find(
            ({ name, sandbox }) => name !== 'br' && (sandbox ?? '') === '',
          )?.name ?? '';
        assert.deepEqual(found, state(port), JSON.stringify(more));
        spawnSync(upstream, { input, env: { ...env, CNI_COMMAND: 'DEL' } });
        tried('ip link del dev br');
      }
    },
  );

  test('hairpin mode sends a frame back to its port; the default gateway is the route out', async () => {
    const pod = await attached('hairpin', { hairpinMode: true, isDefaultGateway: true });
    assert.match(shell(`bridge -d link show dev ${pod.port}`), /hairpin on/u);
    assert.match(
      fixture.inside(pod.of.netns, `sh -c 'ip route; ip -6 route'`) ?? '',
      /default via 10\.90\.0\.1[^]*default via fd00:90::1/u,
    );
    const promiscuous = await attached('promiscuous', { promiscMode: true });
    assert.match(shell('ip link show br'), /PROMISC/u);
    assert.deepEqual(pings(promiscuous.of, ...pod.address), [true, true]);
  });
}
