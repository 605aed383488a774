import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Cluster } from '../services-watch/cluster.ts';

const roleFile = join(import.meta.dirname, '../../packaging/kubernetes/node-role.yaml');

/** A service account of the node, with the role that is published for nodes, and its tokens. */
export interface Access {
  readonly kubeconfig: string;
  /** Writes a new token to the file, and makes the former one invalid. */
  renewToken(): Promise<void>;
}

export async function createAccess(cluster: Cluster, folder: string, port: number): Promise<Access> {
  const accounts = '/api/v1/namespaces/kube-system/serviceaccounts';
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const name = 'portcullis';
  await cluster.ask('POST', accounts, { metadata: { name } });
  const role = parseAllDocuments(readFileSync(roleFile, 'utf8'))[0]?.toJS() as { metadata: { name: string } };
  await cluster.ask('POST', `${rbac}/clusterroles`, role);
  await cluster.ask('POST', `${rbac}/clusterrolebindings`, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role.metadata.name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: 'kube-system' }],
  });
  let turn = 0;
  const secrets = '/api/v1/namespaces/kube-system/secrets';
  async function renewToken(): Promise<void> {
    turn += 1;
    // A token ends with the object that it is bound to.
    const bound = (await cluster.ask('POST', secrets, { metadata: { name: `token-${turn}` } })) as {
      metadata: { uid: string };
    };
    const answer = (await cluster.ask('POST', `${accounts}/${name}/token`, {
      spec: {
        audiences: ['https://kubernetes.default.svc'],
        boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: `token-${turn}`, uid: bound.metadata.uid },
      },
    })) as { status: { token: string } };
    writeFileSync(join(folder, 'node-token'), answer.status.token, { mode: 0o600 });
    if (turn > 1) await cluster.ask('DELETE', `${secrets}/token-${turn - 1}`);
  }
  await renewToken();
  const kubeconfig = join(folder, 'node-kubeconfig.yaml');
  writeFileSync(
    kubeconfig,
    `apiVersion: v1
kind: Config
current-context: test
contexts: [{ name: test, context: { cluster: test, user: node } }]
clusters: [{ name: test, cluster: { server: "https://127.0.0.1:${port}", certificate-authority: pki/ca.crt } }]
users: [{ name: node, user: { tokenFile: node-token } }]
`,
  );
  return { kubeconfig, renewToken };
}
