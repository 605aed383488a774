import { readFileSync } from 'node:fs';
import { coreDnsAddress } from '../cluster/nodes/addresses.ts';
import { itemsOf, until } from '../cluster/nodes/cluster.ts';
import type { Cluster } from '../cluster/nodes/cluster.ts';
import { layerOf } from '../fixtures/image.ts';
import { findTool } from '../fixtures/tools.ts';
import { mirroredHost } from '../node-conformance/names.ts';

const image = 'coredns/coredns:v1.14.2';
const namespace = 'kube-system';
const labels = { 'k8s-app': 'kube-dns' };
const metadata = { name: 'coredns', namespace };

/** A program that the kernel gives CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep). */
const capability = '\u0001\0\0\u0002\0\u0004' + '\0'.repeat(14);

/** The Corefile of kubeadm. The specs ask for two public names, which the plugin hosts has. */
const corefile = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    hosts {
       8.8.8.8 dns.google
       fallthrough
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`;

/** The image of CoreDNS: its user is not root, and its program has a capability. */
async function publishCoreDns({ publisher }: Cluster): Promise<void> {
  const program: Parameters<typeof layerOf>[0][number] = {
    name: 'coredns',
    mode: 0o755,
    pax: { 'SCHILY.xattr.security.capability': capability },
    body: readFileSync(findTool('coredns').path),
  };
  await publisher.publish(image, {
    base: false,
    layers: [await layerOf([program])],
    config: { Cmd: undefined, Entrypoint: ['/coredns'], User: '65532:65532', WorkingDir: '/' },
  });
}

/** Deploys CoreDNS in kube-system as kubeadm does, and waits until its pods are ready. */
export async function deployCoreDns(cluster: Cluster): Promise<void> {
  await publishCoreDns(cluster);
  const core = `/api/v1/namespaces/${namespace}`;
  const rights = '/apis/rbac.authorization.k8s.io/v1';
  const { ask } = cluster;
  const role = { name: 'system:coredns' };
  const verbs = ['list', 'watch'];
  await ask('POST', `${core}/serviceaccounts`, { metadata });
  await ask('POST', `${rights}/clusterroles`, {
    metadata: role,
    rules: [
      { apiGroups: [''], resources: ['endpoints', 'services', 'pods', 'namespaces'], verbs },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs },
    ],
  });
  await ask('POST', `${rights}/clusterrolebindings`, {
    metadata: role,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', ...role },
    subjects: [{ kind: 'ServiceAccount', ...metadata }],
  });
  await ask('POST', `${core}/configmaps`, { metadata, data: { Corefile: corefile } });
  await ask('POST', `/apis/apps/v1/namespaces/${namespace}/deployments`, deployment());
  await ask('POST', `${core}/services`, {
    metadata: { name: 'kube-dns', namespace, labels },
    spec: {
      clusterIP: coreDnsAddress,
      selector: labels,
      ports: ['UDP', 'TCP'].map((protocol) => ({
        name: `dns-${protocol.toLowerCase()}`,
        port: 53,
        protocol,
      })),
    },
  });
  await until(
    'the pods of CoreDNS are ready',
    async () => itemsOf(await ask('GET', `${core}/pods?labelSelector=k8s-app%3Dkube-dns`)),
    (pods) => pods.length === 2 && (pods as readonly PodObject[]).every(isReady),
  );
}

interface PodObject {
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

const isReady = ({ status }: PodObject): boolean =>
  (status.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');

function deployment(): object {
  const probe = (path: string, port: number): object => ({ httpGet: { path, port } });
  return {
    metadata: { ...metadata, labels },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
          priorityClassName: 'system-cluster-critical',
          serviceAccountName: 'coredns',
          dnsPolicy: 'Default',
          containers: [
            {
              name: 'coredns',
              image: `${mirroredHost}/${image}`,
              args: ['-conf', '/etc/coredns/Corefile'],
              volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
              livenessProbe: { ...probe('/health', 8080), initialDelaySeconds: 60 },
              readinessProbe: probe('/ready', 8181),
              securityContext: {
                allowPrivilegeEscalation: false,
                capabilities: { add: ['NET_BIND_SERVICE'], drop: ['ALL'] },
                readOnlyRootFilesystem: true,
              },
            },
          ],
          volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
        },
      },
    },
  };
}
