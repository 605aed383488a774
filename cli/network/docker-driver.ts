import { Option } from 'commander';
import type { Command } from 'commander';
import { resolve } from 'node:path';
import { startDockerDriver } from '../../runtime/index.ts';
import type { DockerDriverSettings } from '../../runtime/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';
import type { OutputFormat } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { requireRoot } from '../environment/require-root.ts';

interface Flags {
  readonly socket: string;
  readonly root: string;
  readonly state: string;
  readonly confDir: string;
  readonly binDir?: readonly string[];
  readonly plugins: 'auto' | 'exec';
  readonly dockerSocket: string;
  readonly pluginTimeout: string;
  readonly logLevel: DockerDriverSettings['logLevel'];
  readonly output: OutputFormat;
}

const examples = `
Docker finds the driver by the name of its socket. Serves until SIGTERM or SIGINT. Containers keep their
networks, and a restarted driver takes them over. The daemon serves the same driver with its setting
network.dockerDriver.

Examples:
  $ portcullis network docker-driver
  $ docker network create -d portcullis --subnet 10.123.0.0/24 web
  $ docker network create -d portcullis --ipam-driver null -o conflist=/etc/cni/net.d/10-mynet.conflist pods

Exit status: 0 stopped; 2 wrong use; 4 failed.`;

/**
 * `portcullis network docker-driver`: serves docker networks from any CNI plugin, without the daemon, until
 * SIGTERM or SIGINT.
 */
export function registerDockerDriver(network: Command): void {
  withOutput(
    network
      .command('docker-driver')
      .description('serve docker: a remote libnetwork driver for networks and addresses'),
  )
    .option('--socket <path>', 'where docker finds it', '/run/docker/plugins/portcullis.sock')
    .option('--root <dir>', "folder of network.db; may be the daemon's", '/var/lib/portcullis')
    .option('--state <dir>', 'folder for state that is lost at a reboot', '/run/portcullis')
    .option('--conf-dir <dir>', 'conflists that networks name', '/etc/cni/net.d')
    .option(
      '--bin-dir <dir>',
      'third-party plugins; may be repeated; default: /opt/cni/bin and /usr/lib/cni',
      collect,
    )
    .addOption(
      new Option('--plugins <how>', 'how plugins run unless the network specifies it')
        .choices(['auto', 'exec'])
        .default('auto'),
    )
    .option('--docker-socket <path>', "socket of docker's API, for names of containers", '/run/docker.sock')
    .option('--plugin-timeout <seconds>', 'time limit of one call of a third-party plugin', '60')
    .addOption(
      new Option('--log-level <level>', 'what is logged')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addHelpText('after', examples)
    .action((flags: Flags, command: Command) => {
      const seconds = Number(flags.pluginTimeout);
      if (!Number.isInteger(seconds) || seconds < 1 || seconds > 3600)
        command.error('error: --plugin-timeout is a number of seconds, 1 to 3600', {
          exitCode: exitCodes.usage,
        });
      return run(flags.output, () => serve(flags, seconds));
    });
}

async function serve(flags: Flags, pluginTimeout: number): Promise<number> {
  requireRoot('serve docker networks', 'create links, addresses and rules');
  const stop = untilStopSignal();
  const service = await startDockerDriver({
    socket: resolve(flags.socket),
    root: resolve(flags.root),
    state: resolve(flags.state),
    confDir: resolve(flags.confDir),
    binDirs: (flags.binDir ?? ['/opt/cni/bin', '/usr/lib/cni']).map((folder) => resolve(folder)),
    plugins: flags.plugins,
    dockerSocket: resolve(flags.dockerSocket),
    pluginTimeout,
    logLevel: flags.logLevel,
  });
  print(flags.output, { socket: resolve(flags.socket) }, `serving ${resolve(flags.socket)}\n`);
  await stop;
  await service.close();
  return exitCodes.yes;
}
