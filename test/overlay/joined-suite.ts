import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEtcd } from '../../cni-plugins/overlay/etcd/client.ts';
import { createOwnership } from '../../cni-plugins/overlay/ownership/ownership.ts';
import { keysOf } from '../../cni-plugins/overlay/records/records.ts';
import { endpoint, shell, until } from './hosts.ts';
import type { Host, Hosts, Pod } from './hosts.ts';
import type { StreamReport } from './pod.ts';
import { answeredBy, namedAs, publishedBy, virtualOf, web } from './joined.ts';

/**
 * Services that pods of five hosts join: how each host sees them while members, hosts and etcd come and go. A
 * part of `suite.ts`.
 */

export interface FiveHosts {
  readonly hosts: Hosts;
  /** One pod on each host, without a service. */
  readonly pods: readonly Pod[];
  readonly partitionSeconds: number;
  /** Resolves when all hosts know all others. */
  readonly everybody: () => Promise<void>;
  readonly figures: string[];
}

const holdSeconds = 5;
/** Longer than this machine ever stalls. */
const silenceMs = 5000;
const kills = Number(process.env['PORTCULLIS_OVERLAY_KILLS'] ?? 15);
const folders = ['virtual', 'holders', 'members', 'ports', 'addresses'] as const;

export function testJoinedServices(five: () => FiveHosts): void {
  const scene = createScene(five);
  testMembers(scene);
  testLossOfEtcd(scene);
  testKilledDaemons(scene);
  testCutOffHosts(scene);
  testChurn(scene);
  testLastMember(scene);
}

/** The service `web` on five hosts, and how it is looked at. */
function createScene(five: () => FiveHosts) {
  const members = new Map<Host, Pod>();
  /** The addresses of `web`, once it has a member. */
  const virtual: string[] = [];
  const hosts = (): readonly Host[] => five().hosts.hosts;
  const host = (number: number): Host => hosts()[number - 1]!;
  const names = (): string[] => [...members.values()].map(({ name }) => name);
  const addresses = (): string[] => [...members.values()].flatMap((pod) => pod.addresses);

  /** Checks from the pod of each host: the same address, all members behind it, and their names. */
  const standsOn = async (about: readonly Host[], expected = names(), found = addresses()): Promise<void> => {
    for (const each of about) {
      const pod = five().pods[hosts().indexOf(each)]!;
      await namedAs(pod, 'web', virtual);
      await namedAs(pod, 'tasks.web', found);
      for (const address of virtual) await answeredBy(pod, address, expected);
      await publishedBy(each, 30080, expected);
    }
  };
  const inEtcd = async <Value>(
    body: (list: (folder: string) => Promise<string[]>) => Promise<Value>,
  ): Promise<Value> => {
    const client = openEtcd({ endpoints: [endpoint] });
    const all = '/portcullis/overlay/shop/';
    try {
      return await body(async (folder) => {
        const { pairs, revision } = await client.list(all);
        const facts = createOwnership(keysOf('shop')).list(pairs, revision);
        return facts.map(({ key }) => key.slice(all.length)).filter((key) => key.startsWith(`${folder}/`));
      });
    } finally {
      client.close();
    }
  };
  const restart = async (more: { readonly holdSeconds: number }): Promise<void> => {
    for (const each of hosts()) await each.kill();
    for (const each of hosts()) each.start(more);
    await five().everybody();
  };
  return { five, members, virtual, hosts, host, names, addresses, standsOn, inEtcd, restart };
}

type Scene = ReturnType<typeof createScene>;

function testMembers({ five, members, virtual, hosts, host, standsOn }: Scene): void {
  test('members on five hosts that create their service at the same moment have one address on all of them', async () => {
    const began = performance.now();
    const made = await Promise.all(hosts().map((each) => each.attach(`web-${each.name}`, [web])));
    made.forEach((pod, index) => members.set(host(index + 1), pod));
    virtual.push(...(await virtualOf(five().pods[0]!, 'web')));
    await standsOn(hosts());
    five().figures.push(
      `five members join one service: seen from all five hosts ${((performance.now() - began) / 1000).toFixed(1)} s later`,
    );
  });

  test('a member leaves, and comes back', async () => {
    const third = host(3);
    await members.get(third)!.detach();
    shell(`ip netns delete web-${third.name}`);
    members.delete(third);
    const began = performance.now();
    await until('the other hosts no longer list it', () => five().pods[0]!.lookUp('tasks.web').length === 8);
    five().figures.push(
      `a member leaves: another host no longer lists it ${((performance.now() - began) / 1000).toFixed(2)} s later`,
    );
    await standsOn(hosts());
    members.set(third, await third.attach(`web-${third.name}`, [web]));
    await standsOn(hosts());
  });
}

function testLossOfEtcd({ five, members, virtual, hosts, host, standsOn, inEtcd }: Scene): void {
  test('etcd is killed: the service continues; a leaving member leaves its own host at once, and the others when etcd is back', async () => {
    await five().hosts.killEtcd();
    for (const each of hosts())
      await until(`${each.name} is away`, async () => (await each.status()).state === 'away');
    await standsOn(hosts());
    const second = host(2);
    await members.get(second)!.detach();
    shell(`ip netns delete web-${second.name}`);
    members.delete(second);
    await standsOn([second]);
    await five().hosts.startEtcd();
    await standsOn(hosts());
    members.set(second, await second.attach(`web-${second.name}`, [web]));
    await standsOn(hosts());
  });

  test('etcd comes back empty: services and streams continue, and the hosts write their records again', async () => {
    for (const pod of five().pods)
      for (const address of virtual)
        await pod.ask({ do: 'open', stream: `vip web ${address}`, protocol: 'tcp', address, port: 80 });
    const streams = async (): Promise<[string, StreamReport][]> =>
      (await Promise.all(five().pods.map((pod) => pod.ask<Record<string, StreamReport>>({ do: 'report' }))))
        .flatMap((report) => Object.entries(report))
        .filter(([stream]) => stream.startsWith('vip web'));
    await until('the streams run', async () => (await streams()).every(([, { echoed }]) => echoed > 10));
    await streams();
    await five().hosts.killEtcd();
    five().hosts.forgetEtcd();
    await five().hosts.startEtcd();
    await five().everybody();
    await until(
      'all members are in etcd again',
      async () => (await inEtcd((list) => list('members'))).length === 5,
    );
    await standsOn(hosts());
    for (const [stream, { ended, longestSilenceMs }] of await streams())
      assert.ok(
        ended === undefined && longestSilenceMs < silenceMs,
        `${stream}: ${ended ?? `silent for ${longestSilenceMs.toFixed(0)} ms`}`,
      );
  });
}

function testKilledDaemons({ five, members, virtual, hosts, host, names, standsOn }: Scene): void {
  test('daemons are killed: the kernel continues; they come back, and find which members joined and left', async () => {
    const [first, second] = [host(1), host(2)];
    for (const each of hosts()) await each.kill();
    for (const pod of five().pods) for (const address of virtual) await answeredBy(pod, address, names());
    await members.get(first)!.detach();
    shell(`ip netns delete web-${first.name}`);
    members.delete(first);
    for (const each of hosts()) each.start({ holdSeconds });
    await five().everybody();
    await standsOn(hosts());
    members.set(first, await first.attach(`web-${first.name}`, [web]));
    await standsOn([first, second]);
  });
}

function testCutOffHosts({
  five,
  members,
  virtual,
  hosts,
  host,
  names,
  addresses,
  standsOn,
  inEtcd,
}: Scene): void {
  test('a host is cut off: the others remove its member after the hold time, and it continues with its own state; later they merge', async () => {
    const cut = host(5);
    shell('ip link set port-5 down');
    const rest = names().filter((name) => name !== members.get(cut)!.name);
    const left = addresses().filter((address) => !members.get(cut)!.addresses.includes(address));
    const began = performance.now();
    await until('its member is removed', () => five().pods[0]!.lookUp('tasks.web').length === 8);
    five().figures.push(
      `a host is cut off: its members leave ${((performance.now() - began) / 1000).toFixed(0)} s later (lease 10 s, hold ${holdSeconds} s)`,
    );
    await standsOn(hosts().slice(0, 4), rest, left);
    assert.ok(
      (await inEtcd((list) => list('holders'))).includes(`holders/web/${cut.name}`),
      'its state is kept for it',
    );
    // It resolves all names, and reaches its own members.
    await namedAs(five().pods[4]!, 'tasks.web', addresses());
    await until('it reaches its own member', async () =>
      (await five().pods[4]!.ask<string[]>({ do: 'who', address: virtual[0]!, port: 80, times: 5 })).includes(
        members.get(cut)!.name,
      ),
    );
    await sleep(five().partitionSeconds * 1000);
    shell('ip link set port-5 up');
    await five().everybody();
    await standsOn(hosts());
  });

  test('conflicting claims of two partitioned hosts are refused by name when the partition heals; the rest stays in force', async () => {
    const [first, cut] = [host(1), host(5)];
    cut.run(
      `nft 'table inet cut { chain out { type filter hook output priority 0; tcp dport 2379 drop; }; }'`,
    );
    await until(`${cut.name} is away`, async () => (await cut.status()).state === 'away');
    const made = [
      await cut.attach('db-5', [{ name: 'db', mode: 'dnsrr' }]),
      await cut.attach('api-5', [{ name: 'api', ports: ['80:7000'], ingressPorts: ['30090:7000'] }]),
      await first.attach('db-1', [{ name: 'db', ports: ['80:7000'] }]),
      await first.attach('shop-1', [{ name: 'shop', ports: ['80:7000'], ingressPorts: ['30090:7000'] }]),
    ];
    const [one, two] = [five().pods[0]!, five().pods[4]!];
    const db = await virtualOf(one, 'db');
    cut.run('nft delete table inet cut');
    await until('both are refused by name', async () => {
      const { refused } = await cut.status();
      return (
        refused.some((line) =>
          /^shop\/db: NETWORK_SERVICE_MODE_DIFFERS: db-5 joins with the mode dnsrr/u.test(line),
        ) &&
        refused.some((line) =>
          /^shop\/api: NETWORK_SERVICE_ADDRESS_TAKEN: .*30090 belongs to the service shop/u.test(line),
        )
      );
    });
    await namedAs(two, 'db', db);
    await namedAs(two, 'tasks.db', made[2]!.addresses);
    await answeredBy(two, db[0]!, ['db-1']);
    await answeredBy(one, (await virtualOf(one, 'api'))[0]!, ['api-5']);
    for (const each of hosts()) await publishedBy(each, 30090, ['shop-1']);
    // The first gives up the address: it is the other's then.
    await made[2]!.detach();
    await made[3]!.detach();
    await namedAs(one, 'db', made[0]!.addresses);
    for (const each of hosts()) await publishedBy(each, 30090, ['api-5']);
    await made[0]!.detach();
    await made[1]!.detach();
  });

  test('a host is lost permanently: after its release, services that only this host had are removed', async () => {
    const lost = host(5);
    const lone = await lost.attach('lone-5', [{ name: 'lone', ports: ['80:7000'] }]);
    const before = await virtualOf(five().pods[0]!, 'lone');
    await lost.kill();
    shell('ip link set port-5 down');
    await until('its members are removed', () => five().pods[0]!.lookUp('tasks.lone').length === 0);
    assert.ok((await inEtcd((list) => list('virtual'))).includes('virtual/lone'));
    await host(1).ask({ do: 'release', host: lost.name });
    await until(
      'its service is gone',
      async () => !(await inEtcd((list) => list('virtual'))).includes('virtual/lone'),
    );
    // It was not lost: it takes part again, with everything that it has.
    shell('ip link set port-5 up');
    lost.start({ holdSeconds });
    await five().everybody();
    await namedAs(five().pods[0]!, 'lone', before);
    await standsOn(hosts());
    await lone.detach();
  });
}

function testChurn({ five, hosts, host, standsOn, inEtcd }: Scene): void {
  test(`${kills} kills while members join and leave: exactly the joined members exist at the end`, async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const there = new Map<string, { readonly pod: Pod; readonly service: string }>();
    for (let kill = 0; kill < kills; kill += 1) {
      const on = host(1 + random(5));
      const name = `churn-${on.name}`;
      const existing = there.get(name);
      const [service, port] = random(2) === 0 ? ['left', 30100] : ['right', 30101];
      if (existing === undefined)
        there.set(name, {
          service: String(service),
          pod: await on.attach(name, [{ name: service, ports: ['80:7000'], ingressPorts: [`${port}:7000`] }]),
        });
      else {
        await existing.pod.detach();
        shell(`ip netns delete ${name}`);
        there.delete(name);
      }
      await sleep(random(300));
      const killed = host(1 + random(5));
      await killed.kill();
      killed.start({ holdSeconds });
    }
    await five().everybody();
    for (const service of ['left', 'right']) {
      const own = [...there.values()].filter((each) => each.service === service).map(({ pod }) => pod);
      for (const pod of five().pods)
        await namedAs(
          pod,
          `tasks.${service}`,
          own.flatMap((each) => each.addresses),
        );
    }
    for (const { pod } of there.values()) await pod.detach();
    await until('nothing of them is left in etcd', async () =>
      inEtcd(async (list) =>
        (await Promise.all(folders.map(list))).flat().every((key) => !/left|right|30100|30101/u.test(key)),
      ),
    );
    await standsOn(hosts());
  });
}

function testLastMember({ five, members, virtual, hosts, inEtcd, restart }: Scene): void {
  test('the last member removes the whole service', async () => {
    for (const pod of members.values()) await pod.detach();
    for (const pod of five().pods) for (const name of ['web', 'tasks.web']) await namedAs(pod, name, []);
    await until('nothing is left in etcd', async () =>
      inEtcd(async (list) => (await Promise.all(folders.map(list))).flat().length === 0),
    );
    for (const each of hosts()) {
      await until(`${each.name} answers for no address`, () =>
        virtual.every((address) => !each.run('ip address').includes(`${address}/`)),
      );
      await until(
        `${each.name} has no rule of it`,
        () => !each.run('nft list tables').includes('portcullis_service_networks'),
      );
      assert.deepEqual((await each.status()).refused, []);
    }
    await restart({ holdSeconds: 600 });
  });
}
