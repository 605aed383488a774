import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { canBalanceByIpvs } from '../ipvs/settings.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import { becomeRouter, openHost, openRouterEnd, shell } from './hosts.fixture.ts';
import type { TestEnd, TestHost } from './hosts.fixture.ts';
import { openSwitchableBalancer } from './open.ts';
import type { SwitchableBalancer } from './switch.ts';
import { webServer } from '../virtual-server.fixture.ts';

const absent = canBalanceByIpvs();
const reported: { readonly level: string; readonly message: string }[] = [];
const log = {
  info: (_: unknown, message?: string) => void reported.push({ level: 'info', message: message ?? '' }),
  warn: (_: unknown, message?: string) => void reported.push({ level: 'warn', message: message ?? '' }),
} as unknown as Parameters<typeof openSwitchableBalancer>[1];

const tcp4 = webServer;
const tcp6: VirtualServer = {
  ...tcp4,
  family: 6,
  address: 'fd96::1',
  destinations: [11, 12].map((number) => ({ address: `fd02::${number}`, port: 8080, weight: 1 })),
};
const udp: VirtualServer = {
  ...tcp4,
  protocol: 'udp',
  port: 53,
  destinations: tcp4.destinations.map((each) => ({ ...each, port: 8053 })),
};
const { address: _, ...rest } = tcp4;
const node: VirtualServer = { ...rest, kind: 'node', port: 30080 };
const servers = [tcp4, tcp6, udp, node];

let balancer: SwitchableBalancer;
let client: TestHost;
let busy: TestHost;
const backends: TestHost[] = [];
/** The host that balances is itself a client. */
let router: TestEnd;
const streams: {
  readonly host: TestEnd;
  readonly id: number;
  readonly greeting: string;
  readonly to: string;
}[] = [];

before(async () => {
  becomeRouter();
  // A client on the router itself needs some route to a virtual address.
  shell('ip route add 10.96.0.0/16 dev lo; ip -6 route add fd96::/64 dev lo');
  router = await openRouterEnd();
  client = await openHost('client', 1, 2);
  busy = await openHost('busy', 3, 2);
  for (const number of [11, 12]) {
    const backend = await openHost(`b${number}`, 2, number);
    await backend.serve('udp', '0.0.0.0', 8053);
    await backend.serve('tcp', '::', 8080);
    backends.push(backend);
  }
  balancer = openSwitchableBalancer('nftables', log);
  balancer.reconcile(servers);
  // A UDP flow that is silent for 30 s counts as ended, and an emulated machine may stand still for longer.
  shell(
    'sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3600 net.netfilter.nf_conntrack_udp_timeout_stream=3600',
  );
});
after(async () => {
  balancer.removeAll();
  balancer.close();
  for (const host of [router, client, busy, ...backends]) await host.stop();
});

async function begin(host: TestEnd, address: string, port: number): Promise<void> {
  const { greeting, id } = await host.stream(address, port);
  assert.match(greeting, /^b1[12] /u, `${host.name} to ${address}`);
  streams.push({ host, id, greeting, to: address });
}

/** Checks that every stream goes on: the sent data comes back complete and in order, and more than before. */
async function allFlow(): Promise<void> {
  const receivedBefore = await Promise.all(
    streams.map(async ({ host, id }) => (await host.report(id))?.received ?? 0),
  );
  for (const [index, { host, id, to }] of streams.entries()) {
    const words = `${host.name} to ${to}`;
    let report = await host.report(id);
    for (
      let at = 0;
      at < 300 &&
      (report?.received ?? 0) < (receivedBefore[index] ?? 0) + 2048 &&
      report?.failure === undefined;
      at += 1
    ) {
      await pause(100);
      report = await host.report(id);
    }
    assert.deepEqual([report?.failure, report?.inOrder], [undefined, true], words);
    assert.ok(
      (report?.received ?? 0) >= (receivedBefore[index] ?? 0) + 2048,
      `${words}: ${JSON.stringify(report)}`,
    );
  }
}

/** Makes new connections without a pause while `act` runs. Each must be answered. Returns how many. */
async function underLoad(act: () => Promise<void>): Promise<number> {
  let going = true;
  const answers: string[] = [];
  const loading = (async () => {
    while (going) {
      answers.push(...(await busy.greet('10.96.0.1', 80, 5)), ...(await busy.greet('10.3.0.1', 30080, 2)));
      for (const address of ['10.96.0.1', 'fd96::1']) answers.push(...(await router.greet(address, 80, 2)));
    }
  })();
  try {
    await act();
  } finally {
    going = false;
    await loading;
  }
  const failed = answers.filter((answer) => !/^b1[12] /u.test(answer));
  assert.deepEqual(failed, [], `of ${answers.length}`);
  return answers.length;
}

/** Waits until IPVS goes with its last connection. */
async function untilRetired(): Promise<void> {
  for (let at = 0; at < 900 && balancer.retiring() !== undefined; at += 1) {
    await pause(200);
    balancer.tick();
  }
  assert.equal(balancer.retiring(), undefined);
}

async function beginAll(): Promise<void> {
  for (let at = 0; at < 3; at += 1) await begin(client, '10.96.0.1', 80);
  await begin(client, 'fd96::1', 80);
  await begin(client, '10.1.0.1', 30080);
  for (const address of ['10.96.0.1', '10.96.0.1', 'fd96::1']) await begin(router, address, 80);
  await begin(router, '10.1.0.1', 30080);
  // Both backends are clients, too: one of these connections leads to the backend itself.
  for (const backend of backends) for (let at = 0; at < 2; at += 1) await begin(backend, '10.96.0.1', 80);
}

test(
  'on a kernel without IPVS, the switch is refused, and nothing changes',
  { skip: absent === undefined && 'this kernel has IPVS' },
  async () => {
    await beginAll();
    assert.throws(
      () => balancer.switchTo('ipvs', () => servers),
      (thrown) => isPortcullisError(thrown) && thrown.code === 'NETWORK_IPVS_MISSING',
    );
    assert.deepEqual([balancer.kind, balancer.retiring()], ['nftables', undefined]);
    await underLoad(allFlow);
  },
);

describe('nf_tables to IPVS and back, under load', { skip: absent, timeout: 1_800_000 }, () => {
  const flows = new Map<number, string>();

  test('switches to IPVS', async () => {
    await beginAll();
    for (const flow of [1, 2, 3]) flows.set(flow, await client.ask('10.96.0.1', 53, flow));
    await underLoad(async () => {
      await allFlow();
      balancer.switchTo('ipvs', () => servers);
      await allFlow();
      for (const [flow, backend] of flows)
        assert.equal(await client.ask('10.96.0.1', 53, flow), backend, 'a flow of UDP keeps its backend');
    });
    assert.deepEqual([balancer.kind, balancer.retiring()], ['ipvs', undefined]);
    assert.doesNotMatch(shell('nft list tables'), /portcullis_services/u);
    const counted = (): bigint =>
      balancer.counts()[0]?.destinations.reduce((sum, { connections = 0n }) => sum + connections, 0n) ?? 0n;
    // IPVS adds up the counts of its processors only now and then.
    for (let at = 0; at < 300 && counted() === 0n; at += 1) await pause(100);
    assert.ok(counted() > 0n, 'new connections go by IPVS');
  });

  test('switches back: connections of both continue, and IPVS is removed with its last connection', async () => {
    await beginAll();
    for (const flow of [4, 5, 6]) flows.set(flow, await client.ask('10.96.0.1', 53, flow));
    const made = await underLoad(async () => {
      balancer.switchTo('nftables', () => servers);
      await allFlow();
      for (const [flow, backend] of flows)
        assert.equal(await client.ask('10.96.0.1', 53, flow), backend, 'a flow of UDP keeps its backend');
      balancer.tick();
      await allFlow();
    });
    assert.ok(made > 0);
    const retiring = balancer.retiring();
    assert.ok(
      retiring?.kind === 'ipvs' && retiring.connections >= streams.length / 2,
      JSON.stringify(retiring),
    );
    // A backend's grace period is over: its connections end, whichever balancer carries them.
    for (const { address, port } of udp.destinations) balancer.cut(keyOf(udp), { address, port });
    for (const { host, id } of streams) assert.equal((await host.end(id))?.failure, undefined);
    await untilRetired();
    assert.doesNotMatch(
      shell('ip -br link; nft list tables; cat /proc/net/ip_vs'),
      /portcullis-ipvs|0A6000/u,
    );
    assert.deepEqual(
      reported.filter(({ level }) => level === 'warn'),
      [],
    );
    assert.equal((await client.greet('10.96.0.1', 80))[0]?.split(' ')[1], '10.1.0.2');
  });

  test('a retired IPVS does not answer for a service that is removed meanwhile; after it is added again, it answers', async () => {
    balancer.switchTo('ipvs', () => servers);
    await begin(client, '10.96.0.1', 80);
    balancer.switchTo('nftables', () => servers);
    assert.equal(balancer.retiring()?.kind, 'ipvs');
    balancer.change([], [keyOf(tcp4), keyOf(node)]);
    for (const [address, port] of [
      ['10.96.0.1', 80],
      ['10.1.0.1', 30080],
    ] as const)
      assert.deepEqual(await client.greet(address, port), ['ECONNREFUSED'], `${address} port ${port}`);
    balancer.switchTo('ipvs', () => servers);
    assert.match((await client.greet('10.96.0.1', 80))[0] ?? '', /^b1[12] /u);
    const local = shell('ip -4 route show table local dev portcullis-ipvs').replace(
      / proto kernel scope host/gu,
      '',
    );
    assert.match(
      local,
      /^local 10\.96\.0\.1 src 10\.96\.0\.1 *$/mu,
      'the route no longer has a source that may be removed',
    );
    const { host, id } = streams.at(-1)!;
    assert.equal((await host.end(id))?.failure, undefined);
    balancer.switchTo('nftables', () => servers);
    await untilRetired();
    assert.doesNotMatch(
      shell('ip -brief link; nft list tables; ip route show table local'),
      /portcullis-ipvs/u,
    );
  });

  test('eight switches back and forth: no connection ends, whichever balancer began it', async () => {
    streams.length = 0;
    const begun = new Map<number, string>();
    const beginSome = async (stretch: number): Promise<void> => {
      for (const address of ['10.96.0.1', 'fd96::1']) await begin(client, address, 80);
      await begin(client, '10.1.0.1', 30080);
      await begin(router, '10.96.0.1', 80);
      await begin(backends[stretch % 2]!, '10.96.0.1', 80);
      begun.set(100 + stretch, await client.ask('10.96.0.1', 53, 100 + stretch));
    };
    await underLoad(async () => {
      for (let stretch = 0; stretch < 8; stretch += 1) {
        await beginSome(stretch);
        balancer.switchTo(stretch % 2 === 0 ? 'ipvs' : 'nftables', () => servers);
        await allFlow();
        balancer.tick();
        for (const [flow, backend] of begun)
          assert.equal(await client.ask('10.96.0.1', 53, flow), backend, `flow ${flow}, ${stretch}`);
        // All connections that IPVS has begun so far.
        const least = 5 * ((stretch + 1) >> 1);
        const retiring = balancer.retiring();
        if (balancer.kind === 'nftables')
          assert.ok((retiring?.connections ?? 0) >= least, `${stretch}: ${JSON.stringify(retiring)}`);
        else assert.equal(retiring, undefined);
      }
    });
    assert.equal(balancer.kind, 'nftables');
    for (const { address, port } of udp.destinations) balancer.cut(keyOf(udp), { address, port });
    for (const { host, id } of streams.splice(0)) assert.equal((await host.end(id))?.failure, undefined);
    await untilRetired();
    assert.doesNotMatch(
      shell('ip -brief link; nft list tables; ip route show table local'),
      /portcullis-ipvs/u,
    );
  });

  test('a UDP flow to a node port that the host itself answers continues while IPVS is retired', async () => {
    const own: VirtualServer = {
      ...node,
      protocol: 'udp',
      port: 30053,
      destinations: [{ address: '10.2.0.1', port: 8053, weight: 1 }],
    };
    const answer = 'router 10.1.0.2';
    await router.serve('udp', '10.2.0.1', 8053);
    balancer.change([own], []);
    assert.equal(await client.ask('10.1.0.1', 30053, 201), answer);
    balancer.switchTo('ipvs', () => [...servers, own]);
    // IPVS stays for the connections that it has itself.
    await begin(client, '10.96.0.1', 80);
    for (const flow of [201, 202, 201, 202])
      assert.equal(await client.ask('10.1.0.1', 30053, flow), answer, `flow ${flow}, by IPVS`);
    balancer.switchTo('nftables', () => [...servers, own]);
    assert.equal(balancer.retiring()?.kind, 'ipvs');
    for (const flow of [201, 202, 203, 203, 201, 202])
      assert.equal(await client.ask('10.1.0.1', 30053, flow), answer, `flow ${flow}, while IPVS ends`);
    balancer.cut(keyOf(own), { address: '10.2.0.1', port: 8053 });
    balancer.change([], [keyOf(own)]);
    for (const { host, id } of streams.splice(0)) assert.equal((await host.end(id))?.failure, undefined);
    await untilRetired();
  });

  test('the next process retires the remains of a killed process', async () => {
    balancer.switchTo('ipvs', () => servers);
    await begin(client, '10.96.0.1', 80);
    const next = openSwitchableBalancer('nftables', log, 3600);
    try {
      next.reconcile(servers);
      assert.equal(next.retiring()?.kind, 'ipvs');
      const { host, id } = streams.at(-1)!;
      const received = (await host.report(id))?.received ?? 0;
      for (let at = 0; at < 300 && ((await host.report(id))?.received ?? 0) < received + 2048; at += 1)
        await pause(100);
      assert.equal((await host.end(id))?.failure, undefined);
    } finally {
      next.removeAll();
      next.close();
    }
    assert.doesNotMatch(shell('ip -br link; nft list tables'), /portcullis[-_](ipvs|services)/u);
  });
});
