import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocuments } from '../../base/schema/index.ts';
import { runProgram } from '../fixtures/command.ts';
import { startApiServer } from '../fixtures/kubernetes/api-server.ts';
import type { ApiServer } from '../fixtures/kubernetes/api-server.ts';
import type { Answer } from '../fixtures/kubernetes/api.ts';

export interface ClusterObject extends Record<string, unknown> {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>> & {
    readonly name: string;
    readonly namespace?: string;
  };
}

const plurals: Readonly<Record<string, string>> = {
  RuntimeClass: 'runtimeclasses',
  TrustPolicy: 'trustpolicies',
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
};

/** Returns the path of the collection of an object. */
export function collectionOf({ apiVersion, kind, metadata: { namespace } }: ClusterObject): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = namespace === undefined ? '' : `/namespaces/${namespace}`;
  return `${root}${inside}/${plurals[kind] ?? `${kind.toLowerCase()}s`}`;
}

/** Returns the objects of a file below packaging/kubernetes. */
export function shipped(file: string): readonly ClusterObject[] {
  const path = join(import.meta.dirname, '../../packaging/kubernetes', file);
  return parseDocuments(readFileSync(path, 'utf8'), path).documents.map(
    ({ value }) => value as ClusterObject,
  );
}

/** Starts an API server that knows nodes as kubeadm's does, in this network namespace. */
export async function startNodeCluster(folder: string): Promise<ApiServer> {
  // Not on a link of its own: the stage expects none when it ends.
  for (const command of ['addr add 192.0.2.1/24 dev lo', 'route add default dev lo'])
    execFileSync('ip', command.split(' '));
  return startApiServer({
    folder,
    address: '127.0.0.1',
    serviceRange: '10.96.0.0/12,fd00:10:96::/112',
    flags: () => [
      ...['--advertise-address', '192.0.2.1', '--endpoint-reconciler-type', 'none'],
      ...['--authorization-mode', 'Node,RBAC', '--enable-admission-plugins', 'NodeRestriction'],
      ...['--disable-admission-plugins', 'ServiceAccount'],
    ],
  });
}

/** Returns requests with the certificate of a user. */
export function asUser(
  server: ApiServer,
  user: string,
  group: string,
): {
  readonly kubeconfig: string;
  /** Returns the answer, also a refusal. */
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
} {
  const name = user.replaceAll(':', '-');
  const client = server.pki.client(name, user, [group]);
  return {
    kubeconfig: server.pki.kubeconfig(name, server.url, client),
    async ask(method, path, body) {
      const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json';
      const data = body === undefined ? [] : ['-H', `content-type: ${type}`, '--data', JSON.stringify(body)];
      const { stdout, output } = await runProgram(
        'curl',
        [
          ...['-sS', '--max-time', '30', '--cacert', server.pki.ca, '--cert', client.cert],
          ...['--key', client.key, '-X', method, ...data, `${server.url}${path}`],
        ],
        process.env,
      );
      if (stdout === '') throw new Error(output);
      return JSON.parse(stdout) as Answer;
    },
  };
}
