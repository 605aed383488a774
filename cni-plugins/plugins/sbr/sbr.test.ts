import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());

  const wired = (
    name: string,
    ips: readonly { readonly address: string; readonly gateway?: string }[],
  ): { pod: TestPod; prevResult: CniResult } => {
    const pod = pods.pod(name);
    shell(`ip link add host${name} type veth peer name eth0 netns ${pod.netns}; ip link set host${name} up`);
    pod.run('ip link set eth0 up');
    for (const { address } of ips) pod.run(`ip addr add ${address} dev eth0 nodad`);
    const gateways = ips.flatMap(({ gateway }) => gateway ?? []);
    for (const gateway of gateways.slice(0, 1)) pod.run(`ip route add default via ${gateway}`);
    return {
      pod,
      prevResult: {
        interfaces: [{ name: `host${name}` }, { name: 'eth0', sandbox: pod.netns }],
        ips: ips.map((ip) => ({ ...ip, interface: 1 })),
        routes: [],
        dns: {},
      },
    };
  };
  const state = (pod: TestPod): unknown => ({
    rules: json(pod.run('ip -j rule'))
      .concat(json(pod.run('ip -j -6 rule')))
      .map(({ src, table, priority }) => ({ src, table, priority })),
    routes: [100, 101, 102, 'main'].map((table) => [
      table,
      sorted(tried(pod, `ip -j route show table ${table}`)),
    ]),
    routes6: [100, 101, 102, 'main'].map((table) => [
      table,
      sorted(tried(pod, `ip -j -6 route show table ${table}`)),
    ]),
  });
  /** For ip, a table that never had a route is an error. */
  const tried = (pod: TestPod, command: string): string => {
    try {
      return pod.run(`${command} 2>/dev/null`);
    } catch {
      return '';
    }
  };
  const sorted = (text: string): unknown =>
    json(text)
      .filter(({ dst }) => dst !== 'fe80::/64')
      .map(({ dst, gateway, prefsrc, scope }) => JSON.stringify({ dst, gateway, prefsrc, scope }))
      .toSorted();

  const four = [{ address: '10.20.0.2/24', gateway: '10.20.0.1' }];
  const two = [...four, { address: '10.30.0.2/24', gateway: '10.30.0.1' }];
  const dual = [...four, { address: 'fd20::2/64', gateway: 'fd20::1' }];
  for (const [index, [label, ips, more]] of (
    [
      ['one address', four, {}],
      ['two networks', two, {}],
      ['dual stack', dual, {}],
    ] as const
  ).entries())
    test(`as Debian's plugin: ${label}`, async () => {
      const [ours, theirs] = [wired(`a${index}`, ips), wired(`b${index}`, ips)];
      const config = { type: 'sbr', ...more };
      const result = await ours.pod.add(config, ours);
      assert.deepEqual(result, ours.prevResult);
      theirs.pod.debian('ADD', config, theirs);
      // Upstream copies the IPv6 default route of a dual-stack pod into the IPv4 table as well.
      if (label !== 'dual stack') assert.deepEqual(state(ours.pod), state(theirs.pod));
      else
        assert.deepEqual(
          (state(ours.pod) as { rules: unknown }).rules,
          (state(theirs.pod) as { rules: unknown }).rules,
        );
      assert.deepEqual(await ours.pod.check(config), []);
      for (const { address } of ips) {
        const source = address.split('/')[0] ?? '';
        const far = source.includes(':') ? 'fd99::1' : '192.0.2.1';
        assert.match(ours.pod.run(`ip route get ${far} from ${source}`), /table 10\d/u);
      }
      await ours.pod.del(config);
      assert.doesNotMatch(ours.pod.run('ip rule'), /10\.20|10\.30/u);
      assert.doesNotMatch(ours.pod.run('ip -6 rule'), /fd20/u);
    });

  test('rules lead to an existing table, and routes do not change', async () => {
    const { pod, prevResult } = wired('e', four);
    const routes = pod.run('ip route show table main');
    const config = { type: 'sbr', table: 5000 };
    await pod.add(config, { prevResult });
    assert.match(pod.run('ip rule'), /from 10\.20\.0\.2 lookup 5000/u);
    assert.equal(pod.run('ip route show table main'), routes);
    assert.deepEqual(await pod.check(config), []);
    await pod.del(config);
    assert.doesNotMatch(pod.run('ip rule'), /5000/u);
  });

  test('a used table is not touched, gateways of the configuration apply, hints name the source', async () => {
    const { pod, prevResult } = wired('c', dual);
    pod.run('ip rule add from 10.99.0.1 table 100');
    pod.run('ip route add 10.77.0.0/16 via 10.20.0.7 table 101');
    const config = { type: 'sbr', gateways: ['10.20.0.9', 'fd20::9'], addSourceHints: true };
    await pod.add(config, { prevResult });
    assert.match(pod.run('ip rule'), /from 10\.20\.0\.2 lookup 102/u);
    assert.match(pod.run('ip -6 rule'), /from fd20::2 lookup 103/u);
    assert.match(pod.run('ip -6 route show table 103'), /default via fd20::9/u);
    assert.match(pod.run('ip route show table main'), /10\.20\.0\.0\/24 dev eth0 .*src 10\.20\.0\.2/u);
    assert.deepEqual(await pod.check(config), []);
    for (const [spoil, words] of [
      ['ip rule del from 10.20.0.2 table 102', /no rule sends traffic from 10\.20\.0\.2/u],
      ['ip route flush table 102', /table 102 has no route/u],
    ] as const) {
      pod.run(spoil);
      assert.match((await pod.check(config)).join('; '), words);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    await pod.del(config);
    assert.match(pod.run('ip rule'), /10\.99\.0\.1 lookup 100/u);
    pod.run('ip link del eth0');
    await pod.del(config);
    pod.die();
    await pod.delDead(config);
  });

  test('two addresses of one network share a hint, and a repair changes nothing', async () => {
    const { pod, prevResult } = wired('s', [...four, { address: '10.20.0.3/24' }]);
    const config = { type: 'sbr', addSourceHints: true };
    await pod.add(config, { prevResult });
    assert.deepEqual(await pod.check(config), []);
    const routes = pod.run('ip route show table main');
    assert.match(routes, /10\.20\.0\.0\/24 dev eth0 .*src 10\.20\.0\.2/u);
    await pod.repair(config);
    assert.equal(pod.run('ip route show table main'), routes);
    await pod.del(config);
  });

  test('a call without addresses or an interface is refused', async () => {
    const { pod, prevResult } = wired('d', []);
    assert.equal(await codeOf(() => pod.add({ type: 'sbr' }, { prevResult })), 'NETWORK_ADDRESSES_MISSING');
    assert.equal(
      await codeOf(() => pod.add({ type: 'sbr' }, { prevResult, interface: 'net3' })),
      'NETWORK_INTERFACE_MISSING',
    );
  });
}
