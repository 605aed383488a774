import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { kubeletConfiguration, writeKubeletFiles } from '../../fixtures/kubelet/configuration.ts';
import { mountKubeletFolders } from '../../fixtures/kubelet/folders.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import { createKubeletServer } from '../../fixtures/kubelet/server.ts';
import type { KubeletServer } from '../../fixtures/kubelet/server.ts';
import { programOf } from '../../fixtures/kubernetes/processes.ts';

/** The node name. The name of a static pod ends with it. */
export const nodeName = 'node';
export const nodeAddress = '10.212.0.2';
/** The link of the node. A kubelet needs a default route. */
const link = { name: 'kub0', peer: 'kub1', gateway: '10.212.0.1' } as const;

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
  ip('addr', 'add', `${nodeAddress}/24`, 'dev', link.name);
  for (const name of [link.name, link.peer]) ip('link', 'set', name, 'up');
  ip('route', 'add', 'default', 'via', link.gateway);
  const unmount = mountKubeletFolders(folder);
  return {
    close: () => {
      unmount();
      ip('link', 'del', link.name);
    },
  };
}

/** Starts a standalone kubelet and waits until its server answers. */
export async function startKubelet(options: KubeletOptions): Promise<Kubelet> {
  const { folder } = options;
  for (const path of [options.manifests, options.podLogs]) mkdirSync(path, { recursive: true });
  const server = createKubeletServer('127.0.0.1', 10_250);
  const inside = (name: string): string => join(folder, 'kubelet', name);
  const { start, isAlive, log, end } = programOf(
    'kubelet',
    [
      ...['--config', inside('config.json'), '--cert-dir', inside('certificates')],
      // Without an address it looks up its own name in DNS repeatedly, and waits.
      ...['--hostname-override', nodeName, '--node-ip', nodeAddress, '--v', '2'],
    ],
    folder,
  );
  const kubelet: Kubelet = {
    server,
    log,
    isAlive,
    stop: () => end('SIGTERM'),
    async start(configuration = {}) {
      writeKubeletFiles(folder, { ...configurationOf(options), ...configuration });
      start();
      const until = performance.now() + patience(90_000);
      while (!(await server.isReady())) {
        if (!isAlive() || performance.now() > until)
          throw new Error(`the kubelet does not answer; the end of its log:\n${log().slice(-4000)}`);
        await pause(100);
      }
    },
  };
  await kubelet.start();
  return kubelet;
}

function configurationOf(options: KubeletOptions): Record<string, unknown> {
  return {
    ...kubeletConfiguration(options),
    staticPodPath: options.manifests,
    podLogsDir: options.podLogs,
    address: '127.0.0.1',
    healthzPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    registerNode: false,
    // Small enough for a check to fill it, at the interval of the kubelet's checks.
    containerLogMaxSize: '64Ki',
    containerLogMaxFiles: 10,
    containerLogMonitorInterval: '3s',
    fileCheckFrequency: '1s',
    imageMinimumGCAge: '1s',
    syncFrequency: '2s',
    volumeStatsAggPeriod: '2s',
    ...options.configuration,
  };
}
