import assert from 'node:assert/strict';
import { keyOf } from '../../cni-plugins/services/model/model.ts';
import type { Family, VirtualServer } from '../../cni-plugins/services/model/model.ts';
import { backendOf, both, counted, eventually, seenBy } from './case.ts';
import type { Case } from './case.ts';
import { addresses, connections, first, nodeAddress, serversOf, sourceOf } from './node-service.ts';
import type { Client, Endpoints, Place } from './node-service.ts';
import { greetBySctp, sctpMissing, serveSctp, untilServing } from './sctp.ts';
import type { Stage } from './stage.ts';

/**
 * `externalTrafficPolicy` and `internalTrafficPolicy` of Services, from the objects of the cluster to
 * packets. The router is a node with b1; b2 and b3 are on other nodes. The expected results are those of
 * kube-proxy 1.36: pkg/proxy/topology.go (`CategorizeEndpoints`) says which endpoints count, and
 * pkg/proxy/nftables/proxier.go (`syncProxyRules`) who gets them: `short-circuit pod traffic`, `short-circuit
 * local traffic`, and `drop` or `reject` without an endpoint.
 */

type Outcome = 'any' | 'dropped' | 'of this node' | 'refused';

/** Who connects where, and what comes of it. */
interface Row {
  readonly client: Client;
  readonly places: readonly Place[];
  readonly endpoints: Endpoints;
  readonly spec: object;
  readonly outcome: Outcome;
  /** The address that the endpoint sees. Absent: any. */
  readonly source?: 'client' | 'node';
}

const external: readonly Place[] = ['external IP', 'load balancer', 'node port'];
const externalLocal = { externalTrafficPolicy: 'Local' };
const internalLocal = { internalTrafficPolicy: 'Local' };
const rows: readonly Row[] = [
  ...(['everywhere', 'on other nodes', 'nowhere'] as const).flatMap((endpoints): Row[] => {
    const inside = endpoints === 'nowhere' ? 'refused' : 'any';
    const local =
      endpoints === 'everywhere' ? 'of this node' : endpoints === 'nowhere' ? 'refused' : 'dropped';
    const at = { places: external, endpoints, spec: externalLocal };
    const cluster = { places: ['cluster address'] as const, endpoints };
    return [
      { client: 'outside', ...at, outcome: local, source: 'client' },
      { client: 'pod', ...at, outcome: inside, source: 'client' },
      { client: 'host', ...at, outcome: inside, source: 'node' },
      // The policy for external addresses changes nothing at the cluster address, and the other way round.
      { client: 'pod', ...cluster, spec: externalLocal, outcome: inside, source: 'client' },
      { client: 'pod', ...cluster, spec: internalLocal, outcome: local, source: 'client' },
      { client: 'host', ...cluster, spec: internalLocal, outcome: local },
      { client: 'outside', ...at, spec: internalLocal, outcome: inside, source: 'node' },
      // Short-circuited connections are not subject to the internal policy either.
      {
        client: 'pod',
        ...at,
        spec: { ...externalLocal, ...internalLocal },
        outcome: inside,
        source: 'client',
      },
    ];
  }),
];

const attempts = 16;

async function check(stage: Stage, family: Family, row: Row, place: Place): Promise<void> {
  const { client, endpoints, outcome, spec, source } = row;
  const what = `${client} at the ${place} (${JSON.stringify(spec)}), endpoints ${endpoints}`;
  stage.balancer.reconcile(serversOf(stage, family, endpoints, spec));
  if (outcome === 'refused') {
    assert.deepEqual(await connections(stage, family, client, place, 1), ['ECONNREFUSED'], what);
    return;
  }
  if (outcome === 'dropped') {
    const waiting = connections(stage, family, client, place, 1);
    let answer: string[] | undefined;
    void waiting.then((came) => (answer = came));
    // A refusal would come before these answers.
    const other: Place = spec === internalLocal ? 'load balancer' : 'cluster address';
    for (const each of await connections(stage, family, 'pod', other, 4))
      assert.match(each, /^b[23] /u, what);
    assert.equal(answer, undefined, what);
    // The client repeats its first packet, and gets an endpoint as soon as the node has one.
    stage.balancer.change(serversOf(stage, family, 'everywhere', spec), []);
    assert.equal(backendOf((await waiting)[0] ?? ''), 'b1', what);
    return;
  }
  const answers = await connections(stage, family, client, place, attempts);
  const by = new Set(answers.map(backendOf));
  // Connections from inside get endpoints at random.
  if (outcome === 'of this node') assert.deepEqual([...by], ['b1'], what);
  else {
    const expected = endpoints === 'everywhere' ? ['b1', 'b2', 'b3'] : ['b2', 'b3'];
    assert.ok(
      [...by].every((name) => expected.includes(name)),
      `${what}: ${[...by].join()}`,
    );
    assert.ok(by.has('b2') || by.has('b3'), `${what}: only ${[...by].join()}`);
  }
  const sources = new Set(answers.map(seenBy));
  if (source === undefined) return;
  if (source === 'node')
    assert.ok(sources.size === 1 && sources.has(nodeAddress[family]), `${what}: ${[...sources].join()}`);
  else if (client === 'outside') assert.deepEqual([...sources], [sourceOf(stage, family)], what);
  else assert.deepEqual([...sources].toSorted(), stage.manyClients(family, attempts).toSorted(), what);
}

export const localCases: readonly Case[] = [
  ...both((family) => ({
    name: 'traffic policies: pods of the node, the host and outside clients get the endpoints that kube-proxy gives them',
    quick: true,
    server: (stage) => first(stage, family),
    async run(stage) {
      for (const row of rows) for (const place of row.places) await check(stage, family, row, place);
    },
  })),
  ...both((family) => ({
    name: 'traffic policies: connections of both kinds continue when the endpoints change, and the table is restored',
    quick: family === 4,
    server: (stage) => first(stage, family),
    async run(stage) {
      const [address, place] = [addresses[family]['load balancer'], 'load balancer'] as const;
      const put = (endpoints: Endpoints): VirtualServer[] => {
        const servers = serversOf(stage, family, endpoints, externalLocal);
        stage.balancer.change(servers, []);
        return servers;
      };
      const server = put('everywhere').find((each) => each.address === address);
      assert.ok(server);
      const stream = await stage.client.stream(address, 80);
      assert.equal(backendOf(stream.greeting), 'b1');
      const counts = stage.balancer.counts(new Set([keyOf(server)]))[0]?.destinations ?? [];
      assert.deepEqual(
        counts.map(({ active }) => active),
        [1, 0, 0],
      );
      // The endpoint of this node keeps its connections while it drains.
      const drained = {
        ...server,
        drops: true as const,
        destinations: server.destinations.map((each, index) => (index === 0 ? { ...each, weight: 0 } : each)),
      };
      stage.balancer.change([drained], []);
      const before = (await stage.client.report(stream.id))?.received ?? 0;
      await eventually(async () => ((await stage.client.report(stream.id))?.received ?? 0) > before);
      assert.ok(stage.balancer.cut(keyOf(server), server.destinations[0]!) >= 1);
      stage.balancer.change([{ ...drained, destinations: drained.destinations.slice(1) }], []);
      await eventually(async () => (await stage.client.report(stream.id))?.failure !== undefined);
      await stage.client.end(stream.id);
      const left = counted(await connections(stage, family, 'pod', place, 64));
      assert.deepEqual(Object.keys(left).toSorted(), ['b2', 'b3']);
      // A service that loses the policy has one list of endpoints again.
      const cluster = serversOf(stage, family, 'everywhere', {});
      stage.balancer.change(cluster, []);
      assert.equal(stage.balancer.reconcile(cluster), 0);
      assert.equal(seenBy((await connections(stage, family, 'pod', place, 1))[0]), nodeAddress[family]);
      stage.balancer.change([], cluster.map(keyOf));
      assert.equal(stage.balancer.reconcile([]), 0);
      const again = put('on other nodes');
      assert.equal(stage.balancer.reconcile(again), 0);
    },
  })),
  ...both((family) => ({
    name: 'traffic policies: UDP flows from inside get any endpoint, and a dropped flow continues when the node gets an endpoint',
    quick: family === 6,
    server: (stage) => first(stage, family, 'udp'),
    async run(stage) {
      const [address, flow] = [addresses[family]['load balancer'], family * 300_000];
      stage.balancer.reconcile(serversOf(stage, family, 'on other nodes', externalLocal, 'udp'));
      const waiting = stage.client.ask(address, 80, flow);
      const inside = [];
      for (let each = 0; each < 24; each += 1)
        inside.push(await stage.backends[0].ask(address, 80, flow + 100 + each));
      assert.deepEqual(Object.keys(counted(inside)).toSorted(), ['b2', 'b3']);
      stage.balancer.change(serversOf(stage, family, 'everywhere', externalLocal, 'udp'), []);
      assert.match(await waiting, /^b1 |^TIMEOUT$/u);
      assert.equal(backendOf(await stage.client.ask(address, 80, flow)), 'b1');
    },
  })),
  ...both((family) => ({
    name: 'traffic policies: source ranges of a load balancer also apply to connections from inside',
    quick: family === 4,
    server: (stage) => first(stage, family),
    async run(stage) {
      const address = addresses[family]['load balancer'];
      const range = `${sourceOf(stage, family)}/${family === 4 ? 32 : 128}`;
      const put = (spec: object): VirtualServer[] => {
        const servers = serversOf(stage, family, 'on other nodes', { ...externalLocal, ...spec });
        stage.balancer.change(servers, []);
        return servers;
      };
      const servers = put({ loadBalancerSourceRanges: [range] });
      const restricted = servers.find((each) => each.address === address);
      assert.ok(restricted?.sourceRanges);
      const pods = stage.manyClients(family, 4);
      const waiting = stage.client.greet(address, 80, 1, pods);
      let answer: string[] | undefined;
      void waiting.then((came) => (answer = came));
      await eventually(() => (stage.balancer.counts(new Set([keyOf(restricted)]))[0]?.denied ?? 0n) > 0n);
      for (const each of await stage.client.greet(addresses[family]['external IP'], 80, 4, pods))
        assert.match(each, /^b[23] /u);
      assert.equal(answer, undefined);
      assert.equal(stage.balancer.reconcile(servers), 0);
      put({});
      assert.match((await waiting)[0] ?? '', /^b[23] /u);
    },
  })),
  ...both((family) => ({
    name: 'traffic policies: SCTP associations',
    missing: sctpMissing,
    server: (stage) => first(stage, family, 'sctp'),
    async run(stage) {
      for (const backend of stage.backends) {
        serveSctp(backend, family);
        await untilServing(stage.client, family, backend);
      }
      const servers = serversOf(stage, family, 'everywhere', externalLocal, 'sctp');
      stage.balancer.reconcile(servers);
      const [pod = ''] = stage.manyClients(family, 1);
      const { output } = stage.client;
      const calls = (from: string): string[] =>
        greetBySctp(
          { address: from, address6: from, output },
          family,
          addresses[family]['load balancer'],
          80,
          24,
        );
      assert.deepEqual(counted(calls(sourceOf(stage, family))), { b1: 24 });
      assert.ok(calls(pod).some((answer) => /^b[23] /u.test(answer)));
    },
  })),
];
