import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, tried } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, json, openPods, shell, withoutNew } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

interface Wired {
  readonly pod: TestPod;
  readonly prevResult: CniResult;
}

if (inPrivateNetns(import.meta.filename, 600_000)) {
  const pods = openPods();
  after(() => pods.end());
  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const lacking = tried('ip link add probe type vrf table 9 && ip link del probe') === undefined;
  const skip = lacking ? 'the kernel has no VRFs' : false;

  /** Returns a pod with an interface that has addresses and routes of both families. */
  const wired = (name: string, ifname = 'eth0', existing?: TestPod): Wired => {
    const pod = existing ?? pods.pod(name);
    const host = `h${name}${ifname}`;
    const net = ifname === 'eth0' ? 20 : 21;
    shell(`ip link add ${host} type veth peer name ${ifname} netns ${pod.netns}; ip link set ${host} up`);
    for (const command of [
      `ip link set ${ifname} up`,
      `ip addr add 10.${net}.0.2/24 dev ${ifname}`,
      `ip addr add fd${net}::2/64 dev ${ifname} nodad`,
      `ip route add default via 10.${net}.0.1 metric ${net}`,
      `ip -6 route add default via fd${net}::1 metric ${net}`,
      `ip route add 192.0.${net}.0/24 via 10.${net}.0.9 mtu 1300`,
    ])
      pod.run(command);
    return {
      pod,
      prevResult: {
        interfaces: [{ name: host }, { name: ifname, sandbox: pod.netns }],
        ips: [{ address: `10.${net}.0.2/24`, interface: 1 }],
        routes: [],
        dns: {},
      },
    };
  };
  const ifnameOf = ({ prevResult }: Wired): { interface: string; prevResult: CniResult } => ({
    interface: prevResult.interfaces[1]?.name ?? '',
    prevResult,
  });
  const sorted = (text: string): string[] =>
    json(text)
      .map(({ dst, gateway, dev, prefsrc, metric, metrics, table }) =>
        JSON.stringify({ dst, gateway, dev, prefsrc, metric, metrics, table }),
      )
      .toSorted();
  const state = (pod: TestPod, vrf: string): unknown => ({
    link: json(pod.run(`ip -j -d link show dev ${vrf}`)).map(({ flags, linkinfo }) => ({ flags, linkinfo })),
    members: json(pod.run(`ip -j link show master ${vrf}`)).map(({ ifname }) => ifname),
    addresses: json(pod.run('ip -j addr show dev eth0')).map(({ addr_info }) =>
      (addr_info as Record<string, unknown>[])
        .filter(({ scope }) => scope === 'global')
        .map(({ local, prefixlen }) => ({ local, prefixlen })),
    ),
    routes: sorted(pod.run(`ip -j route show vrf ${vrf}`)),
    routes6: sorted(pod.run(`ip -j -6 route show vrf ${vrf}`)).filter(
      (route) => !/fe80|multicast/u.test(route),
    ),
    main: sorted(pod.run('ip -j route')),
    rules: pod.run('ip rule'),
  });

  for (const [label, plugins] of [
    ["Debian's", 'debian'],
    ["upstream's newest", 'upstream'],
  ] as const)
    for (const [index, table] of [0, 42].entries())
      test(
        `as ${label} plugin: table ${table}`,
        { skip: skip || (plugins === 'upstream' && withoutNew('vrf')) },
        async () => {
          const [ours, theirs] = [wired(`a${plugins[0]}${index}`), wired(`b${plugins[0]}${index}`)];
          const config = { type: 'vrf', vrfname: 'blue', ...(table === 0 ? {} : { table }) };
          assert.deepEqual(await ours.pod.add(config, ifnameOf(ours)), ours.prevResult);
          theirs.pod[plugins]('ADD', config, ifnameOf(theirs));
          // Debian's version does not carry routes.
          if (plugins === 'upstream') assert.deepEqual(state(ours.pod, 'blue'), state(theirs.pod, 'blue'));
          assert.deepEqual(await ours.pod.check(config), []);
          ours.pod[plugins]('CHECK', config, ifnameOf(ours));
          await ours.pod.del(config);
          theirs.pod[plugins]('DEL', config, ifnameOf(theirs));
          for (const { pod } of [ours, theirs]) {
            assert.doesNotMatch(pod.run('ip -o link'), /blue/u);
            assert.match(pod.run('ip -o link'), /eth0/u);
          }
        },
      );

  test('two interfaces share a VRF, which ends with the last of them', { skip }, async () => {
    const first = wired('two');
    const second = wired('two', 'net1', first.pod);
    const { pod } = first;
    const config = { type: 'vrf', vrfname: 'red' };
    await pod.add(config, ifnameOf(first));
    await pod.add(config, ifnameOf(second));
    await pod.add({ type: 'vrf', vrfname: 'green' }, ifnameOf(wired('two', 'net2', pod)));
    assert.match(pod.run('ip -d link show red'), /vrf table 1/u);
    assert.match(pod.run('ip -d link show green'), /vrf table 2/u);
    await pod.del(config, ifnameOf(first));
    assert.doesNotMatch(pod.run('ip route show table 1'), /10\.20\.0/u);
    assert.match(pod.run('ip -o link'), /red/u);
    assert.deepEqual(await pod.check(config, ifnameOf(second)), []);
    await pod.del(config, ifnameOf(second));
    assert.doesNotMatch(pod.run('ip -o link'), /red/u);
  });

  test('a difference is reported and repaired; an ended pod leaves nothing', { skip }, async () => {
    const made = wired('drift');
    const { pod } = made;
    const config = { type: 'vrf', vrfname: 'blue' };
    await pod.add(config, ifnameOf(made));
    for (const spoil of [
      'ip link set blue down',
      'ip link set eth0 nomaster',
      'ip route flush vrf blue',
      'ip addr del fd20::2/64 dev eth0',
      'ip link del blue',
    ]) {
      pod.run(spoil);
      assert.notDeepEqual(await pod.check(config), [], spoil);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    pod.die();
    await pod.delDead(config);
  });

  test('a VRF that existed before stays, and other links are not used', { skip }, async () => {
    const made = wired('kept');
    const { pod } = made;
    pod.run('ip link add blue type vrf table 7');
    const config = { type: 'vrf', vrfname: 'blue' };
    assert.equal(
      await codeOf(() => pod.add({ ...config, table: 8 }, ifnameOf(made))),
      'NETWORK_VRF_UNUSABLE',
    );
    assert.equal(
      await codeOf(() => pod.add({ ...config, vrfname: 'lo' }, ifnameOf(made))),
      'NETWORK_VRF_UNUSABLE',
    );
    await pod.add(config, ifnameOf(made));
    assert.equal(
      await codeOf(() => pod.add({ ...config, vrfname: 'red' }, ifnameOf(made))),
      'NETWORK_VRF_UNUSABLE',
    );
    assert.match(pod.run('ip route show table 7'), /default via 10\.20\.0\.1/u);
    pod.run('ip link set eth0 nomaster');
    await pod.repair(config);
    await pod.del(config);
    assert.match(pod.run('ip -o link'), /blue/u);
  });

  test('a kernel without VRFs is reported', { skip: lacking ? false : 'the kernel has them' }, async () => {
    const made = wired('none');
    assert.equal(
      await codeOf(() => made.pod.add({ type: 'vrf', vrfname: 'blue' }, ifnameOf(made))),
      'NETWORK_LINK_TYPE_MISSING',
    );
    assert.match(made.pod.run('ip route'), /default via 10\.20\.0\.1/u);
  });

  test('the tables of the kernel are refused, because other interfaces use them', async () => {
    const pod = pods.pod('tables');
    const prevResult: CniResult = { interfaces: [], ips: [], routes: [], dns: {} };
    for (const table of [253, 254, 255])
      await assert.rejects(
        pod.add({ type: 'vrf', vrfname: 'blue', table }, { prevResult }),
        /is the table (?:default|main|local) of the kernel/u,
      );
  });

  test('a call without an interface is refused', async () => {
    const pod = pods.pod('nothing');
    const prevResult = { interfaces: [], ips: [], routes: [], dns: {} };
    assert.equal(
      await codeOf(() => pod.add({ type: 'vrf', vrfname: 'blue' }, { prevResult })),
      'NETWORK_INTERFACE_MISSING',
    );
  });
}
