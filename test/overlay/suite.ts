import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEtcd } from '../../cni-plugins/overlay/etcd/client.ts';
import { endpoint, createHosts, etcdTool, openStreams, shell, until } from './hosts.ts';
import type { Host, Hosts, Pod } from './hosts.ts';
import type { StreamReport } from './pod.ts';
import { crowd } from './many-hosts.ts';
import { testJoinedServices } from './joined-suite.ts';

/**
 * `npm run test:overlay`: five hosts, partitions of a minute (PORTCULLIS_PARTITION_SECONDS), etcd killed,
 * 1,000 hosts (PORTCULLIS_OVERLAY_HOSTS).
 */

const partitionSeconds = Number(process.env['PORTCULLIS_PARTITION_SECONDS'] ?? 60);
const crowdSize = Number(process.env['PORTCULLIS_OVERLAY_HOSTS'] ?? 1000);
/** Longer than this machine ever stalls, much shorter than the silence of a broken path. */
const silenceMs = 5000;
const vip = '10.96.0.10';

describe('five hosts, one network', { skip: etcdTool.skip, timeout: 3_600_000 }, () => {
  let all: Hosts;
  const pods: Pod[] = [];
  const figures: string[] = [];

  const everybody = async (hosts: readonly Host[]): Promise<void> => {
    for (const host of hosts)
      await until(`${host.name} knows all`, async () => {
        const { state, peers } = await host.status();
        return (
          state === 'connected' &&
          peers.filter(({ subnets, unreachable }) => subnets.length === 2 && unreachable === undefined)
            .length ===
            all.hosts.length - 1
        );
      });
  };
  const reports = async (): Promise<Map<string, StreamReport>> => {
    const found = new Map<string, StreamReport>();
    for (const pod of pods)
      for (const [stream, report] of Object.entries(
        await pod.ask<Record<string, StreamReport>>({ do: 'report' }),
      ))
        found.set(`${pod.name} ${stream}`, report);
    return found;
  };
  /** Checks that each selected stream was heard all the time since the last check. */
  const unbroken = async (what: string, about: (stream: string) => boolean): Promise<void> => {
    const found = [...(await reports())].filter(([stream]) => about(stream));
    assert.ok(found.length > 0);
    for (const [stream, { ended, longestSilenceMs, echoed }] of found) {
      assert.equal(ended, undefined, `${what}: ${stream} ended`);
      assert.ok(
        echoed > 0 && longestSilenceMs < silenceMs,
        `${what}: ${stream} was silent for ${longestSilenceMs.toFixed(0)} ms`,
      );
    }
    const longest = Math.max(...found.map(([, { longestSilenceMs }]) => longestSilenceMs));
    figures.push(`${what}: ${found.length} streams, none ended, longest silence ${longest.toFixed(0)} ms`);
  };

  before(async () => {
    all = createHosts(5, {
      holdSeconds: 600,
      networks: [
        { prefix: '10.128.0.0/12', hostLength: 24 },
        { prefix: 'fd00:10:128::/48', hostLength: 64 },
      ],
    });
    await all.startEtcd();
    for (const host of all.hosts) host.start();
    await everybody(all.hosts);
    for (const host of all.hosts) pods.push(await host.attach(`pod-${host.name}`));
  });
  after(async () => {
    await all?.end();
    process.stdout.write(`${figures.join('\n')}\n`);
  });

  test('every pod reaches every other pod, over IPv4 and IPv6', async () => {
    for (const from of pods)
      for (const to of pods)
        for (const address of to.addresses)
          await until(
            `${from.name} reaches ${address}`,
            async () =>
              (await from.ask<string[]>({ do: 'who', address, port: 7000, times: 1 }))[0] === to.name,
          );
  });

  test('a spread service exists on every host, with backends on all hosts', async () => {
    const text = JSON.stringify({
      apiVersion: 'portcullis.dev/v1alpha1',
      kind: 'Service',
      metadata: { name: 'echo' },
      addresses: [vip],
      scheduler: 'rr',
      ports: [{ port: 80, targetPort: 7000 }],
      backends: pods.map(({ addresses }) => ({ address: addresses[0] })),
    });
    await all.hosts[0]!.ask({ do: 'spread', file: 'echo.yaml', text });
    for (const pod of pods)
      await until(`${pod.name} meets the backends of all hosts at ${vip}`, async () => {
        const found = await pod.ask<string[]>({ do: 'who', address: vip, port: 80, times: 20 });
        // Whether a pod reaches itself is covered by the balancers' own table of cases.
        return (
          pods.every(({ name }) => name === pod.name || found.includes(name)) &&
          found.every((name) => name.startsWith('pod-'))
        );
      });
    for (const pod of pods)
      await pod.ask({ do: 'open', stream: 'vip tcp', protocol: 'tcp', address: vip, port: 80 });
  });

  test('etcd is killed and comes back: no stream stops, and the hosts are connected again', async () => {
    for (const [index, from] of pods.entries()) {
      const to = pods[(index + 1) % pods.length]!;
      await openStreams(from, to);
    }
    await until('all streams run', async () =>
      [...(await reports()).values()].every(({ echoed }) => echoed > 20),
    );
    await reports();
    await all.killEtcd();
    for (const host of all.hosts)
      await until(`${host.name} is away`, async () => (await host.status()).state === 'away');
    await sleep(partitionSeconds * 1000);
    await unbroken('etcd away', () => true);
    await all.startEtcd();
    await everybody(all.hosts);
    await unbroken('etcd back', () => true);
  });

  test('a host that is cut off only from etcd loses only its lease', async () => {
    const cut = all.hosts[4]!;
    cut.run(
      `nft 'table inet cut { chain out { type filter hook output priority 0; tcp dport 2379 drop; }; }'`,
    );
    for (const host of all.hosts.slice(0, 4))
      await until(`${host.name} heard that ${cut.name} is gone`, async () =>
        (await host.status()).peers.some(({ host: name, held }) => name === cut.name && held),
      );
    await sleep(partitionSeconds * 1000);
    await unbroken('one host without etcd', () => true);
    cut.run('nft delete table inet cut');
    for (const host of all.hosts.slice(0, 4))
      await until(`${host.name} has ${cut.name} again`, async () =>
        (await host.status()).peers.every(({ held }) => !held),
      );
    await everybody(all.hosts);
  });

  test('a host that is cut off from all others reconnects automatically; the others are not affected', async () => {
    const cut = pods[4]!.name;
    const concerns = (stream: string): boolean => stream.includes(cut);
    await reports();
    shell('ip link set port-5 down');
    await sleep(partitionSeconds * 1000);
    await unbroken('others while one is cut off', (stream) => !concerns(stream) && !stream.includes('vip'));
    shell('ip link set port-5 up');
    const healing = await until('streams of the reconnected host continue', async () => {
      const before = await reports();
      await sleep(1000);
      const now = await reports();
      return [...now]
        .filter(([stream]) => concerns(stream) && stream.includes('udp'))
        .every(([stream, { echoed }]) => echoed > before.get(stream)!.echoed);
    });
    await everybody(all.hosts);
    // TCP doubles the time between its attempts: the stream recovers within as long as it was cut.
    await until(
      'its TCP streams as well',
      async () => {
        const before = await reports();
        await sleep(1000);
        const now = await reports();
        return [...now]
          .filter(([stream]) => concerns(stream))
          .every(([stream, { echoed, ended }]) => ended === undefined && echoed > before.get(stream)!.echoed);
      },
      partitionSeconds * 4000,
    );
    figures.push(`healed after ${partitionSeconds} s: streams go on ${(healing / 1000).toFixed(1)} s later`);
  });

  test('links, routes and rules that another program removes are restored', async () => {
    const [host] = all.hosts as [Host];
    for (const damage of [
      'ip link delete portcullis-vx',
      'nft delete table ip portcullis-overlay',
      'ip route flush dev portcullis-vx',
      'bridge fdb add 02:00:00:00:00:99 dev portcullis-vx dst 192.0.2.99',
    ]) {
      const before = (await host.status()).corrected;
      host.run(damage);
      await until(`${damage} is mended`, async () => (await host.status()).corrected > before);
    }
    await until(
      'pods reach each other',
      async () =>
        (
          await pods[0]!.ask<string[]>({ do: 'who', address: pods[1]!.addresses[0]!, port: 7000, times: 1 })
        )[0] === pods[1]!.name,
    );
    assert.ok(!host.run('bridge fdb show dev portcullis-vx').includes('192.0.2.99'));
  });

  testJoinedServices(() => ({
    hosts: all,
    pods,
    partitionSeconds,
    everybody: () => everybody(all.hosts),
    figures,
  }));

  test(`the updates of ${crowdSize} hosts reach five hosts, which end in the same state`, async () => {
    const client = openEtcd({ endpoints: [endpoint] });
    try {
      for (const host of all.hosts) await host.kill();
      for (const host of all.hosts) host.start({ holdSeconds: 5, leaseSeconds: 60 });
      await everybody(all.hosts);
      const cost = (): { cpuMs: number; rssMb: number }[] => all.hosts.map(({ pid }) => costOf(pid));
      const before = cost();
      const taken = new Set<string>();
      for (const host of all.hosts) for (const subnet of (await host.status()).subnets) taken.add(subnet);
      const began = performance.now();
      const { events, expected } = await crowd(client, crowdSize, taken);
      const written = performance.now();
      for (const host of all.hosts)
        await until(`${host.name} has what etcd has`, () => sameAs(host, expected), 300_000);
      const settled = performance.now();
      const after_ = cost();
      await until(
        'pods reach each other',
        async () =>
          (
            await pods[0]!.ask<string[]>({ do: 'who', address: pods[4]!.addresses[0]!, port: 7000, times: 1 })
          )[0] === pods[4]!.name,
      );
      const cpu = after_.map(({ cpuMs }, index) => cpuMs - before[index]!.cpuMs);
      const mean = cpu.reduce((sum, each) => sum + each, 0) / cpu.length;
      figures.push(
        `${crowdSize} hosts: ${events} changes written in ${((written - began) / 1000).toFixed(1)} s, all five the same ${((settled - written) / 1000).toFixed(1)} s later; ` +
          `a host's whole process: ${mean.toFixed(0)} ms of CPU, ${((mean / events) * 1000).toFixed(0)} µs a change, ${Math.max(...after_.map(({ rssMb }) => rssMb)).toFixed(0)} MB (before: ${Math.max(...before.map(({ rssMb }) => rssMb)).toFixed(0)})`,
      );
    } finally {
      client.close();
    }
  });
});

/** Returns the CPU time since its start, and the resident memory, of a process. */
function costOf(pid: number): { cpuMs: number; rssMb: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  const rss = /VmRSS:\s+(\d+)/u.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1];
  return { cpuMs: (Number(fields[11]) + Number(fields[12])) * 10, rssMb: Number(rss) / 1024 };
}

/** Returns whether the kernel of the host sends to exactly these, in addition to the other four. */
function sameAs(
  host: Host,
  expected: ReadonlyMap<string, { readonly mac: string; readonly underlay: string }>,
): boolean {
  const lines = (command: string): string[] => host.run(command).trim().split('\n');
  const routes = new Set(lines('ip route show dev portcullis-vx').map((line) => line.split(' ')[0]!));
  const neighbours = new Map(
    lines('ip neigh show dev portcullis-vx')
      .map((line) => line.split(' '))
      .map(([address, , mac]) => [address!, mac!]),
  );
  const forwarding = new Map(
    lines('bridge fdb show dev portcullis-vx')
      .map((line) => line.split(' '))
      .map(([mac, , remote]) => [mac!, remote!]),
  );
  if (routes.size !== expected.size + 4) return false;
  return [...expected].every(([subnet, { mac, underlay }]) => {
    const address = subnet.slice(0, subnet.indexOf('/'));
    return routes.has(subnet) && neighbours.get(address) === mac && forwarding.get(mac) === underlay;
  });
}
