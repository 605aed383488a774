import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { PortcullisError, fileReason } from '../errors/index.ts';
import { readPlainFile } from '../files/index.ts';
import { tlsCertificates } from '../pem/index.ts';
import type { ApiAccess } from './kubeconfig.ts';

/**
 * Where a kubelet mounts the token of a pod's service account (Kubernetes, "Accessing the API from a Pod").
 */
const mounted = '/var/run/secrets/kubernetes.io/serviceaccount';
const mostBytes = 1024 * 1024;

/** Where to look. Default: as in a pod. */
export interface InClusterPlace {
  readonly folder?: string;
  /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` are read. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads how a pod reaches the API, and the token of its service account. It reads the files again on each
 * call, because the kubelet renews the token in place.
 * @throws PortcullisError KUBERNETES_NOT_IN_CLUSTER
 */
export async function readInCluster(place: InClusterPlace = {}): Promise<ApiAccess> {
  const { folder = mounted, environment = process.env } = place;
  const [host = '', port = '443'] = [
    environment['KUBERNETES_SERVICE_HOST'],
    environment['KUBERNETES_SERVICE_PORT'],
  ];
  const server = URL.parse(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
  if (host === '' || server === null)
    throw failure(
      'the environment',
      'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no API server',
    );
  const read = async (name: string): Promise<string> => {
    const file = join(folder, name);
    try {
      return (await readPlainFile(file, mostBytes)).toString('utf8');
    } catch (error) {
      throw failure(file, fileReason(error, file));
    }
  };
  const token = (await read('token')).trim();
  // Node refuses a value that a header cannot hold with a message that contains the token.
  if (!/^[\x21-\x7e]+$/u.test(token)) throw failure(join(folder, 'token'), 'it holds no token');
  let ca: string;
  try {
    ca = tlsCertificates(await read('ca.crt')).join('');
  } catch (error) {
    if (error instanceof PortcullisError) throw error;
    throw failure(join(folder, 'ca.crt'), 'it holds no readable certificate');
  }
  const id = createHash('sha256')
    .update(JSON.stringify([server.href, ca, token]))
    .digest('base64');
  return { server, tls: { ca }, authorization: `Bearer ${token}`, id };
}

function failure(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_NOT_IN_CLUSTER',
    kind: 'unavailable',
    attempted: 'read the service account of this pod in',
    on,
    why,
    fix: 'run in a pod with a service account, or name a kubeconfig',
  });
}
