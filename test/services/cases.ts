import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family, Scheduler } from '../../cni-plugins/services/model/model.ts';
import { keyOf } from '../../cni-plugins/services/model/model.ts';
import { shell } from '../../cni-plugins/services/switch/hosts.fixture.ts';
import { at, backendOf, both, counted, equal, eventually, fromHost, greet, seenBy, within } from './case.ts';
import type { Case } from './case.ts';
import { affinityCases } from './affinity-cases.ts';
import { localCases } from './local-cases.ts';
import { moreCases } from './more-cases.ts';
import { rangeCases } from './range-cases.ts';
import { tcpPort } from './stage.ts';

/** The required behaviour of every balancer: a row for each behaviour and family. */

const distribution: readonly Case[] = [
  ...both((family) => ({
    name: 'rr: in turn',
    quick: true,
    server: (stage) => stage.server(family),
    run: async (stage, server) => within(await greet(stage, server, 192), equal),
  })),
  ...both((family) => ({
    name: 'wrr: by weight, 5 : 2 : 1',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, {
        scheduler: 'wrr',
        destinations: [5, 2, 1].map((weight, index) => stage.destination(family, index, weight)),
      }),
    run: async (stage, server) => within(await greet(stage, server, 256), { b1: 5, b2: 2, b3: 1 }),
  })),
  ...both((family) => ({
    name: 'lc: idle backends get the same',
    server: (stage) => stage.server(family, { scheduler: 'lc' }),
    run: async (stage, server) => within(await greet(stage, server, 192), equal),
  })),
  ...both((family) => ({
    name: 'lc: a backend with many connections gets few new connections, and too many for a second at most',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, { scheduler: 'lc', destinations: [stage.destination(family, 0)] }),
    async run(stage, server) {
      const streams = [];
      for (let stream = 0; stream < 12; stream += 1)
        streams.push(await stage.client.stream(at(server), server.port));
      stage.balancer.change(
        [{ ...server, destinations: [0, 1, 2].map((backend) => stage.destination(family, backend)) }],
        [],
      );
      stage.balancer.tick();
      const counts = counted(await greet(stage, server, 60));
      for (const { id } of streams) await stage.client.end(id);
      assert.ok((counts['b1'] ?? 0) <= 6, JSON.stringify(counts));
    },
  })),
  ...both((family) => ({
    name: 'sh: by client, evenly',
    server: (stage) =>
      stage.server(family, {
        scheduler: 'sh',
        destinations: [0, 1].map((backend) => stage.destination(family, backend)),
      }),
    async run(stage, server) {
      const clients = stage.manyClients(family, 2048);
      const answers = await greet(stage, server, clients.length, clients);
      within(answers, { b1: 1, b2: 1 });
      assert.deepEqual(await greet(stage, server, 64, clients), answers.slice(0, 64));
    },
  })),
  ...both((family) => ({
    name: 'maglev: by client and port, evenly',
    server: (stage) =>
      stage.server(family, {
        scheduler: 'maglev',
        destinations: [0, 1].map((backend) => stage.destination(family, backend)),
      }),
    run: async (stage, server) => within(await greet(stage, server, 6400), { b1: 1, b2: 1 }),
  })),
];

const hashes = (scheduler: Scheduler, family: Family): Omit<Case, 'family'> => ({
  name: `${scheduler} with client affinity: a client keeps its backend; the loss of a backend moves its own clients and few others`,
  quick: scheduler === 'maglev' && family === 4,
  server: (stage) => stage.server(family, { scheduler, clientAffinity: true }),
  async run(stage, server) {
    const clients = stage.manyClients(family, 60);
    const before = (await greet(stage, server, 120, clients)).map(backendOf);
    assert.deepEqual(before.slice(60), before.slice(0, 60));
    assert.ok(new Set(before).size === 3);
    stage.balancer.change([{ ...server, destinations: server.destinations.slice(0, 2) }], []);
    const after = (await greet(stage, server, 60, clients)).map(backendOf);
    const moved = after.filter(
      (backend, client) => before[client] !== 'b3' && backend !== before[client],
    ).length;
    assert.ok(!after.includes('b3') && moved <= 12, `${moved} moved`);
  },
});

const affinity: readonly Case[] = [
  ...both((family) => hashes('rr', family)),
  ...both((family) => hashes('maglev', family)),
  ...both((family) => ({
    name: 'persistence: lasts as long as the client returns in time, and not longer',
    server: (stage) => stage.server(family, { persistenceSeconds: 6 }),
    async run(stage, server) {
      const first = (await greet(stage, server, 30)).map(backendOf);
      assert.equal(new Set(first).size, 1, first.join(' '));
      for (let second = 0; second < 5; second += 1) {
        await sleep(1500);
        assert.deepEqual(
          (await greet(stage, server, 1)).map(backendOf),
          first.slice(0, 1),
          `after ${(second + 1) * 1.5} s of use`,
        );
      }
      const others = new Set<string>();
      // IPVS keeps a client a minute longer if its table still had a connection of it when the time expired.
      const over = stage.balancer.kind === 'ipvs' ? 80_000 : 8000;
      // After the time, nf_tables draws one of three backends.
      for (let round = 0; round < 12 && others.size === 0; round += 1) {
        await sleep(over);
        for (const answer of await greet(stage, server, 1))
          if (backendOf(answer) !== first[0]) others.add(backendOf(answer));
      }
      assert.equal(others.size, 1);
    },
  })),
  ...both((family) => ({
    name: 'persistence: new clients are spread over backends that were added later',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, { persistenceSeconds: 60, destinations: [stage.destination(family, 0)] }),
    async run(stage, server) {
      await greet(stage, server, 1);
      const destinations = [0, 1, 2].map((backend) => stage.destination(family, backend));
      stage.balancer.change([{ ...server, destinations }], []);
      const clients = stage.manyClients(family, 12);
      const answers = (await greet(stage, server, clients.length, clients)).map(backendOf);
      assert.ok(new Set(answers).size > 1, answers.join(' '));
    },
  })),
  ...both((family) => ({
    name: 'persistence: a client whose backend is lost gets another backend at once',
    quick: family === 4,
    server: (stage) => stage.server(family, { persistenceSeconds: 60 }),
    async run(stage, server) {
      const [first = ''] = (await greet(stage, server, 1)).map(backendOf);
      const lost = stage.backends.findIndex(({ name }) => name === first);
      stage.balancer.change(
        [{ ...server, destinations: server.destinations.filter((_, index) => index !== lost) }],
        [],
      );
      const after = new Set((await greet(stage, server, 10)).map(backendOf));
      assert.ok(after.size === 1 && !after.has(first), [...after].join(' '));
    },
  })),
];

const changes: readonly Case[] = [
  ...both((family) => ({
    name: 'weight 0: existing connections continue, and no new connection begins; after the grace period they are ended',
    quick: family === 4,
    server: (stage) => stage.server(family, { destinations: [stage.destination(family, 0)] }),
    async run(stage, server) {
      const stream = await stage.client.stream(at(server), server.port);
      assert.equal(backendOf(stream.greeting), 'b1');
      const drained = {
        ...server,
        destinations: [stage.destination(family, 0, 0), stage.destination(family, 1)],
      };
      stage.balancer.change([drained], []);
      assert.deepEqual(counted(await greet(stage, server, 40)), { b2: 40 });
      const before = (await stage.client.report(stream.id))?.received ?? 0;
      await eventually(async () => ((await stage.client.report(stream.id))?.received ?? 0) > before);
      assert.equal((await stage.client.report(stream.id))?.failure, undefined);
      assert.ok(stage.balancer.cut(keyOf(server), stage.destination(family, 0)) >= 1);
      stage.balancer.change([{ ...server, destinations: [stage.destination(family, 1)] }], []);
      await eventually(async () => (await stage.client.report(stream.id))?.failure !== undefined);
      await stage.client.end(stream.id);
    },
  })),
  ...both((family) => ({
    name: 'backend loss: the other backends get its connections, from the next connection on',
    quick: family === 6,
    server: (stage) => stage.server(family),
    async run(stage, server) {
      await greet(stage, server, 10);
      stage.balancer.change([{ ...server, destinations: server.destinations.slice(1) }], []);
      within(await greet(stage, server, 64), { b2: 1, b3: 1 });
    },
  })),
  ...both((family) => ({
    name: 'another scheduler: existing connections continue',
    server: (stage) => stage.server(family),
    async run(stage, server) {
      const streams = [];
      for (let stream = 0; stream < 6; stream += 1)
        streams.push(await stage.client.stream(at(server), server.port));
      for (const scheduler of ['sh', 'maglev', 'wrr', 'lc'] as const)
        stage.balancer.change([{ ...server, scheduler }], []);
      await greet(stage, server, 20);
      for (const { id } of streams) {
        const report = await stage.client.end(id);
        assert.ok(report?.failure === undefined && report?.inOrder === true, JSON.stringify(report));
      }
    },
  })),
];

const places: readonly Case[] = [
  ...both((family) => ({
    name: 'keep: a backend sees the client',
    quick: family === 4,
    server: (stage) => stage.server(family),
    run: async (stage, server) =>
      assert.equal(
        seenBy((await greet(stage, server, 1))[0]),
        family === 4 ? stage.client.address : stage.client.address6,
      ),
  })),
  ...both((family) => ({
    name: 'masquerade: a backend sees the host',
    quick: family === 4,
    server: (stage) => stage.server(family, { sourceAddress: 'masquerade' }),
    run: async (stage, server) =>
      assert.equal(seenBy((await greet(stage, server, 1))[0]), family === 4 ? '10.2.0.1' : 'fd02::1'),
  })),
  ...both((family) => ({
    name: 'hairpin: a backend reaches itself and another backend through the virtual address',
    quick: true,
    server: (stage) => stage.server(family, { destinations: [stage.destination(family, 0)] }),
    async run(stage, server) {
      assert.deepEqual((await stage.backends[0].greet(at(server), server.port, 3)).map(backendOf), [
        'b1',
        'b1',
        'b1',
      ]);
      assert.deepEqual((await stage.backends[1].greet(at(server), server.port, 3)).map(backendOf), [
        'b1',
        'b1',
        'b1',
      ]);
    },
  })),
  ...both((family) => ({
    name: 'node port: at an address of the host, from outside',
    quick: true,
    server: (stage) => stage.server(family, { kind: 'node', port: 30_080 }),
    run: async (stage, server) => within(await greet(stage, server, 128), equal),
  })),
  ...both((family) => ({
    name: 'node port: masqueraded',
    server: (stage) => stage.server(family, { kind: 'node', port: 30_081, sourceAddress: 'masquerade' }),
    run: async (stage, server) =>
      assert.equal(seenBy((await greet(stage, server, 1))[0]), family === 4 ? '10.2.0.1' : 'fd02::1'),
  })),
  ...both((family) => ({
    name: 'external address',
    server: (stage) => stage.server(family, { kind: 'external' }),
    run: async (stage, server) => within(await greet(stage, server, 128), equal),
  })),
  ...both((family) => ({
    name: 'the host’s own connections',
    quick: family === 4,
    server: (stage) => stage.server(family),
    async run(_stage, server) {
      const answers = [];
      for (let time = 0; time < 30; time += 1) answers.push(await fromHost(at(server), server.port));
      within(answers, equal);
    },
  })),
  ...both((family) => ({
    name: 'no backends: connections are refused, not dropped, and are served as soon as a backend exists',
    quick: true,
    server: (stage) => stage.server(family, { destinations: [] }),
    async run(stage, server) {
      assert.deepEqual(await greet(stage, server, 2), ['ECONNREFUSED', 'ECONNREFUSED']);
      stage.balancer.change([{ ...server, destinations: [stage.destination(family, 2)] }], []);
      assert.deepEqual(counted(await greet(stage, server, 4)), { b3: 4 });
      stage.balancer.change([{ ...server, destinations: [stage.destination(family, 2, 0)] }], []);
      assert.deepEqual(await greet(stage, server, 1), ['ECONNREFUSED']);
    },
  })),
  ...both((family) => ({
    name: 'a port that is not served, at a served address: refused',
    quick: true,
    server: (stage) => stage.server(family),
    run: async (stage, server) =>
      assert.deepEqual(await stage.client.greet(at(server), server.port + 1, 1), ['ECONNREFUSED']),
  })),
];

const datagrams: readonly Case[] = [
  ...both((family) => ({
    name: 'udp: flows in turn',
    quick: family === 4,
    server: (stage) => stage.server(family, { protocol: 'udp', port: 53 }),
    async run(stage, server) {
      const answers = [];
      for (let flow = 0; flow < 64; flow += 1)
        answers.push(await stage.client.ask(at(server), server.port, family * 1000 + flow));
      within(answers, equal);
    },
  })),
  ...both((family) => ({
    name: 'udp: a continuous flow moves to another backend when its backend is lost, and may begin before it is served',
    quick: family === 4,
    server: (stage) =>
      stage.server(family, {
        protocol: 'udp',
        port: 54,
        destinations: [{ ...stage.destination(family, 0), port: 8081 }],
      }),
    async run(stage, server) {
      const flow = family * 10_000;
      assert.equal(backendOf(await stage.client.ask(at(server), server.port, flow)), 'b1');
      stage.balancer.change(
        [{ ...server, destinations: [{ ...stage.destination(family, 1), port: 8081 }] }],
        [],
      );
      assert.equal(backendOf(await stage.client.ask(at(server), server.port, flow)), 'b2');
      stage.balancer.change([], [keyOf(server)]);
      const unanswered = stage.client.ask(at(server), server.port, flow);
      await sleep(300);
      stage.balancer.change([server], []);
      assert.equal(backendOf(await unanswered), 'b1');
    },
  })),
];

const direct: readonly Case[] = both((family) => ({
  name: 'dsr: backends answer the client themselves',
  quick: family === 4,
  refusedBy: { kind: 'nftables', field: 'forwarding' },
  server: (stage) =>
    stage.server(family, {
      forwarding: 'dsr',
      port: tcpPort,
    }),
  async run(stage, server) {
    // The answers go back through the router that balances, which has their source address itself.
    if (family === 4) shell('sysctl -qw net.ipv4.conf.backends.accept_local=1');
    for (const backend of stage.backends)
      backend.run(
        `sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; ip addr add ${at(server)}/${family === 4 ? '32' : '128 nodad'} dev lo`,
      );
    const answers = await greet(stage, server, 128);
    within(answers, equal);
    assert.equal(seenBy(answers[0]), family === 4 ? stage.client.address : stage.client.address6);
  },
}));

export const cases: readonly Case[] = [
  ...distribution,
  ...affinity,
  ...changes,
  ...places,
  ...datagrams,
  ...direct,
  ...rangeCases,
  ...moreCases,
  ...localCases,
  ...affinityCases,
];
