import { readFileSync } from 'node:fs';
import { administratorToken } from '../../fixtures/kubernetes/api-server.ts';
import { openCommand } from '../../fixtures/stream-client.ts';
import { itemsOf, until } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';

/** Objects that the checks create, and requests to pods through the API server. */

export const namespace = 'shop';
/** The port of each server pod. */
export const serverPort = 8080;

export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly phase: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly containerID?: string;
      readonly restartCount: number;
      readonly state: Readonly<Record<string, unknown>>;
    }[];
  };
}

const podsPath = `/api/v1/namespaces/${namespace}/pods`;
const deploymentsPath = `/apis/apps/v1/namespaces/${namespace}/deployments`;

/** A page that names the pod, the address of the asker, and the version. */
const server = (version: string): readonly string[] => [
  'sh',
  '-c',
  `mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho\\necho "$POD_NAME $REMOTE_ADDR ${version}"\\n' > /tmp/www/cgi-bin/who
chmod 755 /tmp/www/cgi-bin/who
echo started ${version}
exec httpd -f -p ${serverPort} -h /tmp/www`,
];

const podName = { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } };

/** Returns a Deployment of servers that the scheduler spreads over the nodes. */
export function deploymentOf(name: string, image: string, replicas: number, version = 'v1'): object {
  return {
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          terminationGracePeriodSeconds: 10,
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'ScheduleAnyway',
              labelSelector: { matchLabels: { app: name } },
            },
          ],
          containers: [
            {
              name: 'server',
              image,
              command: server(version),
              env: [podName],
              ports: [{ containerPort: serverPort }],
              readinessProbe: { httpGet: { path: '/cgi-bin/who', port: serverPort }, periodSeconds: 1 },
              // Endpoints leave every node's rules before the server ends.
              lifecycle: { preStop: { exec: { command: ['sleep', '3'] } } },
            },
          ],
        },
      },
    },
  };
}

export const createDeployment = (cluster: Cluster, deployment: object): Promise<object> =>
  cluster.ask('POST', deploymentsPath, deployment);

export const changeDeployment = (cluster: Cluster, name: string, change: object): Promise<object> =>
  cluster.ask('PATCH', `${deploymentsPath}/${name}`, change);

/** Returns the pods of a Deployment that are not on their way out. */
export async function podsOf(cluster: Cluster, app: string): Promise<readonly Pod[]> {
  const pods = itemsOf(await cluster.ask('GET', `${podsPath}?labelSelector=app%3D${app}`)) as readonly Pod[];
  return pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

export const isPodReady = ({ status }: Pod): boolean =>
  (status.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');

/** Waits until a Deployment has so many pods, all of them ready. */
export const untilReady = (cluster: Cluster, app: string, replicas: number): Promise<readonly Pod[]> =>
  until(
    `${replicas} pods of ${app} are ready`,
    () => podsOf(cluster, app),
    (pods) => pods.length === replicas && pods.every(isPodReady),
  );

export interface ServiceObject {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly clusterIPs: readonly string[];
    readonly ports: readonly { readonly port: number; readonly nodePort?: number }[];
  };
}

/** Creates a Service of both families for the pods of a Deployment. */
export async function createService(
  cluster: Cluster,
  name: string,
  app: string,
  spec: object = {},
): Promise<ServiceObject> {
  const created: unknown = await cluster.ask('POST', `/api/v1/namespaces/${namespace}/services`, {
    metadata: { name },
    spec: {
      selector: { app },
      ipFamilyPolicy: 'RequireDualStack',
      ports: [{ name: 'http', port: 80, targetPort: serverPort }],
      ...spec,
    },
  });
  return created as ServiceObject;
}

/** Runs a command in a pod by exec through the API server, and returns its output. @throws if it fails */
export async function execIn(cluster: Cluster, pod: string, command: readonly string[]): Promise<string> {
  const { url, pki } = cluster.controlPlane.api;
  const query = command.map((word) => `command=${encodeURIComponent(word)}`).join('&');
  const session = await openCommand(
    `${url}${podsPath}/${pod}/exec?${query}&stdout=true&stderr=true`,
    'v5.channel.k8s.io',
    { headers: { authorization: `Bearer ${administratorToken}` }, ca: readFileSync(pki.ca) },
  );
  const timer = setTimeout(session.drop, 60_000);
  const status = await session.status;
  clearTimeout(timer);
  if (status.status !== 'Success')
    throw new Error(`${pod}: ${command.join(' ')}: ${status.message ?? ''} ${session.stderr()}`);
  return session.stdout();
}

export const logOf = (cluster: Cluster, pod: string): Promise<string> =>
  cluster.text(`${podsPath}/${pod}/log`);

/** Asks a server from inside a pod, and returns the content of its page. @throws if it does not answer */
export async function askFrom(
  cluster: Cluster,
  pod: string,
  address: string,
  port = serverPort,
  path = '/cgi-bin/who',
): Promise<{ readonly pod: string; readonly from: string; readonly version: string }> {
  const host = address.includes(':') ? `[${address}]` : address;
  // The option -T of a static busybox ends it by a segmentation fault.
  const command = ['timeout', '10', 'wget', '-qO-', `http://${host}:${port}${path}`];
  const said = await execIn(cluster, pod, command);
  const [name = '', from = '', version = ''] = said.trim().split(' ');
  return { pod: name, from: from.replace(/^\[?(?:::ffff:)?|\]$/gu, ''), version };
}
