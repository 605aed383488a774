import assert from 'node:assert/strict';
import { keyOf } from '../../cni-plugins/services/model/model.ts';
import type { Family, VirtualServer } from '../../cni-plugins/services/model/model.ts';
import { shell } from '../../cni-plugins/services/switch/hosts.fixture.ts';
import { at, backendOf, both, counted, eventually, fromHost, greet } from './case.ts';
import type { Case } from './case.ts';
import type { Stage } from './stage.ts';

/** Which clients may connect: `sourceRanges`, as kube-proxy enforces `loadBalancerSourceRanges`. */

/** Ranges of `manyClients`, and one range without clients; the client's own address is in none of them. */
const ranges: Readonly<Record<Family, readonly string[]>> = {
  4: ['192.0.2.0/24', '10.9.1.0/25'],
  6: ['2001:db8::/32', 'fd09::/120'],
};
const whole: Readonly<Record<Family, string>> = { 4: '10.1.0.0/21', 6: 'fd01::/61' };
const exactly = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;
const clientOf = ({ client }: Stage, family: Family): string =>
  family === 4 ? client.address : client.address6;
const silentPort = 8083;

const denied = ({ balancer }: Stage, server: VirtualServer): bigint | undefined =>
  balancer.counts(new Set([keyOf(server)])).find(({ key }) => key === keyOf(server))?.denied;

/** Waits until `attempt` was dropped at least once more, without an answer. */
async function dropped(stage: Stage, server: VirtualServer, attempt: Promise<unknown>): Promise<void> {
  const before = denied(stage, server) ?? 0n;
  let answer: unknown;
  attempt.then((came) => (answer = came)).catch(() => undefined);
  await eventually(() => (denied(stage, server) ?? 0n) > before);
  assert.equal(answer, undefined);
}

export const rangeCases: readonly Case[] = [
  ...both((family) => ({
    name: 'source ranges: clients inside are served, others are dropped and counted; a change applies from the next packet on, and ends no connection',
    quick: true,
    server: (stage) => stage.server(family, { kind: 'external', sourceRanges: ranges[family] }),
    async run(stage, server) {
      const put = (more: Partial<VirtualServer>): void => stage.balancer.change([{ ...server, ...more }], []);
      const calling = (): Promise<string[]> => stage.client.greet(at(server), server.port);
      const inside = await greet(stage, server, 12, stage.manyClients(family, 12));
      assert.deepEqual(Object.keys(counted(inside)).toSorted(), ['b1', 'b2', 'b3']);
      assert.equal(denied(stage, server), 0n);
      const waiting = calling();
      await dropped(stage, server, waiting);
      put({ sourceRanges: [...ranges[family], exactly(clientOf(stage, family))] });
      assert.match((await waiting)[0] ?? '', /^b[123] /u);
      const stream = await stage.client.stream(at(server), server.port);
      put({ sourceRanges: [...ranges[family], whole[family]] });
      assert.match((await calling())[0] ?? '', /^b[123] /u, 'a shorter prefix');
      put({ sourceRanges: ranges[family] });
      await dropped(stage, server, calling());
      const before = (await stage.client.report(stream.id))?.received ?? 0;
      await eventually(async () => ((await stage.client.report(stream.id))?.received ?? 0) > before);
      assert.equal((await stage.client.end(stream.id))?.failure, undefined);
      assert.ok((denied(stage, server) ?? 0n) >= 2n, 'counters are kept when the ranges change');
      assert.equal(stage.balancer.reconcile([server]), 0);
    },
  })),
  ...both((family) => ({
    name: 'source ranges: without backends, clients inside are refused and others are dropped; without ranges, every client is served',
    server: (stage) =>
      stage.server(family, { kind: 'external', sourceRanges: ranges[family], destinations: [] }),
    async run(stage, server) {
      assert.deepEqual(await greet(stage, server, 1, stage.manyClients(family, 1)), ['ECONNREFUSED']);
      const waiting = stage.client.greet(at(server), server.port);
      await dropped(stage, server, waiting);
      const { sourceRanges: _, ...open } = server;
      stage.balancer.change([{ ...open, destinations: [stage.destination(family, 0)] }], []);
      assert.equal(backendOf((await waiting)[0] ?? ''), 'b1');
      assert.equal(denied(stage, server), undefined);
    },
  })),
  ...both((family) => ({
    name: 'source ranges: after a change, UDP flows that were answered continue, and a flow that was never answered is dropped',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, {
        kind: 'external',
        protocol: 'udp',
        port: 55,
        sourceRanges: [exactly(clientOf(stage, family))],
      }),
    async run(stage, server) {
      const [answered, silent, late] = [family * 20_000, family * 20_000 + 1, family * 20_000 + 2];
      assert.match(await stage.client.ask(at(server), server.port, answered), /^b[123] /u);
      const sink = [
        'import socket',
        `s = socket.socket(socket.AF_INET${family === 6 ? '6' : ''}, socket.SOCK_DGRAM)`,
        `s.bind(("", ${silentPort}))`,
      ];
      stage.backends[0].start(['python3', '-c', [...sink, 'while True: s.recv(9)'].join('\n')]);
      const other: VirtualServer = {
        ...server,
        port: 56,
        destinations: [{ ...stage.destination(family, 0), port: silentPort }],
      };
      stage.balancer.change([other], []);
      const never = stage.client.ask(at(other), other.port, silent);
      await new Promise((resolve) => setTimeout(resolve, 800));
      assert.equal(denied(stage, other), 0n);
      stage.balancer.change(
        [server, other].map((each) => ({ ...each, sourceRanges: ranges[family] })),
        [],
      );
      await dropped(stage, other, never);
      assert.match(
        await stage.client.ask(at(server), server.port, answered),
        /^b[123] /u,
        'it was answered before',
      );
      const waiting = stage.client.ask(at(server), server.port, late);
      await dropped(stage, server, waiting);
      stage.balancer.change([server], []);
      assert.match(await waiting, /^b[123] /u);
    },
  })),
  ...both((family) => ({
    name: 'source ranges: the host itself is checked by its address towards other hosts',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, {
        kind: 'external',
        sourceRanges: [exactly(family === 4 ? '10.1.0.1' : 'fd01::1')],
      }),
    async run(stage, server) {
      const ip = family === 4 ? 'ip' : 'ip -6';
      const route = (verb: string, to: string): string =>
        `${ip} route ${verb} ${to} via ${clientOf(stage, family)}`;
      shell(route('add', 'default'));
      shell(route('add', exactly(at(server))));
      try {
        stage.balancer.tick();
        assert.match(await fromHost(at(server), server.port), /^b[123] /u);
        stage.balancer.change([{ ...server, sourceRanges: [exactly(clientOf(stage, family))] }], []);
        const waiting = fromHost(at(server), server.port);
        await dropped(stage, server, waiting);
        stage.balancer.change([server], []);
        assert.match(await waiting, /^b[123] /u);
      } finally {
        shell(`${route('del', 'default')}; ${route('del', exactly(at(server)))}`);
        stage.balancer.tick();
      }
    },
  })),
];
