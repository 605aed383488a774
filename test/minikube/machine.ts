import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeAddress } from '../cluster/nodes/addresses.ts';
import { kubeletRoot } from '../fixtures/kubelet/folders.ts';
import { findTool } from '../fixtures/tools.ts';

const repository = join(import.meta.dirname, '../..');
/** The programs of `test/peers` that the machine has, beside those of the control plane. */
export const minikubePrograms = [
  ...['minikube', 'kubeadm', 'kubelet', 'kubectl', 'crictl'],
  ...['containerd', 'containerd-shim-runc-v2'],
];
/** Debian's sudo, conntrack and socat, unpacked. */
export const machineTools = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'machine-tools');
/** The version of the programs of `test/peers`. */
export const kubernetesVersion = 'v1.36.3';
export const hostName = 'minikube-host';
export const hostAddress = nodeAddress(1)[4];
/** The variable with the UTS namespace that the machine must not change. */
export const outerHostNames = 'PORTCULLIS_TEST_OUTER_UTS';
/** The default of the daemon, and the value of minikube's flag `--cri-socket`. */
export const socket = '/run/portcullis/portcullis.sock';
/** The folder of `HOME`, below the folder of the suite. */
export const homeOf = (folder: string): string => join(folder, 'root');

/**
 * Turns the mount, network and PID namespace of this process, in which a systemd is process 1, into a machine
 * with folders, a network interface and programs of its own.
 * @param folder storage for everything that the machine writes
 */
export function prepareMachine(folder: string): void {
  const checkout = join(folder, 'checkout');
  mkdirSync(checkout);
  run('mount', '--bind', repository, checkout);
  for (const path of ['/usr', '/etc', '/var/lib', '/opt'])
    mountOver(path, folder, path === '/usr' ? [join(machineTools, 'usr')] : []);
  // They are not overlays: the daemon mounts overlays on its folder, and a volume may be idmapped.
  for (const path of [kubeletRoot, '/var/lib/portcullis', '/var/lib/containerd', '/tmp', '/root'])
    mountOwn(path, folder);
  // The checkout may be below one of the folders that are covered now.
  mkdirSync(repository, { recursive: true });
  run('mount', '--bind', checkout, repository);
  run('mount', '-t', 'tmpfs', 'var-log', '/var/log');
  cpSync(join(machineTools, 'etc'), '/etc', { recursive: true });
  // minikube requires that the folder exists. No program of it runs.
  mkdirSync('/opt/cni/bin', { recursive: true });
  installPrograms();
  connect();
}

/** Puts a writable layer over a folder of the machine, and `lower` below the layer. */
function mountOver(path: string, folder: string, lower: readonly string[]): void {
  const place = join(folder, `over${path.replaceAll('/', '-')}`);
  for (const part of ['upper', 'work']) mkdirSync(join(place, part), { recursive: true });
  const layers = [...lower, path].join(':');
  const options = `lowerdir=${layers},upperdir=${join(place, 'upper')},workdir=${join(place, 'work')}`;
  run('mount', '-t', 'overlay', '-o', options, 'over', path);
}

/** Puts an empty folder in place of a folder of the machine. */
function mountOwn(path: string, folder: string): void {
  const place = path === '/root' ? homeOf(folder) : join(folder, `own${path.replaceAll('/', '-')}`);
  mkdirSync(place, { recursive: true, mode: path === '/tmp' ? 0o1777 : 0o755 });
  mkdirSync(path, { recursive: true });
  run('mount', '--bind', place, path);
}

/** Installs programs where a package would, and the unit of our daemon as docs/kubelet.md does. */
function installPrograms(): void {
  const bin = '/usr/local/bin';
  for (const name of ['crictl', 'containerd', 'containerd-shim-runc-v2', 'kubectl'])
    symlinkSync(findTool(name).path, join(bin, name));
  for (const name of ['portcullis', 'portcullisd'])
    if (!existsSync(join(bin, name))) symlinkSync(join(repository, 'packaging/bin', name), join(bin, name));
  cpSync(
    join(repository, 'packaging/systemd/portcullisd.service'),
    '/etc/systemd/system/portcullisd.service',
  );
  mkdirSync('/etc/containerd', { recursive: true });
  writeFileSync('/etc/containerd/config.toml', output(findTool('containerd').path, 'config', 'default'));
  writeFileSync(
    '/etc/systemd/system/containerd.service',
    ['[Service]', 'Type=notify', `ExecStart=${bin}/containerd`, 'Delegate=yes', 'KillMode=process', ''].join(
      '\n',
    ),
  );
  run('systemctl', 'daemon-reload');
  // It opened its files before /var/log and /etc were those of the machine.
  writeFileSync('/etc/systemd/journald.conf', '[Journal]\nReadKMsg=no\n');
  run('systemctl', 'restart', 'systemd-journald');
}

/** An interface with a default route: minikube and kubeadm take the address of the machine from it. */
function connect(): void {
  const names = readlinkSync('/proc/self/ns/uts');
  assert.notEqual(names, process.env[outerHostNames] ?? names, 'the host name would change outside');
  run('hostname', hostName);
  writeFileSync('/etc/hostname', `${hostName}\n`);
  writeFileSync('/etc/hosts', `127.0.0.1 localhost\n${hostAddress} ${hostName}\n`);
  writeFileSync('/etc/resolv.conf', 'nameserver 192.0.2.53\n');
  for (const command of [
    'link add eth0 type veth peer name outside',
    'link set eth0 up',
    'link set outside up',
    `addr add ${hostAddress}/24 dev eth0`,
    'route add default dev eth0',
  ])
    run('ip', ...command.split(' '));
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Runs a program on the machine, and returns its output. @throws with what it wrote, if it fails */
export function output(program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 64 * 2 ** 20,
  });
  if (error !== undefined) throw error;
  if (status !== 0)
    throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${(stdout + stderr).slice(-4000)}`);
  return stdout;
}
