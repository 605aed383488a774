import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { daemonFolders } from '../../fixtures/daemon.ts';
import type { DaemonFolders } from '../../fixtures/daemon.ts';
import { mountKubeletFolders } from '../../fixtures/kubelet/folders.ts';
import { nodeAddress, switchAddress } from './addresses.ts';

/** The bridge of this process's namespace to which every node has a link. */
export const switchBridge = 'segment';

/** A mount, network and UTS namespace with a link to the segment, and folders for a daemon and a kubelet. */
export interface NodeNamespaces {
  readonly folder: string;
  readonly folders: DaemonFolders;
  readonly address: { readonly 4: string; readonly 6: string };
  /** A program and its arguments that run another program in the namespaces. */
  readonly within: readonly string[];
  /** Runs a program in the namespaces, and returns its output. @throws if it fails */
  run(program: string, ...args: string[]): string;
  /** Ends the namespaces. */
  close(): Promise<void>;
}

export interface NamespacesOptions {
  readonly name: string;
  readonly index: number;
  /** The folder of the cluster. */
  readonly folder: string;
  /** The files of the policy and its keys, to copy. */
  readonly policyFiles: readonly string[];
}

export async function openNodeNamespaces(options: NamespacesOptions): Promise<NodeNamespaces> {
  const { name, index, policyFiles } = options;
  const folder = join(options.folder, name);
  const folders = daemonFolders(folder);
  for (const path of [folders.policy, folders.cniConf]) mkdirSync(path, { recursive: true });
  for (const file of policyFiles) copyFileSync(file, join(folders.policy, basename(file)));
  const holder = await openNamespaces();
  const within = ['nsenter', '-t', String(holder.pid), '-m', '-n', '-u', '--'];
  const run = (program: string, ...args: string[]): string =>
    execFileSync(within[0] ?? '', [...within.slice(1), program, ...args], { encoding: 'utf8' });
  const address = nodeAddress(index);
  connect(name, holder.pid ?? 0, address, run);
  run('hostname', name);
  mountKubeletFolders(folder, (program, ...args) => void run(program, ...args));
  return {
    ...{ folder, folders, address, within, run },
    async close() {
      // The kernel removes a network namespace later, but it removes a link in the namespace together with
      // the link here.
      execFileSync('ip', ['link', 'del', name]);
      const gone = once(holder, 'exit');
      holder.kill('SIGKILL');
      await gone;
    },
  };
}

/** A process that holds new namespaces: mounts, network, host name. */
async function openNamespaces(): Promise<ChildProcess> {
  const holder = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--mount', '--net', '--uts', '--propagation', 'private'],
      ...['sleep', 'infinity'],
    ],
    { stdio: 'ignore' },
  );
  const netns = (pid: number | 'self'): string => {
    try {
      return readlinkSync(`/proc/${pid}/ns/net`);
    } catch {
      return '';
    }
  };
  const comm = (): string => {
    try {
      return readlinkSync(`/proc/${holder.pid ?? 0}/exe`);
    } catch {
      return '';
    }
  };
  while (['', netns('self')].includes(netns(holder.pid ?? 0)) || !comm().endsWith('sleep')) await pause(10);
  return holder;
}

/** Connects the node to the segment, as a machine with one network interface. */
function connect(
  name: string,
  pid: number,
  address: NodeNamespaces['address'],
  run: NodeNamespaces['run'],
): void {
  run('mount', '--make-rshared', '/');
  execFileSync('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)]);
  execFileSync('ip', ['link', 'set', name, 'master', switchBridge, 'up']);
  for (const command of [
    'link set lo up',
    'link set eth0 up',
    `addr add ${address[4]}/24 dev eth0`,
    `addr add ${address[6]}/64 dev eth0 nodad`,
    `route add default via ${switchAddress[4]}`,
    `-6 route add default via ${switchAddress[6]}`,
  ])
    run('ip', ...command.split(' '));
}
