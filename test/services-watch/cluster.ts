import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request as requestPlain } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findTool } from '../fixtures/tools.ts';

/** A real etcd and a real kube-apiserver, with RBAC, in the network namespace of this process. */
export interface Cluster {
  /** Sends a request as an administrator. @throws with the API's message, when it is refused */
  ask(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<Record<string, unknown>>;
  /**
   * Writes a kubeconfig of the user system:kube-proxy with a client certificate. @param port the port that
   * leads to the API server
   */
  kubeconfig(port?: number): string;
  readonly port: number;
  killApiServer(): Promise<void>;
  startApiServer(): Promise<void>;
  /**
   * Compacts everything before now: a client with an older version gets 410 (after the API server was
   * restarted, because it caches versions for a while).
   */
  compact(): Promise<void>;
  stop(): Promise<void>;
}

const [etcdPort, peerPort, apiPort] = [42_379, 42_380, 46_443];
const token = 'administrator-of-the-test';

export async function startCluster(folder: string): Promise<Cluster> {
  const at = (name: string): string => join(folder, name);
  mkdirSync(at('pki'), { recursive: true });
  const openssl = (...args: string[]): unknown =>
    execFileSync('openssl', args, { cwd: at('pki'), stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-days',
    '2',
    '-subj',
    '/CN=test-ca',
    '-addext',
    'keyUsage=critical,keyCertSign',
  );
  const sign = (name: string, subject: string, extension: string): void => {
    writeFileSync(at(`pki/${name}.ext`), extension);
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-out',
      `${name}.crt`,
      '-extfile',
      `${name}.ext`,
    );
  };
  sign('server', '/CN=kube-apiserver', 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  sign('proxy', '/CN=system:kube-proxy', 'extendedKeyUsage=clientAuth\n');
  openssl('genrsa', '-out', 'accounts.key', '2048');
  writeFileSync(at('pki/tokens.csv'), `${token},administrator,1,system:masters\n`);

  const run = (name: string, args: readonly string[]): ChildProcess => {
    const { path } = findTool(name);
    const output = createWriteStream(at(`${name}.log`), { flags: 'a' });
    // Ends with this process, also when this process is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', path, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.pipe(output, { end: false });
    child.stderr.pipe(output, { end: false });
    return child;
  };
  const endOf = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  };

  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const etcd = run('etcd', [
    ...['--data-dir', at('etcd'), '--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
    ...[
      '--listen-peer-urls',
      peerUrl,
      '--initial-advertise-peer-urls',
      peerUrl,
      '--initial-cluster',
      `default=${peerUrl}`,
    ],
    ...['--unsafe-no-fsync', '--log-level', 'warn'],
  ]);

  const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: readFileSync(at('pki/ca.crt')) });
  const ask: Cluster['ask'] = (method, path, body) =>
    new Promise((resolve, reject) => {
      const call = request({
        host: '127.0.0.1',
        port: apiPort,
        agent,
        method,
        path,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      });
      call.on('error', reject);
      call.on('response', (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if ((answer.statusCode ?? 500) >= 300)
            reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 4000)}`));
          else resolve(text === 'ok' ? {} : (JSON.parse(text) as Record<string, unknown>));
        });
      });
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });

  const etcdAsk = (path: string, body: unknown): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      const call = requestPlain(`${etcdUrl}${path}`, { method: 'POST' }, (answer) => {
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

  let api: ChildProcess | undefined;
  async function startApiServer(): Promise<void> {
    const child = run('kube-apiserver', [
      ...[
        '--etcd-servers',
        etcdUrl,
        '--bind-address',
        '127.0.0.1',
        '--secure-port',
        String(apiPort),
        '--advertise-address',
        '192.0.2.1',
      ],
      ...[
        '--endpoint-reconciler-type',
        'none',
        '--service-cluster-ip-range',
        '10.96.0.0/12,fd00:10:96::/112',
      ],
      ...[
        '--authorization-mode',
        'RBAC',
        '--token-auth-file',
        at('pki/tokens.csv'),
        '--client-ca-file',
        at('pki/ca.crt'),
      ],
      ...[
        '--tls-cert-file',
        at('pki/server.crt'),
        '--tls-private-key-file',
        at('pki/server.key'),
        '--cert-dir',
        at('pki'),
      ],
      ...[
        '--service-account-issuer',
        'https://kubernetes.default.svc',
        '--service-account-key-file',
        at('pki/accounts.key'),
      ],
      ...[
        '--service-account-signing-key-file',
        at('pki/accounts.key'),
        '--etcd-compaction-interval',
        '0',
        '--disable-admission-plugins',
        'ServiceAccount',
      ],
      '--enable-aggregator-routing=false',
    ]);
    api = child;
    for (let tries = 0; ; tries++) {
      try {
        await ask('GET', '/readyz');
        return;
      } catch (thrown) {
        if (child.exitCode !== null)
          throw new Error(
            `the kube-apiserver ended: ${readFileSync(at('kube-apiserver.log'), 'utf8').slice(-2000)}`,
            { cause: thrown },
          );
        if (tries > 1200) throw thrown;
        await sleep(250);
      }
    }
  }

  await startApiServer();
  return {
    ask,
    port: apiPort,
    kubeconfig(port = apiPort) {
      const file = at(`kubeconfig-${port}.yaml`);
      writeFileSync(
        file,
        `apiVersion: v1
kind: Config
current-context: test
contexts: [{ name: test, context: { cluster: test, user: proxy } }]
clusters: [{ name: test, cluster: { server: "https://127.0.0.1:${port}", certificate-authority: pki/ca.crt } }]
users: [{ name: proxy, user: { client-certificate: pki/proxy.crt, client-key: pki/proxy.key } }]
`,
      );
      return file;
    },
    startApiServer,
    async killApiServer() {
      if (api !== undefined) await endOf(api, 'SIGKILL');
    },
    async compact() {
      const { header } = (await etcdAsk('/v3/kv/range', { key: Buffer.from('x').toString('base64') })) as {
        header: { revision: string };
      };
      await etcdAsk('/v3/kv/compaction', { revision: header.revision, physical: true });
    },
    async stop() {
      agent.destroy();
      if (api !== undefined) await endOf(api, 'SIGKILL');
      await endOf(etcd, 'SIGKILL');
    },
  };
}
