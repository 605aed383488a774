import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { conflist, eventually, inPrivateNetns, shell, startFixture } from '../engine/engine.fixture.ts';
import { pluginInterfaceOf } from '../database/record.ts';
import type { LinkRule } from '../types.ts';
import { following, openScene, plainAddress } from './first-packet.fixture.ts';
import type { Scene } from './first-packet.fixture.ts';
import { macOf } from '../plugins/interface/link-names.ts';

/**
 * The same from a link that the host routes to: to the host, to other links of that type, to a bridge, and
 * what the pod itself receives.
 */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const ranges = (net: number): object[][] => [
    [{ subnet: `10.${net}.0.0/24` }],
    [{ subnet: `fd00:${net}::/64` }],
  ];
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const ptp = { type: 'portcullis-ptp', ipam: { type: 'host-local', ranges: ranges(88), routes } };
  const { fixture, engine } = await startFixture({ cniVersion: '1.0.0', name: 'routed', plugins: [ptp] });
  let scene: Scene | undefined;
  afterEach(() => scene?.end());

  test('from the first packet on, by a routed link', async () => {
    const [victim, held, far, attacker] = ['victim0', 'held0', 'far0', 'attacker0'].map((name) =>
      fixture.pod(name),
    ) as [
      ReturnType<typeof fixture.pod>,
      ReturnType<typeof fixture.pod>,
      ReturnType<typeof fixture.pod>,
      ReturnType<typeof fixture.pod>,
    ];
    const { attach, at, listen, arrived, settled, send } = (scene = openScene(fixture, engine, '0'));
    for (const pod of [victim, held]) await attach(pod);
    await attach(far, {
      ...conflist({ bridge: 'cni1', ipam: { type: 'host-local', ranges: ranges(89) } }),
      name: 'other',
    });
    for (const pod of [victim, held, far, undefined]) await listen(pod);
    const everywhere = (): string[] => [victim, held, far, undefined].flatMap(arrived);
    await engine.setClass(victim.request.id, 'user');
    await engine.setClass(held.request.id, 'admin', { ingress: [] });
    await engine.setClass(far.request.id, 'user');

    const self = [0, 1].map((index) => following(plainAddress(at(held), index), 1));
    const key = { network: 'routed', containerId: attacker.request.id, interface: 'eth0' };
    send(attacker, self, ['10.88.0.1', 'fd00:88::1', macOf('ptp host', key)], [victim, held, far]);
    await pause(500);
    const attachment = await attach(attacker);
    assert.deepEqual([plainAddress(attachment, 0), plainAddress(attachment, 1)], self);
    await pause(400);
    assert.deepEqual(everywhere(), [], 'while it is denied');
    await engine.setClass(attacker.request.id, 'none');
    await pause(200);
    assert.deepEqual(everywhere(), [], 'network.none');

    const networks = [88, 89].flatMap((net) => [`10.${net}.0.0/16`, `fd00:${net}::/32`]);
    const only = networks.map((cidr): LinkRule => ({
      cidr,
      protocol: 'udp',
      ports: { low: 7777, high: 7777 },
    }));
    await engine.setClass(attacker.request.id, 'admin', { egress: only });
    const granted = (name: string): string[] =>
      [4, 6].flatMap((family) => ['routed', 'plain'].map((way) => `${name}-${way}-udp${family}-7777`)).sort();
    await settled(victim, granted('victim'));
    await settled(far, granted('far'));
    const hears = ['4', '6']
      .flatMap((family) => [`host-plain-udp${family}-7777`, `host-udp${family}-7777`])
      .sort();
    await settled(undefined, hears);
    await settled(held, []);

    // The pod undoes everything that it can reach: its own rules, another MAC, foreign addresses, a VLAN,
    // another interface on top, routes.
    const victim4 = plainAddress(at(victim), 0);
    attacker.run(
      `sh -c 'nft flush ruleset; nft add table inet x; ip link add link eth0 name eth0.5 type vlan id 5; ip link set eth0.5 up; ip link add link eth0 name mv type macvlan mode bridge; ip link set mv up; ip addr add 10.88.0.250/24 dev mv; ip addr add 10.88.0.251/24 dev eth0; ip addr add ${victim4}/24 dev eth0; ip -6 addr add fd00:88::fa/64 dev eth0 nodad; ip neigh flush dev eth0; sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.eth0.accept_ra=2'`,
    );
    await pause(400);
    for (const [pod, kinds] of [
      [victim, granted('victim')],
      [held, []],
      [undefined, hears],
    ] as const)
      assert.deepEqual(arrived(pod), kinds);
    const own = pluginInterfaceOf('routed', attacker.request.id, 'eth0');
    const rulesThatDenied = (): string[] => [
      ...new Set(
        shell('nft list table inet portcullis; nft list table arp portcullis').match(
          /"\w+" counter packets [1-9]/gu,
        ) ?? [],
      ),
    ];
    assert.ok(rulesThatDenied().some((line) => line.includes(own)));
    // Another MAC address is not its own: all its packets are denied from now on, ARP too.
    attacker.run(
      "sh -c 'ip link set eth0 down; ip link set eth0 address 0a:58:0a:58:00:fa; ip link set eth0 up'",
    );
    const forged = async (): Promise<bigint> =>
      (await engine.denials()).find(
        ({ id, rule }) => id === attacker.request.id && rule === 'network.address',
      )?.packets ?? 0n;
    const before = await forged();
    await eventually(() => undefined, 300).catch(() => undefined);
    assert.ok((await forged()) > before);
    attacker.run(
      `sh -c 'ip link set eth0 down; ip link set eth0 address ${attachment.interface.mac}; ip link set eth0 up'`,
    );

    // Without rules of its own, the rules of the receiver apply.
    await engine.setClass(attacker.request.id, 'admin');
    await eventually(() => arrived(victim).includes('victim-routed-udp4-7778') || undefined, 20_000);
    assert.deepEqual(arrived(held), []);
    await engine.setClass(attacker.request.id, 'none');
    const reported = (await engine.denials()).filter(({ id }) =>
      [attacker.request.id, held.request.id].includes(id),
    );
    assert.deepEqual([...new Set(reported.map(({ rule }) => rule))].sort(), [
      'network.address',
      'network.ingress',
      'network.none',
    ]);
    await engine.gc(new Set());
  });
}
