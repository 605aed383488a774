import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseDocuments } from '../../base/schema/index.ts';
import { portcullisCommand } from '../fixtures/command.ts';
import type { Cluster } from '../services-watch/cluster.ts';

export const namespace = 'portcullis-webhook';
/** The address of the Service, at which the API server calls. */
export const clusterAddress = '10.96.0.99';
export const manifests = join(import.meta.dirname, '../../packaging/kubernetes/webhook');
export const fixtureKeys = join(import.meta.dirname, '../../trust/evidence/fixtures/keys');

export type KubernetesObject = Readonly<Record<string, unknown>> & {
  readonly kind: string;
  readonly apiVersion: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
};

/** Returns every object of the manifests, in the order of the kustomization. */
export function shippedObjects(): readonly KubernetesObject[] {
  const [kustomization] = parseDocuments(
    readFileSync(join(manifests, 'kustomization.yaml'), 'utf8'),
    'k',
  ).documents;
  const { resources } = kustomization?.value as { resources: readonly string[] };
  return resources.flatMap((file) =>
    parseDocuments(readFileSync(join(manifests, file), 'utf8'), file).documents.map(
      ({ value }) => value as KubernetesObject,
    ),
  );
}

export const shippedFiles = (): readonly string[] =>
  readdirSync(manifests).filter((name) => name !== 'kustomization.yaml');

const irregular: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
  TrustPolicy: 'trustpolicies',
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings',
};

/** Returns the path of the collection of an object. */
export function pathOf({ apiVersion, kind, metadata }: KubernetesObject): string {
  const plural = irregular[kind] ?? `${kind.toLowerCase()}s`;
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  return `${root}${inside}/${plural}`;
}

/** Writes a kubeconfig with a token of the webhook's service account: it has the rights that are shipped. */
export async function serviceAccountConfig(cluster: Cluster, folder: string): Promise<string> {
  const { status } = (await cluster.ask(
    'POST',
    `/api/v1/namespaces/${namespace}/serviceaccounts/portcullis-webhook/token`,
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } },
  )) as { status: { token: string } };
  const file = join(folder, 'webhook.kubeconfig');
  writeFileSync(
    file,
    `apiVersion: v1
kind: Config
current-context: test
contexts: [{ name: test, context: { cluster: test, user: webhook } }]
clusters: [{ name: test, cluster: { server: "https://127.0.0.1:${cluster.port}", certificate-authority: pki/ca.crt } }]
users: [{ name: webhook, user: { token: "${status.token}" } }]
`,
    { mode: 0o600 },
  );
  return file;
}

/** A replica of the webhook, as a separate process. */
export interface Replica {
  readonly process: ChildProcess;
  readonly url: string;
  /** Returns the text that it has written to standard error. */
  log(): string;
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts a replica, and resolves when it serves. @throws with its log when it ends instead */
export async function startReplica(args: readonly string[], folder: string): Promise<Replica> {
  const [program = '', ...first] = portcullisCommand;
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...first, 'webhook', 'serve', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: folder },
  });
  let [output, log] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  for (let tries = 0; !output.includes('serving '); tries += 1) {
    if (child.exitCode !== null || tries > 1200) throw new Error(`the webhook does not serve: ${log}`);
    await sleep(50);
  }
  return {
    process: child,
    url: /serving (\S+)/.exec(output)?.[1] ?? '',
    log: () => log,
    async end(signal) {
      if (child.exitCode !== null) return child.exitCode;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

/** Makes the links that the servers need in this network namespace. */
export function makeLinks(): void {
  for (const command of [
    'link add br0 type bridge',
    'addr add 192.0.2.1/24 dev br0',
    'link set br0 up',
    'route add default dev br0',
    `addr add ${clusterAddress}/32 dev lo`,
  ])
    execFileSync('ip', command.split(' '));
}

/** Repeats a question until it has an answer. @throws the last failure after the time, in ms */
export async function eventually<T>(ms: number, question: () => Promise<T>): Promise<T> {
  const until = performance.now() + ms;
  for (;;)
    try {
      return await question();
    } catch (thrown) {
      if (performance.now() > until) throw thrown;
      await sleep(100);
    }
}
