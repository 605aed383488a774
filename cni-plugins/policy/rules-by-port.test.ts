import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createFixture, eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import type { Fixture } from '../engine/engine.fixture.ts';
import type { LinkRule, NetworkEngine } from '../types.ts';
import type { Target } from './cluster/traffic.agent.fixture.ts';
import { mostPortChains } from './rules/layer-chains.ts';

/** Rules of many ports are looked up by protocol and port; real packets show what they grant. */

/** More ports than chains: ports share them. */
const ports = Array.from({ length: mostPortChains + 20 }, (_, at) => 2000 + at);
const [served, udpServed] = [
  [80, ...ports.slice(0, 8), ...ports.slice(-8), 3000, 3005],
  [2001, 2002, 3000],
];

if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let pristine: string;
  const agents: ChildProcess[] = [];
  before(async () => {
    fixture = createFixture();
    pristine = fixture.kernelState();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    assert.equal(fixture.kernelState(), pristine);
    fixture.end();
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.kill();
    await engine.gc(new Set());
    assert.doesNotMatch(shell('nft list tables'), /portcullis_rules/u);
  });

  /** Attaches a pod that answers on the served ports. */
  const attach = async (name: string) => {
    const { request } = fixture.pod(name, { pod: { name, namespace: 'shop', uid: name } });
    await engine.attach(request);
    await engine.setClass(request.id, 'user');
    const agent = spawn(
      'nsenter',
      [
        `--net=${request.netns}`,
        ...[process.execPath, join(import.meta.dirname, 'cluster/traffic.agent.fixture.ts')],
        ...[served.join(), udpServed.join()],
      ],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    );
    agents.push(agent);
    await once(agent, 'message');
    const addresses = (engine.get(request.id)?.ips ?? []).map(({ address }) => address.split('/')[0] ?? '');
    return { id: request.id, addresses, agent };
  };
  type Attached = Awaited<ReturnType<typeof attach>>;
  /** Returns what the pod reaches: `tcp 80`. An address is reached in both families or not at all. */
  const reached = async ({ agent }: Attached, { addresses }: Attached): Promise<string[]> => {
    const targets: Target[] = [
      ...served.map((port) => ({ protocol: 'TCP', port }) as const),
      ...udpServed.map((port) => ({ protocol: 'UDP', port }) as const),
    ].flatMap((target) => addresses.map((host) => ({ host, ...target })));
    const answered = once(agent, 'message') as Promise<[boolean[]]>;
    agent.send(targets);
    const [answers] = await answered;
    const families = Map.groupBy(
      targets.filter((_, at) => answers[at] === true),
      ({ protocol, port }) => `${protocol.toLowerCase()} ${port}`,
    );
    return [...families].filter(([, those]) => those.length === addresses.length).map(([name]) => name);
  };
  /** Policies of files are in force within a second, and a packet may be lost while many programs run. */
  const untilReached = async (from: Attached, to: Attached, expected: readonly string[]): Promise<void> => {
    let found: string[] = [];
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; await pause(100)) {
      found = await reached(from, to);
      if (JSON.stringify(found) === JSON.stringify(expected)) return;
    }
    assert.deepEqual(found, expected);
  };
  const rulesTo = ({ addresses }: Attached, tcp: readonly number[]): LinkRule[] =>
    addresses.flatMap((cidr) => [
      ...tcp.map((port): LinkRule => ({ cidr, protocol: 'tcp', ports: { low: port, high: port } })),
      { cidr, protocol: 'udp', ports: { low: 2002, high: 2002 } },
      { cidr, protocol: 'tcp', ports: { low: 3001, high: 3010 } },
      { cidr, protocol: 'icmp', ports: { low: 0, high: 65_535 } },
    ]);
  const tcp = (list: readonly number[]): string[] => list.map((port) => `tcp ${port}`);
  const even = (port: number): boolean => port % 2 === 0;
  const portChains = (): number =>
    shell('nft list table inet portcullis_rules').match(/chain \S+_port_\d+ /gu)?.length ?? 0;
  const sorted = (rules: readonly LinkRule[] | undefined): string[] =>
    (rules ?? [])
      .map(({ cidr, protocol, ports: { low, high } }) => `${cidr} ${protocol} ${low}-${high}`)
      .sort();

  test('exactly the granted ports can be reached while rules are added and removed', async () => {
    const [client, web] = [await attach('client'), await attach('web')];
    for (const [granted, chains] of [
      [ports, mostPortChains],
      [ports.filter(even), ports.length / 2 + 1],
      [ports.slice(0, 3), 0],
      [ports.filter((port) => !even(port)), ports.length / 2 + 1],
    ] as const) {
      const egress = rulesTo(web, granted);
      await engine.setClass(client.id, 'user', { egress });
      assert.equal(portChains(), chains);
      await untilReached(client, web, [
        ...tcp(served.filter((port) => granted.includes(port))),
        'tcp 3005',
        'udp 2002',
      ]);
      const state = await engine.linkState(client.id);
      assert.deepEqual(state?.problems, []);
      const bits = (cidr: string): string => `${cidr}/${cidr.includes(':') ? 128 : 32}`;
      assert.deepEqual(
        sorted(state.egress),
        sorted(egress.map((each) => ({ ...each, cidr: bits(each.cidr) }))),
      );
      client.agent.send([]);
      await once(client.agent, 'message');
    }
  });

  test('packets that a policy grants continue to the rules of the profile: both must grant', async () => {
    const [client, web] = [await attach('both'), await attach('target')];
    const folder = join(fixture.folder, 'policies');
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, 'many.json'),
      JSON.stringify({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'many', namespace: 'shop' },
        spec: {
          podSelector: {},
          policyTypes: ['Egress'],
          egress: ports.map((port) => ({
            to: [{ podSelector: {} }],
            ports: [{ protocol: 'TCP', port }],
          })),
        },
      }),
    );
    try {
      await untilReached(client, web, tcp(served.filter((port) => ports.includes(port))));
      await engine.setClass(client.id, 'user', { egress: rulesTo(web, [80, ...ports.filter(even)]) });
      await untilReached(client, web, tcp(served.filter((port) => ports.includes(port) && even(port))));
      const [to = ''] = web.addresses;
      for (const [port, outcome] of [
        [2000, 'allowed'],
        [2001, 'denied'],
        [80, 'denied'],
      ] as const) {
        const connection = { direction: 'egress', peer: to, protocol: 'tcp', port } as const;
        const explained = await engine.explain({ pod: client.id, connection });
        assert.deepEqual([explained.outcome, explained.problems], [outcome, []], String(port));
      }
      const { denied } = await engine.explain({ pod: client.id });
      assert.ok(denied.some(({ rule, packets }) => rule === 'NetworkPolicy shop/many' && packets > 0n));
      assert.ok(denied.some(({ rule, packets }) => rule === 'network.egress' && packets > 0n));
    } finally {
      writeFileSync(join(folder, 'many.json'), '');
    }
    await eventually(() => (portChains() === 0 ? undefined : 'chains are left'), 1);
  });

  for (const [name, what, tamper] of [
    ['emptied', 'an emptied map', (chain: string) => `flush map inet portcullis_rules ${chain}_ports`],
    [
      'changed',
      'an element that leads elsewhere',
      (chain: string) =>
        `delete element inet portcullis_rules ${chain}_ports { tcp . 2000 }; add element inet portcullis_rules ${chain}_ports { tcp . 2000 : accept }`,
    ],
  ] as const)
    test(`the state of the link shows ${what}`, async () => {
      const [client, web] = [await attach(name), await attach(`${name}-web`)];
      const egress = rulesTo(web, ports);
      await engine.setClass(client.id, 'user', { egress });
      const { hostInterface } = engine.get(client.id) ?? assert.fail('it is attached');
      shell(`nft '${tamper(`${hostInterface}_egress_profile`)}'`);
      const state = await engine.linkState(client.id);
      assert.notEqual(state?.egress?.length, egress.length);
    });
}
