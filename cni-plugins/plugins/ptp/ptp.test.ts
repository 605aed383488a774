import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());

  const four = (last: number): object => ({ address: `10.20.0.${last}/24`, gateway: '10.20.0.1' });
  const six = (last: number): object => ({ address: `fd20::${last}/64`, gateway: 'fd20::1' });
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const sorted = (text: string, last: number): string[] =>
    json(text)
      .filter(({ dst }) => dst !== 'fe80::/64')
      .map(({ dst, gateway, prefsrc, scope, metric }) =>
        JSON.stringify({ dst, gateway, prefsrc, scope, metric }).replaceAll(
          new RegExp(`(10\\.20\\.0\\.|fd20::)${last}\\b`, 'gu'),
          '$1X',
        ),
      )
      .toSorted();
  const addresses = (text: string, last: number): string[] =>
    (json(text)[0]?.['addr_info'] as Record<string, unknown>[])
      .filter(({ scope }) => scope === 'global')
      .map(({ family, local, prefixlen }) =>
        JSON.stringify({ family, local, prefixlen }).replace(
          new RegExp(`(10\\.20\\.0\\.|fd20::)${last}\\b`, 'u'),
          '$1X',
        ),
      )
      .toSorted();
  const state = (pod: TestPod, host: string, last: number): unknown => ({
    pod: addresses(pod.run('ip -j addr show dev eth0'), last),
    host: addresses(shell(`ip -j addr show dev ${host}`), last),
    routes: [...sorted(pod.run('ip -j route'), last), ...sorted(pod.run('ip -j -6 route'), last)],
    hostRoutes: [
      ...sorted(shell(`ip -j route show dev ${host}`), last),
      ...sorted(shell(`ip -j -6 route show dev ${host}`), last),
    ],
    link: json(pod.run('ip -j link show dev eth0')).map(({ mtu, operstate }) => ({ mtu, operstate })),
  });

  for (const [label, list] of [
    ['IPv4', [four]],
    ['IPv6', [six]],
    ['dual stack', [four, six]],
  ] as const)
    test(`as Debian's plugin: ${label}`, async () => {
      const [ours, theirs] = [pods.pod(`a${label.replace(' ', '')}`), pods.pod(`b${label.replace(' ', '')}`)];
      const ipam = (last: number): object => ({
        type: 'static',
        addresses: list.map((each) => each(last)),
        routes: routes.filter(
          ({ dst }) => label === 'dual stack' || (label === 'IPv6') === dst.includes(':'),
        ),
      });
      const config = { type: 'ptp', mtu: 1400 };
      const expected = theirs.debian('ADD', { ...config, ipam: ipam(3) });
      const result = await ours.add({ ...config, ipam: ipam(2) });
      assert.deepEqual(
        state(ours, result.interfaces[0]?.name ?? '', 2),
        state(theirs, expected?.interfaces[0]?.name ?? '', 3),
      );
      assert.deepEqual(
        result.ips.map(({ interface: index, gateway }) => ({ index, gateway })),
        expected?.ips.map(({ interface: index, gateway }) => ({ index, gateway })),
      );
      assert.deepEqual(result.routes, expected?.routes);
      assert.deepEqual(await ours.check(config), []);
      // The two pods reach each other through the host.
      if (label !== 'IPv6') assert.ok(ours.run('busybox ping -c1 -W2 10.20.0.3'));
      if (label !== 'IPv4') assert.ok(ours.run('busybox ping -c1 -W2 fd20::3'));
      await ours.del(config);
      assert.doesNotMatch(ours.run('ip -o link'), /eth0/u);
      theirs.debian('DEL', { ...config, ipam: ipam(3) });
      assert.doesNotMatch(shell('ip route; ip -6 route'), /10\.20\.0|fd20::/u);
    });

  test('masquerade hides the pod behind the host', async () => {
    const outside = pods.pod('outside');
    shell(
      `ip link add uplink type veth peer name up0 netns ${outside.netns}; ip link set uplink up; ip addr add 10.99.0.1/24 dev uplink`,
    );
    outside.run('ip link set up0 up');
    outside.run('ip addr add 10.99.0.2/24 dev up0');
    const pod = pods.pod('masq');
    const config = {
      type: 'ptp',
      ipMasq: true,
      ipam: { type: 'static', addresses: [four(5)], routes: [{ dst: '0.0.0.0/0' }] },
    };
    await pod.add(config);
    assert.ok(pod.run('busybox ping -c1 -W2 10.99.0.2'), 'the outside network has no route back to the pod');
    assert.deepEqual(await pod.check(config), []);
    shell('nft flush ruleset');
    assert.match((await pod.check(config)).join('; '), /masquerade/u);
    await pod.repair(config);
    assert.deepEqual(await pod.check(config), []);
    await pod.del(config);
    assert.doesNotMatch(shell('nft list ruleset'), /10\.20\.0\.5/u);
  });

  test('a difference is reported and repaired', async () => {
    const pod = pods.pod('drift');
    const config = { type: 'ptp', ipam: { type: 'static', addresses: [four(6), six(6)] } };
    const host = (await pod.add(config)).interfaces[0]?.name ?? '';
    for (const [spoil, words] of [
      [() => shell(`ip route del 10.20.0.6 dev ${host}`), /no route to 10\.20\.0\.6/u],
      [() => shell(`ip addr del 10.20.0.1/32 dev ${host}`), /no address 10\.20\.0\.1/u],
      [() => shell('sysctl -qw net.ipv4.ip_forward=0'), /ip_forward is not 1/u],
      [() => pod.run('ip route del 10.20.0.1'), /no route to 10\.20\.0\.1/u],
      [() => shell(`ip link set ${host} down`), /is down/u],
      [
        () => shell(`ip link set ${host} address 02:00:00:00:00:09`),
        /^\S+ has the MAC address 02:00:00:00:00:09/u,
      ],
      [() => shell(`ip link set ${host} mtu 1300`), /^\S+ has the MTU 1300/u],
      [
        () => pod.run('ip link set eth0 address 02:00:00:00:00:08'),
        /eth0 has the MAC address 02:00:00:00:00:08/u,
      ],
      [() => pod.run('ip link set eth0 mtu 1280'), /eth0 has the MTU 1280/u],
      [() => pod.run('ip link del eth0'), /no link|no interface/u],
    ] as const) {
      spoil();
      assert.match((await pod.check(config)).join('; '), words);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), []);
    }
    pod.die();
    await pod.delDead(config);
  });

  test('addresses without a gateway, or none, are refused', async () => {
    const pod = pods.pod('refused');
    assert.equal(await codeOf(() => pod.add({ type: 'ptp' })), 'NETWORK_ADDRESSES_MISSING');
    assert.equal(
      await codeOf(() =>
        pod.add({ type: 'ptp', ipam: { type: 'static', addresses: [{ address: '10.20.0.9/24' }] } }),
      ),
      'NETWORK_GATEWAY_MISSING',
    );
    assert.equal(
      pod
        .run('ip -o link')
        .split('\n')
        .filter((line) => !line.includes(' lo:'))
        .join(''),
      '',
    );
  });
}
