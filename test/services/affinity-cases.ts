import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { backendOf, both } from './case.ts';
import type { Case } from './case.ts';
import { connections, first, serversOf } from './node-service.ts';
import type { Place } from './node-service.ts';

/** `sessionAffinity` of Services, from the objects of the cluster to packets. */

const externalLocal = { externalTrafficPolicy: 'Local' };

export const affinityCases: readonly Case[] = [
  ...both((family) => ({
    name: 'affinity: a client keeps its endpoint at every address of a Service, and when other endpoints go',
    quick: family === 4,
    server: (stage) => first(stage, family),
    async run(stage) {
      const places: readonly Place[] = ['load balancer', 'cluster address', 'node port', 'external IP'];
      for (const policy of [{}, externalLocal]) {
        const spec = { ...policy, sessionAffinity: 'ClientIP' };
        stage.balancer.reconcile([]);
        // The addresses do not begin at the same time.
        const early = serversOf(stage, family, 'on other nodes', { ...spec, externalIPs: [] });
        stage.balancer.change(early, []);
        const chosen = async (place: Place): Promise<readonly string[]> => {
          const answers = (await connections(stage, family, 'pod', place, 30)).map(backendOf);
          assert.deepEqual(
            answers.filter((answer) => !/^b[123]$/u.test(answer)),
            [],
            place,
          );
          return answers;
        };
        // With IPVS, a hash replaces the memory of clients where the policy separates the clients inside.
        const remembers = stage.balancer.kind === 'nftables' || policy !== externalLocal;
        const before = await chosen('load balancer');
        assert.deepEqual([...new Set(before)].toSorted(), ['b2', 'b3']);
        stage.balancer.change(serversOf(stage, family, 'everywhere', spec), []);
        const once = await chosen('load balancer');
        const moved = once.filter((backend, client) => backend !== 'b1' && backend !== before[client]);
        if (remembers) assert.deepEqual(moved, []);
        for (const place of places) {
          const again = await chosen(place);
          // IPVS remembers clients of each address and port.
          if (stage.balancer.kind === 'nftables') assert.deepEqual(again, once, place);
          else assert.deepEqual(await chosen(place), again, place);
        }
        const servers = serversOf(stage, family, 'on other nodes', spec);
        stage.balancer.change(servers, []);
        assert.equal(stage.balancer.reconcile(servers), 0);
        const left = await chosen('load balancer');
        if (remembers)
          assert.ok(left.every((backend, client) => once[client] === 'b1' || once[client] === backend));
        if (stage.balancer.kind === 'nftables')
          for (const place of places) assert.deepEqual(await chosen(place), left, place);
      }
    },
  })),
  ...both((family) => ({
    name: 'affinity: the time of a Service begins again with each connection of the client',
    server: (stage) => first(stage, family),
    async run(stage) {
      const spec = {
        ...externalLocal,
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 4 } },
      };
      stage.balancer.reconcile(serversOf(stage, family, 'everywhere', spec));
      const places: readonly Place[] = ['load balancer', 'cluster address'];
      const chosen = async (place: Place): Promise<readonly string[]> =>
        (await connections(stage, family, 'pod', place, 20)).map(backendOf);
      const once = await chosen('load balancer');
      for (const place of [...places, ...places]) {
        await sleep(2000);
        // IPVS remembers clients of each address and port.
        assert.deepEqual(
          await chosen(stage.balancer.kind === 'nftables' ? place : 'load balancer'),
          once,
          place,
        );
      }
      if (stage.balancer.kind !== 'nftables') return;
      await sleep(5000);
      assert.notDeepEqual(await chosen('load balancer'), once);
    },
  })),
];
