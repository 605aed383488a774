import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { patience } from './patience.ts';
import { createKubeletServer } from './server.ts';
import type { KubeletServer } from './server.ts';

/** The node name. The name of a static pod ends with it. */
export const nodeName = 'node';
/** The link and address of the node. A kubelet needs a default route. */
const link = { name: 'kub0', peer: 'kub1', address: '10.212.0.2', gateway: '10.212.0.1' } as const;
/** The default of the kubelet and of `kubeletRoot`. Volumes of a pod are recognized by this path. */
const kubeletRoot = '/var/lib/kubelet';

export interface Kubelet {
  readonly server: KubeletServer;
  /** The log of all its runs. */
  log(): string;
  isAlive(): boolean;
  /** Sends SIGTERM and waits. Pods continue to run. */
  stop(): Promise<void>;
  /** Starts it with a configuration that overrides the configuration of the options for this run. */
  start(configuration?: Readonly<Record<string, unknown>>): Promise<void>;
}

export interface KubeletOptions {
  readonly binary: string;
  readonly folder: string;
  readonly socket: string;
  readonly manifests: string;
  readonly podLogs: string;
  /** The cgroup for QoS classes. If undefined, the kubelet creates no cgroups (cgroupsPerQOS: false). */
  readonly cgroupRoot?: string;
  /** Overrides the configuration. */
  readonly configuration?: Readonly<Record<string, unknown>>;
}

/**
 * Prepares the node that a kubelet expects, in the caller's private namespaces: a default route, and its
 * fixed folders on private storage.
 */
export function prepareNode(folder: string): { close(): void } {
  const ip = (...args: string[]): void => void execFileSync('ip', args);
  ip('link', 'add', link.name, 'type', 'veth', 'peer', 'name', link.peer);
  ip('addr', 'add', `${link.address}/24`, 'dev', link.name);
  for (const name of [link.name, link.peer]) ip('link', 'set', name, 'up');
  ip('route', 'add', 'default', 'via', link.gateway);
  // It writes to /var/log/{pods,containers} and /var/lib/kubelet. The latter is not an overlay, because
  // overlayfs has no idmapped mounts.
  const upper = join(folder, 'var-lib');
  for (const name of ['upper', 'work']) mkdirSync(join(upper, name), { recursive: true });
  execFileSync('mount', [
    ...[
      '-t',
      'overlay',
      '-o',
      `lowerdir=/var/lib,upperdir=${join(upper, 'upper')},workdir=${join(upper, 'work')}`,
    ],
    ...['var-lib', '/var/lib'],
  ]);
  for (const path of [join(folder, 'kubelet'), kubeletRoot]) mkdirSync(path, { recursive: true });
  execFileSync('mount', ['--bind', join(folder, 'kubelet'), kubeletRoot]);
  execFileSync('mount', ['-t', 'tmpfs', 'var-log', '/var/log']);
  return {
    close: () => {
      execFileSync('umount', ['/var/log']);
      execFileSync('umount', ['-l', kubeletRoot]);
      execFileSync('umount', ['-l', '/var/lib']);
      ip('link', 'del', link.name);
    },
  };
}

/** Starts a standalone kubelet and waits until its server answers. */
export async function startKubelet(options: KubeletOptions): Promise<Kubelet> {
  const { folder, binary } = options;
  const inside = (name: string): string => join(folder, 'kubelet', name);
  for (const name of ['', 'plugins', 'certificates']) mkdirSync(inside(name), { recursive: true });
  for (const path of [options.manifests, options.podLogs]) mkdirSync(path, { recursive: true });
  writeFileSync(inside('resolv.conf'), 'nameserver 192.0.2.53\n');
  const configFile = inside('config.json');
  const logFile = join(folder, 'kubelet.log');
  const server = createKubeletServer('127.0.0.1', 10_250);
  let child: ReturnType<typeof spawn> | undefined;
  const isAlive = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null;
  const log = (): string => readFileSync(logFile, 'utf8');

  const start = async (configuration: Readonly<Record<string, unknown>> = {}): Promise<void> => {
    writeFileSync(configFile, JSON.stringify({ ...configurationOf(options), ...configuration }, null, 2));
    const output = openSync(logFile, 'a');
    child = spawn(
      binary,
      [
        ...['--config', configFile, '--cert-dir', inside('certificates')],
        // Without an address it looks up its own name in DNS repeatedly, and waits.
        ...['--hostname-override', nodeName, '--node-ip', link.address, '--v', '2'],
      ],
      { stdio: ['ignore', output, output] },
    );
    closeSync(output);
    const until = performance.now() + patience(90_000);
    while (!(await server.isReady())) {
      if (!isAlive() || performance.now() > until)
        throw new Error(`the kubelet does not answer; the end of its log:\n${log().slice(-4000)}`);
      await pause(100);
    }
  };
  const stop = async (): Promise<void> => {
    if (child === undefined || !isAlive()) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const running = child;
    const timer = setTimeout(() => running.kill('SIGKILL'), patience(20_000));
    await gone;
    clearTimeout(timer);
  };
  process.once('exit', () => void child?.kill('SIGKILL'));
  await start();
  return { server, log, isAlive, start, stop };
}

/** Source: KubeletConfiguration v1beta1 (kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1). */
function configurationOf(options: KubeletOptions): Record<string, unknown> {
  const { folder } = options;
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${options.socket}`,
    staticPodPath: options.manifests,
    podLogsDir: options.podLogs,
    volumePluginDir: join(folder, 'kubelet/plugins'),
    resolvConf: join(folder, 'kubelet/resolv.conf'),
    address: '127.0.0.1',
    healthzPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    registerNode: false,
    // All pods arrive at once. With the kubelet's default limit of 5 per second some would wait and log
    // errors.
    registryPullQPS: 0,
    enableServer: true,
    makeIPTablesUtilChains: false,
    failCgroupV1: false,
    failSwapOn: false,
    cgroupsPerQOS: options.cgroupRoot !== undefined,
    ...(options.cgroupRoot !== undefined && { cgroupRoot: options.cgroupRoot }),
    enforceNodeAllocatable: [],
    // Small enough for a check to fill it, at the interval of the kubelet's checks.
    containerLogMaxSize: '64Ki',
    containerLogMaxFiles: 10,
    containerLogMonitorInterval: '3s',
    fileCheckFrequency: '1s',
    imageMinimumGCAge: '1s',
    syncFrequency: '2s',
    volumeStatsAggPeriod: '2s',
    evictionHard: { 'memory.available': '1Mi', 'nodefs.available': '1Mi', 'imagefs.available': '1Mi' },
    evictionPressureTransitionPeriod: '1s',
    ...options.configuration,
  };
}
