import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';
import { bucketOf } from './bucket.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());

  /** Returns a pod with a veth pair as ptp or bridge create it. */
  const wired = (name: string): { pod: TestPod; host: string; prevResult: CniResult } => {
    const pod = pods.pod(name);
    const host = `h${name}`;
    shell(
      `ip link add ${host} mtu 1400 type veth peer name eth0 netns ${pod.netns} && ip link set ${host} up`,
    );
    pod.run('ip link set eth0 up');
    const prevResult = {
      interfaces: [{ name: 'cni0' }, { name: host }, { name: 'eth0', sandbox: pod.netns }],
      ips: [],
      routes: [],
      dns: {},
    };
    return { pod, host, prevResult };
  };
  /** Returns the kernel's state, without numbers that the kernel chooses. */
  const limits = (host: string, ifb: string): unknown => ({
    root: json(shell(`tc -j qdisc show dev ${host} root`)).map(({ kind, handle, options }) => ({
      kind,
      handle,
      options,
    })),
    ifb: json(shell(`tc -j qdisc show dev ${ifb} root`)).map(({ kind, handle, options }) => ({
      kind,
      handle,
      options,
    })),
    ingress: shell(`tc qdisc show dev ${host} ingress`).replace(/dev \S+/u, ''),
    mtu: json(shell(`ip -j link show dev ${ifb}`)).map(({ mtu, operstate }) => ({ mtu, operstate })),
    filter: shell(`tc filter show dev ${host} parent ffff:`)
      .replaceAll(ifb, 'IFB')
      .match(/(filter protocol.*u32.*flowid.*|match .*|mirred.*)/gu)
      ?.slice(0, 3),
  });

  for (const [label, own] of [
    [
      'small',
      { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 },
    ],
    [
      'wide',
      {
        ingressRate: 100_000_000_000,
        ingressBurst: 8_000_000_000,
        egressRate: 40_000_000_001,
        egressBurst: 123_456_789,
      },
    ],
  ] as const) {
    test(`it limits as Debian's plugin does: ${label}`, async () => {
      const [ours, theirs] = [wired(`a${label}`), wired(`b${label}`)];
      const config = { type: 'bandwidth', ...own };
      const result = await ours.pod.add(config, { prevResult: ours.prevResult });
      const expected = theirs.pod.debian('ADD', config, { prevResult: theirs.prevResult });
      const [ifb, other] = [result, expected].map((each) => each?.interfaces.at(-1)?.name ?? '');
      assert.match(ifb ?? '', /^bwp[0-9a-f]{12}$/u);
      assert.deepEqual(limits(ours.host, ifb ?? ''), limits(theirs.host, other ?? ''));
      assert.equal(result.interfaces.length, expected?.interfaces.length);
      assert.deepEqual(await ours.pod.check(config, { prevResult: ours.prevResult }), []);
      await ours.pod.del(config);
      assert.doesNotMatch(shell('ip -o link'), new RegExp(ifb ?? '', 'u'));
      assert.doesNotMatch(shell(`tc qdisc show dev ${ours.host}`), /tbf|ingress/u);
      theirs.pod.debian('DEL', config, { prevResult: theirs.prevResult });
    });
  }

  test('the capability applies if the configuration itself has no limit', async () => {
    const { pod, host, prevResult } = wired('cap');
    const config = {
      type: 'portcullis-bandwidth',
      runtimeConfig: { bandwidth: { ingressRate: 1_000_000, ingressBurst: 100_000 } },
    };
    const result = await pod.add(config, { prevResult });
    assert.deepEqual(result, prevResult);
    assert.match(shell(`tc qdisc show dev ${host}`), /tbf 1: root .* rate 1Mbit/u);
    await pod.del(config);
  });

  for (const [runtime, burst] of [
    ['containerd', 0xffff_ffff],
    ['CRI-O', 0xffff_ffff * 8 - 1],
  ] as const)
    test(`the burst that ${runtime} requests for every rate is reduced to what the kernel counts`, async () => {
      const { pod, host, prevResult } = wired(`burst${runtime.length}`);
      const limits = { ingressRate: 1_000_000, ingressBurst: burst };
      const config = { type: 'portcullis-bandwidth', runtimeConfig: { bandwidth: limits } };
      await pod.add(config, { prevResult });
      // 274.8 s at the rate.
      assert.match(shell(`tc qdisc show dev ${host}`), /tbf 1: root .* rate 1Mbit burst 3435\d{4}b /u);
      assert.deepEqual(await pod.check(config, { prevResult }), []);
      await pod.del(config);
    });

  test('no limit is not a change', async () => {
    const { pod, host, prevResult } = wired('none');
    assert.deepEqual(await pod.add({ type: 'bandwidth' }, { prevResult }), prevResult);
    assert.doesNotMatch(shell(`tc qdisc show dev ${host}`), /tbf/u);
  });

  test('a difference is reported and repaired', async () => {
    const { pod, host, prevResult } = wired('drift');
    const config = {
      type: 'bandwidth',
      ingressRate: 8_000_000,
      ingressBurst: 800_000,
      egressRate: 16_000_000,
      egressBurst: 1_600_000,
    };
    const ifb = (await pod.add(config, { prevResult })).interfaces.at(-1)?.name ?? '';
    for (const [spoil, words] of [
      [`tc qdisc replace dev ${host} root handle 1: tbf rate 1mbit burst 10k latency 25ms`, /is limited to/u],
      [`tc qdisc del dev ${host} root`, /has no traffic limit/u],
      [`tc qdisc del dev ${host} ingress`, /is not sent to/u],
      [`ip link set ${ifb} down`, /is down/u],
      [`ip link del ${ifb}`, /has no link/u],
    ] as const) {
      shell(spoil);
      assert.match((await pod.check(config)).join('; '), words, spoil);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    pod.run('ip link del eth0');
    assert.match((await pod.check(config)).join('; '), /no interface eth0/u);
    pod.die();
    await pod.delDead(config);
    assert.doesNotMatch(shell('ip -o link'), /bwp/u);
  });

  test('two interfaces of one pod get one ifb each', async () => {
    const { pod, prevResult } = wired('two');
    shell(`ip link add h2 type veth peer name net1 netns ${pod.netns}`);
    const config = { type: 'bandwidth', egressRate: 16_000_000, egressBurst: 1_600_000 };
    const second = {
      interface: 'net1',
      prevResult: { ...prevResult, interfaces: [{ name: 'h2' }, { name: 'net1', sandbox: pod.netns }] },
    };
    const names = [await pod.add(config, { prevResult }), await pod.add(config, second)].map(
      (result) => result.interfaces.at(-1)?.name,
    );
    assert.equal(new Set(names).size, 2);
    await pod.del(config);
    await pod.del(config, second);
  });

  test('an interface without a veth peer in the host is refused, and nothing is left', async () => {
    const pod = pods.pod('lonely');
    const before = shell('ip -o link');
    const prevResult = { interfaces: [{ name: 'lo', sandbox: pod.netns }], ips: [], routes: [], dns: {} };
    const config = { type: 'bandwidth', egressRate: 16_000_000, egressBurst: 1_600_000 };
    assert.equal(
      await codeOf(() => pod.add(config, { prevResult, interface: 'lo' })),
      'NETWORK_BANDWIDTH_NO_LINK',
    );
    assert.equal(shell('ip -o link'), before);
  });
}

test('the bucket size is that of upstream up to the limits of 32 bits', () => {
  assert.deepEqual(bucketOf({ rate: 8_000_000, burst: 800_000 }), {
    rate: 1_000_000n,
    limit: 125_000,
    buffer: 1_562_500,
  });
  assert.equal(bucketOf({ rate: 8e12, burst: 34_359_738_352 }).limit, 0xffffffff);
});
