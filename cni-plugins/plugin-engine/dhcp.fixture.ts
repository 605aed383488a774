import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PluginCall } from '../calls/plugin-call.ts';
import { eventually, shell, tried } from '../engine/engine.fixture.ts';

/**
 * Shared by the tests of DHCP: a host with the link `up0`, whose other end is in the namespace of a server,
 * and the server dnsmasq.
 */

export const dnsmasqProgram = join(
  process.env['PEERS'] ?? '/var/cache/portcullis-peers',
  'dns/usr/sbin/dnsmasq',
);
export const upstreamProgram = '/usr/lib/cni/dhcp';

/** The skip message of tests that need these programs; false when they are there. */
export const withoutPrograms = (...programs: readonly string[]): string | false => {
  const missing = programs.find((program) => !existsSync(program));
  return missing === undefined
    ? false
    : `no ${missing}: test/peers/get dns, apt-get install containernetworking-plugins`;
};

/** Returns the call of a plugin for a pod whose namespace is below `folder`. */
export const dhcpCall = (
  folder: string,
  verb: PluginCall['verb'],
  conf: { readonly type: string },
  id: string,
  more: Partial<PluginCall> = {},
): PluginCall => ({
  verb,
  type: conf.type,
  caller: {},
  key: { network: 'net', containerId: id, interface: 'eth0' },
  netns: `${folder}/netns/${id}`,
  args: {},
  path: [],
  config: JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...conf }),
  ...more,
});

export interface DhcpNetwork {
  /** Path of the server's namespace. */
  readonly server: string;
  /** Runs a shell command there. Returns undefined if it failed. */
  inServer(command: string): string | undefined;
  /** Starts dnsmasq there. */
  startServer(...options: readonly string[]): ChildProcess;
  /** Ends it, and waits for its end. */
  stopServer(): Promise<void>;
  /** Returns the lines of dnsmasq's file of leases. */
  leases(): readonly string[];
  /** Returns what dnsmasq logged. */
  serverLog(): string;
  end(): Promise<void>;
}

/** @param folder for files and for the pin of the server's namespace; `netns` is its folder of pins */
export function createDhcpNetwork(folder: string): DhcpNetwork {
  const server = join(folder, 'netns', 'dhcp-server');
  const leaseFile = join(folder, 'dnsmasq.leases');
  const logFile = join(folder, 'dnsmasq.log');
  shell(`touch ${server} && unshare --net=${server} ip link set lo up`);
  shell(`ip link add up0 type veth peer name srv0 netns ${server}; ip link set up0 up`);
  const inServer = (command: string): string | undefined => tried(`nsenter --net=${server} ${command}`);
  inServer('ip address add 10.77.0.1/24 dev srv0');
  inServer('ip link set srv0 up');
  let child: ChildProcess | undefined;
  // A failed test must leave no server behind either.
  process.on('exit', () => void child?.kill('SIGKILL'));
  const stopServer = async (): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null) return;
    const ended = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGKILL');
    await ended;
  };
  return {
    server,
    inServer,
    startServer(...options) {
      child = spawn(
        'nsenter',
        [
          ...[`--net=${server}`, dnsmasqProgram, '--keep-in-foreground', '--conf-file=/dev/null', '--port=0'],
          ...['--user=root', '--pid-file=', '--interface=srv0', '--bind-interfaces', '--no-ping'],
          ...[`--dhcp-leasefile=${leaseFile}`, `--log-facility=${logFile}`, '--log-dhcp'],
          '--dhcp-option=option:dns-server,10.77.0.53',
          ...(options.length > 0 ? options : ['--dhcp-range=10.77.0.50,10.77.0.150,255.255.255.0,120']),
        ],
        { stdio: 'ignore' },
      );
      return child;
    },
    stopServer,
    leases: () =>
      existsSync(leaseFile)
        ? readFileSync(leaseFile, 'utf8')
            .split('\n')
            .filter((line) => line.trim() !== '')
        : [],
    serverLog: () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
    async end() {
      await stopServer();
      tried('ip link delete up0');
    },
  };
}

/** Starts the daemon of the upstream program, and waits for its socket. */
export async function startUpstreamDaemon(socket: string): Promise<ChildProcess> {
  const daemon = spawn(upstreamProgram, ['daemon', '-socketpath', socket, '-broadcast'], { stdio: 'ignore' });
  process.on('exit', () => void daemon.kill('SIGKILL'));
  await eventually(() => existsSync(socket) || undefined);
  return daemon;
}
