import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { grants } from '../kubernetes/evaluate.fixture.ts';
import { changeAll, createNode, isOwn, listAll, openOwn } from './node.fixture.ts';
import type { Node } from './node.fixture.ts';
import { clusters, ports, protocols, otherAddresses } from './generated.fixture.ts';
import { isAllowed } from './oracle.fixture.ts';
import type { ApiCluster } from './oracle.fixture.ts';

/**
 * The rules that pods of a node get, compared with an independent reading of the specification: for a
 * generated cluster, and again after each of its objects became that of another one.
 */

let compared = 0;
function compare({ enforcer }: Node, cluster: ApiCluster): void {
  const everybody = [
    ...new Set([
      ...cluster.pods.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip)),
      ...otherAddresses,
    ]),
  ];
  for (const pod of cluster.pods.filter(isOwn)) {
    const layers = enforcer.rulesOf(pod.metadata.name)?.policies;
    for (const { ip } of pod.status.podIPs)
      for (const other of everybody) {
        if (other.includes(':') !== ip.includes(':')) continue;
        for (const direction of ['ingress', 'egress'] as const)
          for (const protocol of protocols)
            for (const port of ports) {
              const [from, to] = direction === 'ingress' ? [other, ip] : [ip, other];
              const layer = layers?.[direction];
              const ours =
                layer === undefined ||
                layer.grants.some((grant) =>
                  grants(grant, other, { protocol: protocol.toLowerCase(), port }),
                );
              compared += 1;
              const right = isAllowed(cluster, pod, direction, { from, to, protocol, port });
              if (ours !== right)
                assert.fail(
                  `${direction} ${from} -> ${to} ${protocol} ${port}: ours ${ours}, right ${right}\n${JSON.stringify(cluster)}`,
                );
            }
      }
  }
}

test('the rules of 1,000 generated clusters match the specification, before and after changes', () => {
  fc.assert(
    fc.property(clusters, clusters, (first, second) => {
      const node = createNode();
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
      changeAll(node, first, second);
      openOwn(node, second);
      node.settle();
      compare(node, second);
      // Listed again, as after 410: what is missing from the list is gone.
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
    }),
    { numRuns: Number(process.env['PORTCULLIS_RUNS'] ?? 500), seed: Number(process.env['FUZZ_SEED'] ?? 25) },
  );
  assert.ok(compared > 100_000, `${compared} connections`);
});
