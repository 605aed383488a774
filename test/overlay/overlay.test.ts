import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createHosts, etcdTool, hasWireguard, until } from './hosts.ts';
import type { Hosts, Pod } from './hosts.ts';
import type { StreamReport } from './pod.ts';

describe('two hosts, one network', { skip: etcdTool.skip }, () => {
  let all: Hosts;
  let pods: Pod[];

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
      const [answer] = await pods[0]!.ask<string[]>({ do: 'who', address: pods[0]!.addresses[0]!, port: 7000, times: 1 });
      return answer === pods[0]!.name;
    });
  });
  after(() => all?.end());

  test('pods of one reach pods of the other, by both families and with their own addresses', async () => {
    const [one, two] = pods as [Pod, Pod];
    for (const address of two.addresses)
      await until(
        `${address} answers`,
        async () => (await one.ask<string[]>({ do: 'who', address, port: 7000, times: 1 }))[0] === two.name,
      );
  });

  test('no etcd, and killed agents: streams go on, and what was taken from the kernel is put back when they are up again', async () => {
    const [one, two] = pods as [Pod, Pod];
    await one.ask({ do: 'open', stream: 'tcp', protocol: 'tcp', address: two.addresses[0]!, port: 7000 });
    const echoed = async (): Promise<StreamReport> => (await one.ask<Record<string, StreamReport>>({ do: 'report' }))['tcp']!;
    await until('the stream runs', async () => (await echoed()).echoed > 5);
    await all.killEtcd();
    for (const host of all.hosts) await until(`${host.name} is away`, async () => (await host.status()).state === 'away');
    for (const host of all.hosts) await host.kill();
    const before = (await echoed()).echoed;
    await until('the stream goes on', async () => (await echoed()).echoed > before + 50);
    const [first] = all.hosts;
    first!.run('ip route flush dev portcullis-vx');
    first!.start();
    await until('the stream goes on without etcd', async () => {
      const now = (await echoed()).echoed;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return (await echoed()).echoed > now;
    });
    assert.equal((await first!.status()).state, 'joining');
    await all.startEtcd();
    all.hosts[1]!.start();
    for (const host of all.hosts) await until(`${host.name} is back`, async () => (await host.status()).state === 'connected');
    assert.equal((await echoed()).ended, undefined);
  });

  test(
    'encryption that the kernel has not is refused by name, and nothing goes to other hosts instead',
    { skip: hasWireguard() && 'this kernel has it' },
    async () => {
      const [first] = all.hosts;
      await first!.kill();
      first!.start({ encryption: 'wireguard' });
      await until('the link that does not encrypt is gone', () => !first!.run('ip -o link').includes('portcullis-vx'));
      await assert.rejects(first!.status(), /the kernel has no wireguard/u);
      assert.match(first!.run('nft list table ip portcullis-overlay-guard'), /oifname != "portcullis-wg" .*drop/u);
      assert.doesNotMatch(first!.log(), /PRIVATE|privateKey/u);
      await first!.kill();
      first!.start();
      await until('without encryption it is back', async () => (await first!.status()).state === 'connected');
      assert.throws(() => first!.run('nft list table ip portcullis-overlay-guard 2>&1'));
    },
  );
});
