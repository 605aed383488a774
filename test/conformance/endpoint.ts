import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createRegistryClient, parseReference } from '../../base/distribution/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { generateKeyPair, loadSigningKey, signImage } from '../../trust/index.ts';
import { accepts } from '../fixtures/accepts.ts';

export const repository = join(import.meta.dirname, '../..');
export const peers = process.env['PEERS'] ?? '/var/cache/portcullis-peers';
/** Hosts from which critest and the benchmark pull; a local registry replaces each. */
export const mirroredHosts = ['registry.k8s.io', 'gcr.io', 'k8s.gcr.io', 'public.ecr.aws'];
export const networkName = 'testnet';
export const registryHost = '127.0.0.1:5000';
/** `test/vm/run` emulates its processors. */
export const slow = process.env['IN_VM'] !== undefined;

/**
 * Prepares the private namespaces that the caller runs in (`unshare -m -n`): shared mounts as on a node,
 * loopback, forwarding.
 */
export function prepareNamespaces(): void {
  execFileSync('mount', ['--make-rshared', '/']);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  execFileSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.route_localnet=1']);
}

export interface Started {
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Serves every image of the suite with the referrers API, each signed by one key. Returns the policy's
 * folder.
 */
export async function serveSignedImages(
  folder: string,
): Promise<Started & { readonly policyFile: string; readonly images: number }> {
  const child = spawn('bash', [join(repository, 'test/peers/images-serve')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: '5000', REFERRERS: '1', PEERS: peers },
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('READY')) break;
    lines.push(line);
  }
  const images = servedImages(lines);
  const policyFile = await signServedImages(folder, images);
  return { pid: child.pid ?? 0, images: images.length, policyFile, stop: () => end(child) };
}

/** An image that the registry of the suite serves, such as `pause:3.9`. */
interface ServedImage {
  readonly name: string;
  readonly digest: string;
}

/** Returns the images in the output of `images-serve`. */
export function servedImages(lines: readonly string[]): ServedImage[] {
  return lines.flatMap((line) => {
    const [name = '', digest = ''] = line.split(' ');
    return digest.startsWith('sha256:') ? [{ name, digest }] : [];
  });
}

/** Signs each image by one key. Returns the folder of a policy that requires these signatures. */
export async function signServedImages(folder: string, images: readonly ServedImage[]): Promise<string> {
  const policies = join(folder, 'policy');
  mkdirSync(policies, { recursive: true });
  const passphrase = { environment: { PORTCULLIS_PASSPHRASE: '' } };
  const { privateFile, publicFile } = await generateKeyPair(join(folder, 'suite'), passphrase);
  copyFileSync(publicFile, join(policies, 'suite.pub'));
  const key = await loadSigningKey(privateFile, passphrase);
  const client = createRegistryClient({ tagSettleMs: 0 });
  const signed = new Set<string>();
  for (const { name, digest } of images) {
    const reference = parseReference(`${registryHost}/${name}`);
    const [where] = client.repositories(reference);
    if (where === undefined || signed.has(`${reference.repository}@${digest}`)) continue;
    await signImage({ repository: where, digest, key, format: 'bundle', now: new Date() });
    signed.add(`${reference.repository}@${digest}`);
  }
  await client.close();
  writeFileSync(
    join(policies, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: [${mirroredHosts.map((host) => `"${host}/**"`).join(', ')}]
    require: { cosign: { key: suite.pub } }
    entitlements: { ceiling: privileged }
`,
  );
  return policies;
}

/**
 * A chain of third-party plugins. `cniVersion`: a version that all of them support; `leases`: the folder of
 * their address plugin.
 */
export interface Chain {
  readonly cniVersion: string;
  readonly leases: string;
}

/** Bits per second, and bits; tuning has its own setting. */
const limits = { ingressRate: 2e9, ingressBurst: 2e8, egressRate: 2e9, egressBurst: 2e8 };
const beyondHostPorts = [
  { type: 'bandwidth', capabilities: { bandwidth: true }, ...limits },
  { type: 'tuning', sysctl: { 'net.core.somaxconn': '511' } },
];

/** Starts the daemon as it is released and waits until it answers. Its log goes to `folder/daemon.log`. */
export async function startDaemon(
  folder: string,
  policy: string,
  extra: readonly string[] = [],
  /** Pods get the longer chain of ordinary plugins, each with work to do. */
  { chain }: { readonly chain?: Chain } = {},
): Promise<Started & { readonly socket: string }> {
  const conf = join(folder, 'cni');
  mkdirSync(conf, { recursive: true });
  writeFileSync(
    join(conf, '10-test.conflist'),
    JSON.stringify({
      cniVersion: chain?.cniVersion ?? '1.0.0',
      name: networkName,
      plugins: [
        {
          type: 'bridge',
          bridge: 'pc0',
          isGateway: true,
          ipMasq: true,
          hairpinMode: true,
          ipam: {
            type: 'host-local',
            ranges: [[{ subnet: '10.87.0.0/16' }]],
            routes: [{ dst: '0.0.0.0/0' }],
            ...(chain !== undefined && { dataDir: chain.leases }),
          },
        },
        { type: 'portmap', capabilities: { portMappings: true }, snat: true },
        ...(chain === undefined ? [] : beyondHostPorts),
      ],
    }),
  );
  const socket = join(folder, 'cri.sock');
  const log = openSync(join(folder, 'daemon.log'), 'a');
  const args = [
    ...[
      '--socket',
      socket,
      '--root',
      join(folder, 'root'),
      '--state',
      join(folder, 'state'),
      '--policy',
      policy,
      '--cni-conf-dir',
      conf,
    ],
    ...mirroredHosts.flatMap((host) => ['--registry-mirror', `${host}=http://${registryHost}`]),
    ...extra,
  ];
  const child = spawn(join(repository, 'packaging/bin/portcullisd'), args, { stdio: ['ignore', log, log] });
  const client = createCriClient(socket);
  try {
    for (let attempt = 0; ; attempt += 1) {
      if (child.exitCode !== null)
        throw new Error(`the daemon ended with ${child.exitCode}; see ${join(folder, 'daemon.log')}`);
      try {
        if (!(await accepts(socket))) throw new Error('nobody listens yet');
        await client.runtime.version({});
        break;
      } catch (cause) {
        if (attempt > (slow ? 1_500 : 300)) throw cause;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  } finally {
    client.close();
  }
  return { pid: child.pid ?? 0, socket, stop: () => end(child) };
}

/** Ends a child process, and waits for it. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), slow ? 120_000 : 20_000);
  await gone;
  clearTimeout(timer);
}
