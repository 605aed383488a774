import { Option } from 'commander';
import type { Command } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import {
  askDaemon,
  confUses,
  defaultCniSocket,
  installPlugins,
  installedPlugins,
} from '../cni-plugins/index.ts';
import type { ConfUse, InstalledPlugin } from '../cni-plugins/index.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { table } from './output/table.ts';
import { withWide } from './output/terminal.ts';

/**
 * `portcullis cni install|status`: manages our CNI plugins for containerd, CRI-O, podman and other callers of
 * CNI.
 */
export function register(program: Command): void {
  const cni = program
    .command('cni')
    .description('install the CNI plugins of Portcullis for other runtimes, and report their state');
  withOutput(cni.command('install'))
    .description(
      'put the plugins portcullis-bridge, portcullis-portmap and the others into a folder, each atomically by a rename',
    )
    .requiredOption('--bin-dir <dir>', 'where the runtime looks for plugins, such as /opt/cni/bin')
    .option(
      '--root <dir>',
      "the daemon's root folder: plugins that run without the daemon use its database",
      '/var/lib/portcullis',
    )
    .option(
      '--socket <path>',
      'socket on which the daemon answers plugins (its setting cni.socket)',
      defaultCniSocket,
    )
    .option(
      '--loopback',
      'also install the plugin loopback, which containerd and CRI-O call for every pod; never replaces a third-party plugin',
    )
    .addOption(new Option('--data <dir>', 'the name of --root in earlier versions').hideHelp())
    .addHelpText(
      'after',
      '\nA second run with the same options changes nothing. Plugins that are running are not disturbed.\n\nExamples:\n  $ portcullis cni install --bin-dir /opt/cni/bin\n  $ portcullis cni install --bin-dir /opt/portcullis/cni --loopback\n  $ portcullis cni install --bin-dir /usr/libexec/cni --socket /run/portcullis/cni.sock --root /var/lib/portcullis\n',
    )
    .action((options: InstallFlags) => run(options.output, () => install(options)));
  withOutput(withWide(cni.command('status')))
    .description(
      'show which plugins are installed, whether the daemon answers, and which configurations use the plugins',
    )
    .option('--bin-dir <dir...>', 'folders of plugins', ['/opt/cni/bin'])
    .option('--conf-dir <dir>', 'folder of network configurations', '/etc/cni/net.d')
    .addHelpText(
      'after',
      '\nExits with 1 when a plugin is missing, broken, from a third party, or of another version. The plugins also work without a daemon.\n\nExamples:\n  $ portcullis cni status\n  $ portcullis cni status --bin-dir /usr/libexec/cni --output json\n',
    )
    .action((options: StatusFlags) => run(options.output, () => status(options)));
}

interface InstallFlags {
  readonly binDir: string;
  readonly root: string;
  readonly data?: string;
  readonly socket: string;
  readonly loopback?: boolean;
  readonly output: OutputFormat;
}

interface StatusFlags {
  readonly binDir: readonly string[];
  readonly confDir: string;
  readonly output: OutputFormat;
}

function install({ binDir, root, data, socket, loopback, output }: InstallFlags): Promise<number> {
  const done = installPlugins({
    binDir,
    data: data ?? root,
    socket,
    loopback: loopback === true,
    version: manifest.version,
  });
  const { written, unchanged } = done;
  print(
    output,
    done,
    `${written.length + unchanged.length} plugins in ${done.binDir}: ${written.length} written, ${unchanged.length} unchanged\n` +
      `They use the daemon at ${done.socket}. Without the daemon they use ${done.data}/network.db.\n`,
  );
  return Promise.resolve(exitCodes.yes);
}

type Found = InstalledPlugin & { readonly folder: string; readonly current: boolean };

async function status({ binDir, confDir, output }: StatusFlags): Promise<number> {
  const plugins: Found[] = binDir.flatMap((folder) =>
    installedPlugins(folder).map((plugin) => ({
      folder,
      ...plugin,
      current: plugin.version === manifest.version,
    })),
  );
  const sockets = [...new Set(plugins.flatMap(({ socket }) => socket ?? []))];
  const daemons = await Promise.all(
    sockets.map(async (socket) => {
      const why = await askDaemon(socket);
      return { socket, answers: why === undefined, ...(why === undefined ? {} : { why }) };
    }),
  );
  const configurations = confUses(confDir);
  const whole = plugins.every(({ state, current }) => state === 'installed' && current);
  print(
    output,
    { plugins, daemons, configurations, version: manifest.version },
    asText(plugins, daemons, configurations),
  );
  return whole ? exitCodes.yes : exitCodes.no;
}

function asText(
  plugins: readonly Found[],
  daemons: readonly { readonly socket: string; readonly answers: boolean; readonly why?: string }[],
  configurations: readonly ConfUse[],
): string {
  const rows = plugins.map(({ folder, name, state, version, current }) => [
    `${folder}/${name}`,
    state,
    version === undefined || current ? (version ?? '') : `${version} (this is ${manifest.version})`,
  ]);
  const lines = [
    ...daemons.map(
      ({ socket, answers, why }) =>
        `daemon at ${socket}: ${answers ? 'answers' : `${why ?? ''}; the plugins work without it`}`,
    ),
    ...configurations.map(
      ({ file, network, types }) => `${file}: network ${network} uses ${types.join(', ')}`,
    ),
  ];
  return `${table(['PLUGIN', 'STATE', 'VERSION'], rows)}${lines.map((line) => `${line}\n`).join('')}`;
}
