import { httpRequest as requestPlain } from '../../base/connections/index.ts';
import { startApiServer } from '../fixtures/kubernetes/api-server.ts';
import type { ApiServer } from '../fixtures/kubernetes/api-server.ts';

/** A real etcd and a real kube-apiserver, with RBAC, in the network namespace of this process. */
export interface Cluster extends Pick<ApiServer, 'ask' | 'port' | 'stop'> {
  /**
   * Writes a kubeconfig of the user system:kube-proxy with a client certificate. @param port the port that
   * leads to the API server
   */
  kubeconfig(port?: number): string;
  killApiServer(): Promise<void>;
  startApiServer(): Promise<void>;
  /**
   * Compacts everything before now: a client with an older version gets 410 (after the API server was
   * restarted, because it caches versions for a while).
   */
  compact(): Promise<void>;
}

/** @param more further flags of the kube-apiserver */
export async function startCluster(folder: string, more: readonly string[] = []): Promise<Cluster> {
  const server = await startApiServer({
    folder,
    address: '127.0.0.1',
    serviceRange: '10.96.0.0/12,fd00:10:96::/112',
    flags: () => [
      ...['--advertise-address', '192.0.2.1', '--endpoint-reconciler-type', 'none'],
      ...['--authorization-mode', 'RBAC', '--etcd-compaction-interval', '0'],
      ...['--disable-admission-plugins', 'ServiceAccount'],
      ...more,
    ],
  });
  const client = server.pki.client('proxy', 'system:kube-proxy');
  const etcdAsk = (path: string, body: unknown): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      const call = requestPlain(`${server.etcdUrl}${path}`, { method: 'POST' }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () =>
          answer.statusCode === 200
            ? resolve(JSON.parse(text) as Record<string, unknown>)
            : reject(new Error(text)),
        );
      });
      call.on('error', reject);
      call.end(JSON.stringify(body));
    });
  return {
    ask: server.ask,
    port: server.port,
    stop: server.stop,
    kubeconfig: (port = server.port) =>
      server.pki.kubeconfig(`kubeconfig-${port}`, `https://127.0.0.1:${port}`, client),
    startApiServer: server.start,
    killApiServer: server.kill,
    async compact() {
      const { header } = (await etcdAsk('/v3/kv/range', { key: Buffer.from('x').toString('base64') })) as {
        header: { revision: string };
      };
      await etcdAsk('/v3/kv/compaction', { revision: header.revision, physical: true });
    },
  };
}
