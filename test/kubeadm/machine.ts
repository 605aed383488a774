import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { podRanges, switchAddress } from '../cluster/nodes/addresses.ts';
import { openNodeNamespaces } from '../cluster/nodes/namespaces.ts';
import { startDaemon } from '../fixtures/daemon.ts';
import type { DaemonFolders, TestDaemon } from '../fixtures/daemon.ts';
import { programOf } from '../fixtures/kubernetes/processes.ts';
import type { Program } from '../fixtures/kubernetes/processes.ts';
import { registryName } from '../fixtures/publisher.ts';
import { findTool } from '../fixtures/tools.ts';
import { imageRegistry } from './images.ts';

const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
/** Where the configuration of the daemon looks for its kubeconfig, as docs/cluster.md does. */
export const nodeKubeconfig = '/etc/portcullis/node.kubeconfig';

/** A machine for kubeadm: namespaces with a daemon, and the work of the unit of a kubelet. */
export interface Machine {
  readonly name: string;
  readonly address: string;
  readonly folders: DaemonFolders;
  readonly daemon: TestDaemon;
  /** Runs a program on the machine, and returns its output. @throws if it fails */
  run(program: string, ...args: string[]): string;
  /** Runs kubeadm on the machine with its output in a log. @throws with the end of the log */
  kubeadm(...args: string[]): Promise<string>;
  /** Ends the kubelet, as kubeadm does by systemd. */
  stopKubelet(): Promise<void>;
  /** The path, from outside, of a file below /etc of the machine that was written there. */
  inEtc(path: string): string;
  close(): Promise<void>;
}

export async function openMachine(options: {
  readonly index: number;
  readonly folder: string;
  readonly policyFiles: readonly string[];
  readonly registryPort: number;
}): Promise<Machine> {
  const { index } = options;
  const name = `machine-${index}`;
  const namespaces = await openNodeNamespaces({ ...options, name });
  const { folder, folders, address, within, run } = namespaces;
  const etc = mountOver('/etc', folder, run);
  // Settings that kubeadm requires of a host.
  run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  writeFileSync(join(etc, 'hosts'), `127.0.0.1 localhost\n${address[4]} ${name}\n`);
  // kubeadm lets the controller manager and the kubelet write their plugins there.
  mountOver('/usr/libexec', folder, run);
  const configFile = join(folder, 'config.json');
  writeFileSync(configFile, JSON.stringify(daemonConfiguration()));
  const mirror = `http://${switchAddress[4]}:${options.registryPort}`;
  const flags = [
    ...['--config', configFile, '--cgroup-driver', 'cgroupfs'],
    ...[registryName, imageRegistry].flatMap((host) => ['--registry-mirror', `${host}=${mirror}`]),
  ];
  const daemon = await startDaemon(folders, flags, [...within, launcher]);
  const kubelet = superviseKubelet(folder, within);
  // kubeadm asks the kubelet in PATH for its version.
  const path = `${dirname(findTool('kubelet').path)}:${process.env['PATH'] ?? ''}`;
  return {
    ...{ name, folders, daemon, run, address: address[4] },
    inEtc: (path) => join(etc, path),
    kubeadm: (...args) => kubeadm([...within, 'env', `PATH=${path}`, findTool('kubeadm').path, ...args]),
    stopKubelet: kubelet.end,
    async close() {
      await kubelet.end();
      const { runtime } = daemon.cri;
      for (const { id } of (await runtime.listPodSandbox({})).items)
        await runtime.removePodSandbox({ podSandboxId: id });
      await daemon.stop();
      await namespaces.close();
    },
  };
}

/** Puts a writable layer over a folder of the machine. Returns the folder of its changes. */
function mountOver(path: string, folder: string, run: Machine['run']): string {
  const place = join(folder, `over${path.replaceAll('/', '-')}`);
  for (const part of ['upper', 'work']) mkdirSync(join(place, part), { recursive: true });
  const options = `lowerdir=${path},upperdir=${join(place, 'upper')},workdir=${join(place, 'work')}`;
  run('mount', '-t', 'overlay', '-o', options, 'over', path);
  return join(place, 'upper');
}

/** The network part of docs/cluster.md. Its kubeconfig does not exist before the cluster does. */
function daemonConfiguration(): object {
  return {
    network: {
      pods: { from: 'node', ranges: [podRanges[0]], kubeconfig: nodeKubeconfig },
      services: { kubernetes: { kubeconfig: nodeKubeconfig } },
    },
  };
}

/**
 * Does what kubeadm's unit for the kubelet does (10-kubeadm.conf): starts it once it is configured, with the
 * flags that kubeadm wrote, and again after its end.
 */
function superviseKubelet(folder: string, within: readonly string[]): { end(): Promise<void> } {
  const inside = (name: string): string => join(folder, 'kubelet', name);
  let kubelet: Program | undefined;
  const look = (): void => {
    if (kubelet?.isAlive() === true || !existsSync(inside('config.yaml'))) return;
    const file = inside('kubeadm-flags.env');
    const flags = existsSync(file)
      ? (/KUBELET_KUBEADM_ARGS="(.*)"/u.exec(readFileSync(file, 'utf8'))?.[1] ?? '')
      : '';
    kubelet = programOf(
      'kubelet',
      [
        ...['--bootstrap-kubeconfig', '/etc/kubernetes/bootstrap-kubelet.conf'],
        ...['--kubeconfig', '/etc/kubernetes/kubelet.conf', '--config', '/var/lib/kubelet/config.yaml'],
        ...['--v', '2', ...flags.split(' ').filter((word) => word !== '')],
      ],
      folder,
      { within },
    );
    kubelet.start();
  };
  const timer = setInterval(look, 1000);
  return {
    async end() {
      clearInterval(timer);
      await kubelet?.end('SIGTERM');
    },
  };
}

async function kubeadm([program = '', ...args]: readonly string[]): Promise<string> {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, all] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    all += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (all += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`kubeadm ended with ${code}: ${all.slice(-4000)}`);
  return stdout;
}
