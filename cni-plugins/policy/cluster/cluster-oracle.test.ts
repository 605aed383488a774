import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { grants } from '../kubernetes/evaluate.fixture.ts';
import type { Direction, PodRules, Tier } from '../rules/pod-chains.ts';
import { isAllowedByAll } from './cluster-oracle.fixture.ts';
import type { WholeCluster } from './cluster-oracle.fixture.ts';
import { wholeClusters } from './generated-cluster-policies.fixture.ts';
import { ports, protocols, otherAddresses } from './generated.fixture.ts';
import { changeAll, createNode, isOwn, listAll, openOwn } from './node.fixture.ts';
import type { Node } from './node.fixture.ts';

/** The rules that pods get of both kinds of policies, compared with an independent reading of their API. */

interface Connection {
  readonly protocol: string;
  readonly port: number;
}

const firstAction = (
  tier: Tier | undefined,
  other: string,
  connection: Connection,
): Tier['steps'][number]['action'] =>
  tier?.steps.find((step) => grants(step, other, connection))?.action ?? 'pass';

/**
 * Returns whether the chains of pod-chains.ts allow a connection. kernel-verdicts.test.ts asks the kernel.
 */
function lets(
  rules: PodRules | undefined,
  direction: Direction,
  other: string,
  connection: Connection,
): boolean {
  const admin = firstAction(rules?.admin?.[direction], other, connection);
  if (admin !== 'pass') return admin === 'accept';
  const policies = rules?.policies[direction];
  if (policies !== undefined) return policies.grants.some((grant) => grants(grant, other, connection));
  return firstAction(rules?.baseline?.[direction], other, connection) !== 'deny';
}

const seen = { compared: 0, denied: 0 };
function compare({ enforcer }: Node, cluster: WholeCluster): void {
  const everybody = [
    ...new Set([
      ...cluster.pods.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip)),
      ...(cluster.nodes ?? []).flatMap(({ status }) => status.addresses.map(({ address }) => address)),
      ...otherAddresses,
    ]),
  ];
  for (const pod of cluster.pods.filter(isOwn)) {
    const rules = enforcer.rulesOf(pod.metadata.name);
    for (const { ip } of pod.status.podIPs)
      for (const other of everybody) {
        if (other.includes(':') !== ip.includes(':')) continue;
        for (const direction of ['ingress', 'egress'] as const)
          for (const protocol of protocols)
            for (const port of ports) {
              const [from, to] = direction === 'ingress' ? [other, ip] : [ip, other];
              const ours = lets(rules, direction, other, { protocol: protocol.toLowerCase(), port });
              const right = isAllowedByAll(cluster, pod, direction, { from, to, protocol, port });
              seen.compared += 1;
              seen.denied += Number(!right);
              if (ours !== right)
                assert.fail(
                  `${direction} ${from} -> ${to} ${protocol} ${port}: ours ${ours}, right ${right}\n${JSON.stringify(cluster)}`,
                );
            }
      }
  }
}

const numRuns = Number(process.env['PORTCULLIS_RUNS'] ?? 300);

test(`the rules of ${numRuns * 2} generated clusters match both kinds of policies, before and after changes`, () => {
  fc.assert(
    fc.property(wholeClusters, wholeClusters, (first, second) => {
      const node = createNode();
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
      changeAll(node, first, second);
      openOwn(node, second);
      node.settle();
      compare(node, second);
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
    }),
    { numRuns, seed: Number(process.env['FUZZ_SEED'] ?? 26) },
  );
  assert.ok(seen.compared > 100_000 && seen.denied > 10_000, JSON.stringify(seen));
});
