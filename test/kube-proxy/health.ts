import { setTimeout as sleep } from 'node:timers/promises';
import type { Objects } from './changes.ts';
import { nodeAddresses } from './layout.ts';
import type { TestNode } from './nodes.ts';

const tries = 20;

async function readAt(node: TestNode, address: string, port: number): Promise<string> {
  const answer = await node.get('out', address, port);
  const [, status = '', body] = /^(\d+) (\{.*)$/su.exec(answer) ?? [];
  return body === undefined ? answer : `${status} ${JSON.stringify(JSON.parse(body))}`;
}

/**
 * With `nodePortAddresses`, kube-proxy does not listen at addresses of a family that the service lacks
 * (docs/services.md).
 */
const isExpected = (families: readonly string[], address: string, reference: string | undefined): boolean =>
  reference === 'ECONNREFUSED' && !families.includes(address.includes(':') ? 'IPv6' : 'IPv4');

/** Compares what load balancers see at the health check ports of the services. */
export async function compareHealth(
  reference: TestNode,
  ours: TestNode,
  { services }: Objects,
): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const { metadata, spec } of services.values()) {
    const port = spec.healthCheckNodePort;
    if (port === undefined) continue;
    for (const address of Object.values(nodeAddresses)) {
      let answers: readonly string[] = [];
      for (let at = 0; at < tries; at += 1) {
        answers = await Promise.all([reference, ours].map((node) => readAt(node, address, port)));
        if (answers[0] === answers[1]) break;
        await sleep(100);
      }
      if (answers[0] !== answers[1] && !isExpected(spec.ipFamilies ?? [], address, answers[0]))
        wrong.push(
          `health check of ${metadata.name} at ${address} port ${port}\n  kube-proxy: ${answers[0] ?? ''}\n  ${ours.kind}: ${answers[1] ?? ''}`,
        );
    }
  }
  return wrong;
}
