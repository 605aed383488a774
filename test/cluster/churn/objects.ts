import { serverPort } from '../checks/workload.ts';

/** The pods that the churn creates. A NetworkPolicy lets them exchange packets with `friend` pods only. */
export const guarded = 'guarded';
export const friend = { name: 'friend', replicas: 1 } as const;
/** Counts the requests of pods that may not reach it. */
export const collector = { name: 'collector', replicas: 1 } as const;
/** A file of the collector: the name of each pod that reached it, one per line. */
export const reachedFile = '/tmp/reached';

export const policy = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: guarded },
  spec: {
    podSelector: { matchLabels: { app: guarded } },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: friend.name } } }] }],
    egress: [{ to: [{ podSelector: { matchLabels: { app: friend.name } } }] }],
  },
} as const;

/** A server that writes the query of each request to a file. */
export const collectorCommand: readonly string[] = [
  'sh',
  '-c',
  `mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho "$QUERY_STRING" >> ${reachedFile}\\necho\\necho counted\\n' > /tmp/www/cgi-bin/who
chmod 755 /tmp/www/cgi-bin/who
touch ${reachedFile}
exec httpd -f -p ${serverPort} -h /tmp/www`,
];

const host = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** Returns the address of the collector's page, with the name of the pod that asks. */
export const collectorUrl = (address: string, name: string): string =>
  `http://${host(address)}:${serverPort}/cgi-bin/who?${name}`;

/**
 * Returns a pod that tries to reach the collector from its first instruction until its end, and serves a page
 * with its name.
 * @param addresses the addresses of the collector
 */
export function guardedPod(name: string, image: string, addresses: readonly string[]): object {
  const attempts = addresses.map((address) => `timeout 1 wget -qO- '${collectorUrl(address, name)}' &`);
  const script = `${attempts.join('\n')}
(while true; do
${attempts.join('\n')}
sleep 1
done) > /dev/null 2>&1 &
mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho\\necho "${name} $REMOTE_ADDR v1"\\n' > /tmp/www/cgi-bin/who
chmod 755 /tmp/www/cgi-bin/who
exec httpd -f -p ${serverPort} -h /tmp/www`;
  return {
    metadata: { name, labels: { app: guarded } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image,
          command: ['sh', '-c', script],
          readinessProbe: { httpGet: { path: '/cgi-bin/who', port: serverPort }, periodSeconds: 1 },
        },
      ],
    },
  };
}
