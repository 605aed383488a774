import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findTool } from '../fixtures/tools.ts';
import { nodeName } from './layout.ts';
import type { OurSettings } from './our-proxy.ts';

/** The program that serves the Services of a node. */
export type ProxyKind = 'ipvs' | 'kube-proxy' | 'nftables';

export interface ProxyOptions {
  readonly kind: ProxyKind;
  /** Its files and its log. */
  readonly folder: string;
  readonly server: string;
  /** As in kube-proxy's configuration. Absent: node ports are served at all addresses. */
  readonly nodePortAddresses?: readonly string[];
  /** kube-proxy's own mode. */
  readonly mode: 'iptables' | 'nftables';
}

export interface Proxy {
  start(): void;
  /** Kills it without warning. What it put into the kernel stays. */
  kill(): Promise<void>;
}

/** Returns a proxy in the network namespace of this process. It ends with this process. */
export function prepareProxy(options: ProxyOptions): Proxy {
  const command = options.kind === 'kube-proxy' ? kubeProxy(options) : ours(options, options.kind);
  const log = openSync(join(options.folder, 'proxy.log'), 'a');
  let child: ChildProcess | undefined;
  return {
    start() {
      const [program = '', ...args] = command;
      child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
        stdio: ['ignore', log, log],
        env: { ...process.env, KUBE_FEATURE_WatchListClient: 'false' },
      });
      child.on('exit', (code) => {
        if (code !== null) console.error(`${options.kind} ended with status ${code}: see ${options.folder}`);
      });
    },
    async kill() {
      if (child === undefined) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function kubeconfigIn({ folder, server }: ProxyOptions): string {
  const path = join(folder, 'kubeconfig');
  writeFileSync(
    path,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user: { token: 'none' } }],
    }),
  );
  return path;
}

function kubeProxy(options: ProxyOptions): readonly string[] {
  const path = join(options.folder, 'kube-proxy.json');
  const often = { minSyncPeriod: '10ms', syncPeriod: '30s' };
  writeFileSync(
    path,
    JSON.stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode: options.mode,
      clientConnection: { kubeconfig: kubeconfigIn(options), contentType: 'application/json' },
      hostnameOverride: nodeName,
      detectLocalMode: 'NodeCIDR',
      nodePortAddresses: options.nodePortAddresses ?? ['0.0.0.0/0', '::/0'],
      metricsBindAddress: '127.0.0.1:10249',
      // Settings of the host, which no network namespace has of its own.
      conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
      iptables: often,
      nftables: often,
    }),
  );
  return [findTool('kube-proxy').path, '--config', path];
}

function ours(options: ProxyOptions, balancer: 'ipvs' | 'nftables'): readonly string[] {
  const settings: OurSettings = {
    databasePath: join(options.folder, 'network.db'),
    balancer,
    kubernetes: {
      place: { kubeconfig: kubeconfigIn(options) },
      nodeName,
      ...(options.nodePortAddresses !== undefined && { nodePortAddresses: options.nodePortAddresses }),
      health: { address: '0.0.0.0', port: 10256 },
    },
  };
  return [process.execPath, join(import.meta.dirname, 'our-proxy.ts'), JSON.stringify(settings)];
}
