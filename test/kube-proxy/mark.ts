import { setTimeout as sleep } from 'node:timers/promises';
import { markPorts } from './layout.ts';
import type { TestNode } from './nodes.ts';

/**
 * A Service that shows which changes are in force: each change gives it another port, and its endpoint
 * another port too. A proxy gets the changes in their order, so all changes before are in force with it.
 */
export interface Mark {
  /** Changes the mark, and resolves when the proxies of all nodes have done so. */
  reached(): Promise<void>;
}

const clusterIPs = ['10.96.255.1', 'fd00:10:96::ff01'] as const;
const endpoints = ['10.244.200.1', 'fd00:244:c800::1'] as const;

export function createMark(nodes: readonly TestNode[]): Mark {
  let count = 0;
  const metadata = {
    namespace: 'mark',
    name: 'mark',
    uid: '00000000-0000-4000-9000-000000000000',
    creationTimestamp: '2026-01-01T00:00:00Z',
  };
  return {
    async reached() {
      count += 1;
      const [port, targetPort] = [20_000 + count, markPorts[count % 2]!];
      const service = {
        metadata,
        spec: {
          type: 'ClusterIP',
          clusterIP: clusterIPs[0],
          clusterIPs,
          ipFamilies: ['IPv4', 'IPv6'],
          ports: [{ protocol: 'TCP', port, targetPort }],
          sessionAffinity: 'None',
          internalTrafficPolicy: 'Cluster',
        },
        status: { loadBalancer: {} },
      };
      for (const node of nodes) await node.put('services', service);
      for (const [at, endpoint] of endpoints.entries()) {
        const slice = {
          metadata: { ...metadata, name: `mark-${at}`, labels: { 'kubernetes.io/service-name': 'mark' } },
          addressType: at === 0 ? 'IPv4' : 'IPv6',
          ports: [{ name: '', protocol: 'TCP', port: targetPort }],
          endpoints: [{ addresses: [endpoint], conditions: { ready: true }, nodeName: 'there' }],
        };
        for (const node of nodes) await node.put('slices', slice);
      }
      for (const node of nodes)
        for (const [at, address] of clusterIPs.entries())
          while (!(await isReached(node, address, port, `${endpoints[at]} ${targetPort}`))) await sleep(50);
    },
  };
}

async function isReached(node: TestNode, address: string, port: number, endpoint: string): Promise<boolean> {
  const target = { protocol: 'tcp', address, port, froms: [undefined], patienceMs: 1000 } as const;
  const [[answer = ''] = []] = await node.probe('host', [target]);
  return answer.startsWith(`${endpoint} `);
}
