import { isIP } from 'node:net';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { PortcullisError, reasonOf, orThrow } from '../errors/index.ts';
import { readPlainFile } from '../files/index.ts';
import { tlsCertificates } from '../pem/index.ts';
import { readKubeconfig } from './kubeconfig.ts';
import type { ApiAccess } from './kubeconfig.ts';

/** The address of the API, and the identity of its client. */
export interface ApiPlace {
  /** Absent: as a pod, with the token of its service account. */
  readonly kubeconfig?: string;
  /**
   * Addresses of API servers, such as `https://192.0.2.10:6443`, in place of the one that the kubeconfig or
   * the pod's environment names. They are tried in turn.
   */
  readonly servers?: readonly string[];
}

/** The folder that a kubelet mounts into each pod ("Accessing the Kubernetes API from a Pod"). */
const usualFolder = '/var/run/secrets/kubernetes.io/serviceaccount';
const mostBytes = 1024 * 1024;

/**
 * Reads how to reach the API. Files are read again on each call, because tokens and certificates are renewed
 * in place.
 * @throws KUBERNETES_KUBECONFIG_UNREADABLE · KUBERNETES_KUBECONFIG_INVALID ·
 * KUBERNETES_KUBECONFIG_UNSUPPORTED
 */
export async function readApiAccess(
  { kubeconfig, servers = [] }: ApiPlace,
  env: Readonly<Record<string, string | undefined>> = process.env,
  folder = usualFolder,
): Promise<ApiAccess> {
  const written = servers.map((text) => serverOf(text));
  const access =
    kubeconfig === undefined
      ? await readServiceAccount(written[0] ?? serverOfPod(env), folder)
      : await readKubeconfig(kubeconfig);
  const [first, ...others] = written;
  if (first === undefined) return access;
  return {
    ...access,
    server: first,
    others,
    id: createHash('sha256')
      .update(JSON.stringify([access.id, servers]))
      .digest('base64'),
  };
}

/**
 * Returns whether the server is asked through the address of the service `kubernetes`, as the environment of
 * a pod names it. A node whose services or policies depend on that connection cannot repair it.
 */
export function isServiceAddress(
  { server, others = [] }: Pick<ApiAccess, 'others' | 'server'>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const isSame = ({ hostname }: URL): boolean =>
    hostname.replace(/^\[(.*)\]$/u, '$1') === host ||
    /^kubernetes\.default(?:\.svc)?(?:\.|$)/u.test(hostname);
  return [server, ...others].some(isSame);
}

async function readServiceAccount(server: URL, folder: string): Promise<ApiAccess> {
  const [token, caText] = await Promise.all(
    ['token', 'ca.crt'].map(async (name) => {
      const path = join(folder, name);
      try {
        return (await readPlainFile(path, mostBytes)).toString('utf8').trim();
      } catch (thrown) {
        throw failure(
          'UNREADABLE',
          path,
          reasonOf(thrown),
          'run as a pod with a service account, or give a kubeconfig',
        );
      }
    }),
  );
  if (token === undefined || !/^[\x21-\x7e]+$/u.test(token))
    throw failure(
      'INVALID',
      join(folder, 'token'),
      'it contains no token',
      'check the service account of the pod',
    );
  const ca: string = orThrow(
    () => tlsCertificates(caText ?? '').join(''),
    () =>
      failure(
        'INVALID',
        join(folder, 'ca.crt'),
        'it contains no readable certificate',
        'check how the cluster provides this certificate',
      ),
  );
  const id = createHash('sha256')
    .update(JSON.stringify([server.href, ca, token]))
    .digest('base64');
  return { server, tls: { ca }, id, authorization: `Bearer ${token}` };
}

function serverOfPod(env: Readonly<Record<string, string | undefined>>): URL {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (host === undefined || port === undefined)
    throw failure(
      'UNREADABLE',
      'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT',
      'these environment variables are not set',
      'run as a pod with a service account, or give a kubeconfig',
    );
  return serverOf(`https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`);
}

function serverOf(text: string): URL {
  const url = URL.parse(text);
  const isLoopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/u.test(url?.hostname ?? '');
  if (
    url === null ||
    url.username !== '' ||
    url.password !== '' ||
    (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback))
  )
    throw failure(
      'INVALID',
      text.slice(0, 100),
      'it is not an address of an API server',
      'write it as https://HOST:6443',
    );
  return url;
}

function failure(what: 'INVALID' | 'UNREADABLE', on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: `KUBERNETES_KUBECONFIG_${what}`,
    kind: what === 'UNREADABLE' ? 'unavailable' : 'invalid',
    attempted: 'read API connection settings',
    on,
    why,
    fix,
  });
}
