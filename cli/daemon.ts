import type { Command } from 'commander';
import { isOwnDescriptor } from '../base/files/index.ts';
import { formatDaemonConfig, loadDaemonConfig, startDaemon } from '../runtime/launch.ts';
import type { DaemonConfig } from '../runtime/launch.ts';
import { daemonFlagsOf, withDaemonFlags } from './options/daemon-flags.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import { untilStopSignal } from './output/stop-signal.ts';
import type { OutputFormat } from './output/output.ts';
import { requireRoot } from './environment/require-root.ts';

type Options = Readonly<Record<string, string | readonly string[] | boolean | undefined>> & {
  readonly output: OutputFormat;
};

/** `portcullis daemon`, also installed as `portcullisd`: serves the CRI until SIGTERM or SIGINT. */
export function register(program: Command): void {
  const command = withOutput(program.command('daemon'))
    .description('serve the CRI endpoint (portcullisd)')
    .option('--config <file>', 'configuration file (default: /etc/portcullis/config.yaml)')
    .option('--print-config', 'print the effective configuration and exit');
  withDaemonFlags(command)
    .addHelpText(
      'after',
      '\nFlags override the file. The daemon must run as root.\nExit status: 0 the daemon was asked to stop; 2 wrong use or a wrong configuration; 4 the daemon cannot start, for example as another user, or it failed.\n\nExamples:\n  $ portcullis daemon --policy /etc/portcullis/policy\n  $ portcullis daemon --config my.yaml --print-config\n',
    )
    .action(async (options: Options) => {
      await run(options.output, () => serve(options));
      // A component that started before the failing one would keep this process alive although it serves
      // nothing. Exit instead: the service manager starts another process.
      if (process.exitCode !== exitCodes.yes) process.exit();
    });
}

async function serve(options: Options): Promise<number> {
  if (options.printConfig !== true) requireRoot('start the daemon', 'create containers, mounts and networks');
  const file = options.config as string | undefined;
  const flags = daemonFlagsOf(options);
  const given = file === undefined ? { flags } : { file, flags };
  const config = await loadDaemonConfig({ ...given, withoutThreads: true });
  if (options.printConfig === true) print(options.output, config, formatDaemonConfig(config));
  else {
    const canReload = file === undefined || !isOwnDescriptor(file);
    await untilStopped(config, canReload ? () => loadDaemonConfig(given) : undefined);
  }
  return 0;
}

/** Time from the last step of a stop until the process is ended. */
const patienceAfterStopMs = 2_000;

async function untilStopped(config: DaemonConfig, reloadConfig?: () => Promise<DaemonConfig>): Promise<void> {
  const stop = untilStopSignal();
  const daemon = await startDaemon(config, reloadConfig === undefined ? {} : { reloadConfig });
  await stop;
  await daemon.stop();
  // Everything is written and released. Report handles that still keep the process alive; they must not delay
  // the service manager.
  setTimeout(() => {
    process.stderr.write(
      `portcullis: ended although these were still open: ${process.getActiveResourcesInfo().join(', ')}\n`,
    );
    process.exit();
  }, patienceAfterStopMs).unref();
}
