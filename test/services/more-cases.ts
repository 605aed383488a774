import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { keyOf } from '../../cni-plugins/services/model/model.ts';
import { at, backendOf, both, counted, equal, fromHost, greet, seenBy, within } from './case.ts';
import type { Case } from './case.ts';
import { greetBySctp, sctpMissing, sctpPort, serveSctp, untilServing } from './sctp.ts';
import { routerAddress, udpPort } from './stage.ts';

export const moreCases: readonly Case[] = [
  ...both((family) => ({
    name: 'an address of the host: the served port belongs to the service; other ports and the address stay with the host',
    quick: family === 4,
    server: (stage) => stage.server(family, { address: routerAddress[family], port: 8090 }),
    async run(stage, server) {
      const own = createServer((socket) => socket.on('error', () => socket.destroy()).end('router -\n'));
      await new Promise<void>((resolve) => own.listen(8091, routerAddress[family], resolve));
      try {
        const caller = family === 4 ? stage.client.address : stage.client.address6;
        const answers = await greet(stage, server, 128);
        within(answers, equal);
        assert.equal(seenBy(answers[0]), caller);
        const ofHost = (): Promise<string[]> => stage.client.greet(at(server), 8091);
        assert.deepEqual(counted(await ofHost()), { router: 1 });
        assert.deepEqual(await stage.client.greet(at(server), 8092), ['ECONNREFUSED']);
        stage.balancer.change([], [keyOf(server)]);
        assert.deepEqual(await stage.client.greet(at(server), server.port), ['ECONNREFUSED']);
        assert.deepEqual(counted(await ofHost()), { router: 1 });
      } finally {
        own.close();
      }
    },
  })),
  {
    name: 'node port: connections to ::1 stay on the host, and are refused, not dropped',
    family: 6,
    quick: true,
    server: (stage) => stage.server(6, { kind: 'node', port: 30_082 }),
    async run(_stage, server) {
      assert.equal(await fromHost('::1', server.port), 'ECONNREFUSED');
      assert.match(await fromHost(at(server), server.port), /^b[123] /u);
    },
  },
  ...both((family) => ({
    name: 'wrr: changed weights apply from the next connection on',
    quick: family === 6,
    server: (stage) => stage.server(family, { scheduler: 'wrr' }),
    async run(stage, server) {
      within(await greet(stage, server, 128), equal);
      const weights = [1, 6, 1];
      stage.balancer.change(
        [
          {
            ...server,
            destinations: weights.map((weight, backend) => stage.destination(family, backend, weight)),
          },
        ],
        [],
      );
      within(await greet(stage, server, 256), { b1: 1, b2: 6, b3: 1 });
    },
  })),
  ...both((family) => ({
    name: 'udp: a node port, and a backend that connects to itself',
    quick: family === 6,
    server: (stage) => stage.server(family, { kind: 'node', protocol: 'udp', port: 30_053 }),
    async run(stage, server) {
      const answers = [];
      for (let flow = 0; flow < 96; flow += 1)
        answers.push(await stage.client.ask(at(server), server.port, family * 100_000 + flow));
      within(answers, equal);
      assert.equal(seenBy(answers[0]), family === 4 ? stage.client.address : stage.client.address6);
      stage.balancer.change(
        [{ ...server, destinations: [{ ...stage.destination(family, 0), port: udpPort }] }],
        [],
      );
      assert.equal(backendOf(await stage.backends[0].ask(at(server), server.port, family * 100_000)), 'b1');
    },
  })),
  ...both((family) => ({
    name: 'sctp: associations in turn, with the address of the client; backend loss; a backend that connects to itself',
    missing: sctpMissing,
    server: (stage) =>
      stage.server(family, {
        protocol: 'sctp',
        port: 36_412,
        destinations: [0, 1, 2].map((backend) => ({ ...stage.destination(family, backend), port: sctpPort })),
      }),
    async run(stage, server) {
      for (const backend of stage.backends) {
        serveSctp(backend, family);
        await untilServing(stage.client, family, backend);
      }
      const calls = (times: number): string[] =>
        greetBySctp(stage.client, family, at(server), server.port, times);
      const answers = calls(128);
      within(answers, equal);
      assert.equal(seenBy(answers[0]), family === 4 ? stage.client.address : stage.client.address6);
      stage.balancer.change([{ ...server, destinations: server.destinations.slice(0, 2) }], []);
      within(calls(16), { b1: 1, b2: 1 });
      stage.balancer.change([{ ...server, destinations: server.destinations.slice(0, 1) }], []);
      assert.deepEqual(counted(greetBySctp(stage.backends[0], family, at(server), server.port, 2)), {
        b1: 2,
      });
    },
  })),
];
