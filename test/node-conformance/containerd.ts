import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createCriClient } from '../../runtime/client.ts';
import { peers } from '../conformance/endpoint.ts';
import { accepts } from '../fixtures/accepts.ts';
import { handlerName, mirroredHost } from './names.ts';

/** A runtime whose CRI endpoint the kubelet uses. */
export interface NodeRuntime {
  readonly socket: string;
  isAlive(): boolean;
  /** Stops the runtime. Throws if it does not stop cleanly. */
  close(): Promise<void>;
}

/** Starts containerd with runc, and waits until it answers. Its files are below `folder`. */
export async function startContainerd(
  folder: string,
  { registry, cniConf }: { readonly registry: string; readonly cniConf: string },
): Promise<NodeRuntime> {
  const inside = (name: string): string => join(folder, 'containerd', name);
  const hosts = inside(`certs.d/${mirroredHost}`);
  mkdirSync(hosts, { recursive: true });
  writeFileSync(
    join(hosts, 'hosts.toml'),
    `server = "${registry}"\n[host."${registry}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  const socket = inside('containerd.sock');
  writeFileSync(inside('config.toml'), configurationOf(inside, socket, cniConf));
  const log = openSync(join(folder, 'containerd.log'), 'a');
  const child = spawn(join(peers, 'bin/containerd'), ['-c', inside('config.toml')], {
    stdio: ['ignore', log, log],
    env: { ...process.env, PATH: `${join(peers, 'bin')}:${process.env['PATH'] ?? ''}` },
  });
  closeSync(log);
  const isAlive = (): boolean => child.exitCode === null && child.signalCode === null;
  const client = createCriClient(socket);
  const until = performance.now() + 60_000;
  // The network is ready when the plugins have read their configuration. Other conditions are warnings.
  const answers = async (): Promise<boolean> => {
    if (!(await accepts(socket))) return false;
    const { status } = await client.runtime.status({});
    const ready = status?.conditions.filter(({ type }) => type.endsWith('Ready')) ?? [];
    return ready.length > 0 && ready.every((condition) => condition.status);
  };
  while (!(await answers().catch(() => false))) {
    if (!isAlive() || performance.now() > until) throw new Error('containerd does not answer');
    await pause(100);
  }
  client.close();
  return {
    socket,
    isAlive,
    async close() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function configurationOf(inside: (name: string) => string, socket: string, cniConf: string): string {
  const handler = (name: string): string => `
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.${name}]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.${name}.options]
      BinaryName = '${join(peers, 'bin/runc')}'
      SystemdCgroup = false`;
  return `version = 4
root = '${inside('root')}'
state = '${inside('state')}'
[plugins.'io.containerd.server.v1.grpc']
  address = '${socket}'
[plugins.'io.containerd.server.v1.ttrpc']
  address = '${socket}.ttrpc'
[plugins.'io.containerd.server.v1.grpc-tcp']
  address = ''
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'registry.k8s.io/pause:3.10.2'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '${inside('certs.d')}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true${handler('runc')}${handler(handlerName)}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = '${cniConf}'
[plugins.'io.containerd.internal.v1.opt']
  path = '${inside('opt')}'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
`;
}
