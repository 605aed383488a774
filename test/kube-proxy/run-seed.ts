import { join } from 'node:path';
import { createRandom } from '../fixtures/random.ts';
import { createObjects } from './changes.ts';
import type { Objects } from './changes.ts';
import { compare, describe } from './compare.ts';
import type { Question } from './compare.ts';
import { explain, explainFlow } from './expected.ts';
import { compareFlows, openFlows } from './flows.ts';
import { compareHealth } from './health.ts';
import { clients, nodeAddresses, nodeName, podRanges, serviceRanges, zone } from './layout.ts';
import { createMark } from './mark.ts';
import { openNode } from './nodes.ts';
import type { TestNode } from './nodes.ts';
import { chance, pick } from './objects.ts';
import { createFormerMarks, targetId, targetsOf } from './targets.ts';
import type { ServiceTarget } from './targets.ts';

export interface SeedOptions {
  readonly seed: number;
  readonly steps: number;
  /** The most Services at a time. */
  readonly services: number;
  readonly balancer: 'ipvs' | 'nftables';
  readonly mode: 'iptables' | 'nftables';
  readonly folder: string;
}

/** How many kinds of clients connect to one target in one step. */
const clientsOfTarget = 3;

async function putNode(to: TestNode): Promise<void> {
  const metadata = {
    name: nodeName,
    labels: { 'topology.kubernetes.io/zone': zone, 'kubernetes.io/hostname': nodeName },
  };
  const addresses = Object.values(nodeAddresses).map((address) => ({ type: 'InternalIP', address }));
  const node = { metadata, spec: { podCIDR: podRanges[0], podCIDRs: podRanges }, status: { addresses } };
  await to.put('nodes', node);
  const range = {
    metadata: { name: 'kubernetes' },
    spec: { cidrs: serviceRanges },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  };
  await to.put('servicecidrs', range);
}

const shown = ({ services, slices }: Objects, name: string): string =>
  JSON.stringify({ service: services.get(name), slices: slices.get(name) });

/** Runs the steps of one seed on two new nodes. Prints each difference. */
export async function runSeed(
  options: SeedOptions,
): Promise<{ readonly differences: number; readonly reasons: ReadonlySet<string> }> {
  const { seed, steps, balancer, mode, folder } = options;
  const random = createRandom(seed);
  const nodePortAddresses = pick(random, [undefined, ['192.0.2.0/24', 'fd00:192::/64'], ['primary']]);
  console.log(`\nseed ${seed}: node ports at ${nodePortAddresses?.join() ?? 'all addresses'}`);
  const nodes = await Promise.all(
    (['kube-proxy', balancer] as const).map((kind) =>
      openNode({
        kind,
        mode,
        folder: join(folder, kind),
        ...(nodePortAddresses !== undefined && { nodePortAddresses }),
      }),
    ),
  );
  for (const node of nodes) await putNode(node);
  const [reference, ours] = nodes as [TestNode, TestNode];
  const objects = createObjects(random, options.services);
  const mark = createMark(nodes);
  const reasons = new Set<string>();
  let differences = 0;
  const report = (texts: readonly string[]): void => {
    differences += texts.length;
    for (const text of texts) console.log(`✖ ${text}`);
  };
  const markFormer = createFormerMarks();
  let before: readonly ServiceTarget[] = [];
  try {
    for (let step = 1; step <= steps; step += 1) {
      // How many connections a step needs differs from run to run, and must not change the next steps.
      const asking = createRandom(seed * 1000 + step);
      const restarts = step > 1 && chance(random, 0.15);
      const flows = step === 1 ? undefined : await openFlows(nodes, before, asking);
      if (restarts) for (const node of nodes) await node.killProxy();
      const earlier = { services: new Map(objects.services), slices: new Map(objects.slices) };
      const done: string[] = [];
      const count = step === 1 ? options.services : pick(random, [1, 2, 3]);
      for (let at = 0; at < count; at += 1) {
        const { what, changes } = objects.change();
        done.push(what);
        for (const { collection, object, removes } of changes)
          for (const node of nodes) await (removes ? node.remove : node.put)(collection, object);
      }
      if (restarts) for (const node of nodes) await node.startProxy();
      console.log(`seed ${seed}, step ${step}: ${restarts ? 'restart, ' : ''}${done.join(', ')}`);
      await mark.reached();
      const targets = markFormer(targetsOf(objects));
      const ids = new Set(targets.map(targetId));
      const former = before.flatMap((target): ServiceTarget[] =>
        ids.has(targetId(target)) ? [] : [{ ...target, isFormer: true }],
      );
      const questions = [...targets, ...former].flatMap((target): Question[] =>
        [...clients]
          .sort(() => asking() - 0.5)
          .slice(0, clientsOfTarget)
          .map((client) => ({ client, target })),
      );
      const moved = flows === undefined ? [] : await compareFlows(flows, ours.kind);
      const broken = moved.filter((difference) => {
        const reason = explainFlow(difference, objects);
        if (reason !== undefined) reasons.add(reason);
        return reason === undefined;
      });
      const found = await compare(reference, ours, questions, asking, (difference) =>
        explain(difference, mode),
      );
      for (const reason of found.reasons) reasons.add(reason);
      console.log(`  endpoints answered ${found.served} of ${questions.length} questions`);
      report([...broken.map(({ text }) => text), ...found.differences.map(describe)]);
      const names = new Set([
        ...broken.map(({ target }) => target.service.metadata.name),
        ...found.differences.map(({ question }) => question.target.service.metadata.name),
      ]);
      for (const name of names) console.log(`before: ${shown(earlier, name)}\nnow: ${shown(objects, name)}`);
      report(await compareHealth(reference, ours, objects));
      before = targets;
    }
  } finally {
    for (const node of nodes) await node.close();
  }
  return { differences, reasons };
}
