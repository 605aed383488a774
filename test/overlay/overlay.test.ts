import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { openEtcd } from '../../cni-plugins/overlay/etcd/client.ts';
import { forgedFrame } from './forged.ts';
import { createHosts, endpoint, etcdTool, hasWireguard, shell, until } from './hosts.ts';
import type { Host, Hosts, Pod } from './hosts.ts';
import { answeredBy, guarded, namedAs, publishedBy, reachedBy, virtualOf, web } from './joined.ts';
import type { StreamReport } from './pod.ts';

describe('two hosts, one network', { skip: etcdTool.skip }, () => {
  let all: Hosts;
  let pods: Pod[];
  const members: Pod[] = [];

  before(async () => {
    all = createHosts(2);
    await all.startEtcd();
    for (const host of all.hosts) host.start();
    for (const host of all.hosts)
      await until(`${host.name} is connected to the other`, async () => {
        const { state, peers } = await host.status();
        return state === 'connected' && peers[0]?.subnets.length === 2;
      });
    pods = [];
    for (const host of all.hosts) pods.push(await host.attach(`pod-${host.name}`));
    await until('the pods listen', async () => {
      const [answer] = await pods[0]!.ask<string[]>({
        do: 'who',
        address: pods[0]!.addresses[0]!,
        port: 7000,
        times: 1,
      });
      return answer === pods[0]!.name;
    });
  });
  after(() => all?.end());

  test('pods of one host reach pods of the other, over IPv4 and IPv6 and with their own addresses', async () => {
    const [one, two] = pods as [Pod, Pod];
    for (const address of two.addresses)
      await until(
        `${address} answers`,
        async () => (await one.ask<string[]>({ do: 'who', address, port: 7000, times: 1 }))[0] === two.name,
      );
  });

  test('a pod cannot send in the name of another pod by encapsulating packets itself', async () => {
    const [one] = pods as [Pod];
    for (const [index, host] of all.hosts.entries()) {
      const to = pods[index]!.addresses[0]!;
      const other = pods[1 - index]!.addresses[0]!;
      const frame = forgedFrame(host, other, to, `forged-${index}`);
      // By the host itself the packet arrives: the packet is valid.
      const valid = forgedFrame(host, other, to, `valid-${index}`);
      all.hosts[0]!.run(
        `${process.execPath} -e "require('dgram').createSocket('udp4').send(Buffer.from('${valid.toString('base64')}', 'base64'), 4789, '${host.underlay}', () => process.exit())"`,
      );
      // The underlay, the host's address in its subnet, and the gateway of its pods.
      const own = [host.underlay, to.replace(/\d+$/u, '0'), to.replace(/\d+$/u, '1')];
      for (const address of [...own, ...own])
        await one.ask({ do: 'send', bytes: frame.toString('base64'), address, port: 4789 });
    }
    await until('the valid packets arrive', async () => {
      const heard = await Promise.all(
        pods.map((pod, index) => pod.ask<boolean>({ do: 'heard', text: `valid-${index}` })),
      );
      return heard.every(Boolean);
    });
    for (const [index, pod] of pods.entries())
      assert.equal(await pod.ask<boolean>({ do: 'heard', text: `forged-${index}` }), false);
  });

  test('two hosts create a service at the same moment: they share one service, whose address, names and ports lead to members of both', async () => {
    const [one, two] = all.hosts as [Host, Host];
    const [a, b] = await Promise.all([one.attach('web-1', [web]), two.attach('web-2', [web])]);
    members.push(a, b);
    const virtual = await virtualOf(a, 'web');
    for (const pod of members) {
      await namedAs(pod, 'web', virtual);
      await namedAs(pod, 'front', virtual);
      await namedAs(pod, 'tasks.web', [...a.addresses, ...b.addresses]);
    }
    for (const pod of [...pods, ...members])
      for (const address of virtual) await answeredBy(pod, address, ['web-1', 'web-2']);
    for (const host of all.hosts) {
      await publishedBy(host, 30080, ['web-1', 'web-2']);
      for (const address of virtual) await reachedBy(host, address, ['web-1', 'web-2']);
    }
  });

  test('no plain packet of a service goes where only encrypted ones may', async () => {
    const virtual = await virtualOf(pods[0]!, 'web');
    const guards = await Promise.all(all.hosts.map(guarded));
    for (const pod of pods) for (const address of virtual) await answeredBy(pod, address, ['web-1', 'web-2']);
    for (const host of all.hosts) {
      await publishedBy(host, 30080, ['web-1', 'web-2']);
      for (const address of virtual) await reachedBy(host, address, ['web-1', 'web-2']);
    }
    guards.forEach((remove) => remove());
  });

  test('conflicting settings are refused, the error names them, and the rest stays in force', async () => {
    const [, two] = all.hosts as [Host, Host];
    await assert.rejects(
      two.attach('round', [{ name: 'web', mode: 'dnsrr' }]),
      (thrown: { readonly stdout?: string }) => /web .*the other mode/u.test(thrown.stdout ?? ''),
    );
    shell('ip netns delete round');
    const api = await two.attach('api-2', [
      { name: 'api', ports: ['80:7000'], ingressPorts: ['30080:7000', '30081:7000'] },
    ]);
    await until('the port is refused', async () =>
      (await two.status()).refused.some((line) => /api: .*30080 belongs to the service web/u.test(line)),
    );
    const [virtual] = await virtualOf(api, 'api');
    await answeredBy(pods[0]!, virtual!, ['api-2']);
    for (const host of all.hosts) {
      await publishedBy(host, 30081, ['api-2']);
      await publishedBy(host, 30080, ['web-1', 'web-2']);
    }
    await api.detach();
  });

  test('the last member removes the service on each host and in etcd', async () => {
    const [virtual] = await virtualOf(pods[0]!, 'web');
    for (const member of members) await member.detach();
    for (const pod of pods) for (const name of ['web', 'tasks.web']) await namedAs(pod, name, []);
    for (const host of all.hosts)
      await until('no link has the address', () => !host.run('ip address').includes(`${virtual ?? ''}/`));
    const client = openEtcd({ endpoints: [endpoint] });
    try {
      const isOfService = (key: string): boolean =>
        /^[^/]+\/(?:virtual|holders|members|ports|addresses)\//u.test(key);
      const hosts = '/portcullis/overlay/shop/hosts/';
      await until('no host reports a service', async () =>
        (await client.list(hosts)).pairs.every(({ key }) => !isOfService(key.slice(hosts.length))),
      );
    } finally {
      client.close();
    }
  });

  test('etcd is rolled back to a state with the lease of a host and without its last changes: the host writes them again', async () => {
    const client = openEtcd({ endpoints: [endpoint] });
    const record = '/portcullis/overlay/shop/hosts/host-2/record';
    const mtuOf = async (): Promise<unknown> =>
      (JSON.parse((await client.get(record))?.value.toString() ?? '{}') as { mtu?: number }).mtu;
    try {
      await all.killEtcd();
      all.copyEtcd();
      await all.startEtcd();
      all.hosts[1]!.run('ip link set eth0 mtu 1400');
      await until('the record has the other MTU', async () => (await mtuOf()) === 1350);
      await all.killEtcd();
      all.rollEtcdBack();
      await all.startEtcd();
      // A lease of ten seconds may also end while the host looks for etcd.
      await until('the record has it again', async () => (await mtuOf()) === 1350);
      await client.transact([], [{ deleteRange: { key: record } }]);
      await until('a deleted record is written again', async () => (await mtuOf()) === 1350);
    } finally {
      client.close();
      all.hosts[1]!.run('ip link set eth0 mtu 1500');
    }
  });

  test('removed kernel objects are restored while the host cannot use its underlay', async () => {
    const host = all.hosts[1]!;
    try {
      // It leaves too little for IPv6.
      host.run('ip link set eth0 mtu 1300');
      await until('the host says so', () => Promise.resolve(host.log().includes('IPv6 needs 1280')));
      const line = host
        .log()
        .split('\n')
        .find((one) => one.includes('IPv6 needs 1280'));
      assert.match(line ?? '', /cannot use its underlay/u);
      host.run('nft delete table ip portcullis-overlay');
      await until('the table is back', () =>
        Promise.resolve(host.run('nft list tables').includes('table ip portcullis-overlay\n')),
      );
    } finally {
      host.run('ip link set eth0 mtu 1500');
    }
  });

  test('without etcd, and with killed agents: streams continue, and removed kernel objects are restored when the agents are up again', async () => {
    const [one, two] = pods as [Pod, Pod];
    await one.ask({ do: 'open', stream: 'tcp', protocol: 'tcp', address: two.addresses[0]!, port: 7000 });
    const echoed = async (): Promise<StreamReport> =>
      (await one.ask<Record<string, StreamReport>>({ do: 'report' }))['tcp']!;
    await until('the stream runs', async () => (await echoed()).echoed > 5);
    await all.killEtcd();
    for (const host of all.hosts)
      await until(`${host.name} is away`, async () => (await host.status()).state === 'away');
    for (const host of all.hosts) await host.kill();
    const before = (await echoed()).echoed;
    await until('the stream continues', async () => (await echoed()).echoed > before + 50);
    const [first] = all.hosts;
    first!.run('ip route flush dev portcullis-vx');
    first!.start();
    await until('the stream continues without etcd', async () => {
      const now = (await echoed()).echoed;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return (await echoed()).echoed > now;
    });
    assert.equal((await first!.status()).state, 'joining');
    await all.startEtcd();
    all.hosts[1]!.start();
    for (const host of all.hosts)
      await until(`${host.name} is back`, async () => (await host.status()).state === 'connected');
    assert.equal((await echoed()).ended, undefined);
  });

  test(
    'encryption that the kernel does not support is refused with the reason, and nothing is sent to other hosts instead',
    { skip: hasWireguard() && 'this kernel has WireGuard' },
    async () => {
      const [first] = all.hosts;
      await first!.kill();
      first!.start({ encryption: 'wireguard' });
      await until(
        'the link that does not encrypt is gone',
        () => !first!.run('ip -o link').includes('portcullis-vx'),
      );
      await assert.rejects(first!.status(), /the kernel has no wireguard/u);
      assert.match(
        first!.run('nft list table ip portcullis-overlay-guard'),
        /oifname != "portcullis-wg" .*drop/u,
      );
      assert.doesNotMatch(first!.log(), /PRIVATE|privateKey/u);
      await first!.kill();
      first!.start();
      await until(
        'without encryption the link exists again',
        async () => (await first!.status()).state === 'connected',
      );
      assert.throws(() => first!.run('nft list table ip portcullis-overlay-guard 2>&1'));
    },
  );
});
