import { Option } from 'commander';
import type { Command } from 'commander';
import { configFlags, formatDaemonConfig, loadDaemonConfig, startDaemon } from '../runtime/launch.ts';
import type { DaemonConfig } from '../runtime/launch.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';

type Options = Readonly<Record<string, string | readonly string[] | boolean | undefined>> & { readonly output: OutputFormat };

/** `portcullis daemon`, which is `portcullisd`: serves the CRI until SIGTERM or SIGINT. */
export function register(program: Command): void {
  const command = withOutput(program.command('daemon'))
    .description('serve the CRI endpoint (portcullisd)')
    .option('--config <FILE>', 'configuration file (default: /etc/portcullis/config.yaml)')
    .option('--print-config', 'print the effective configuration and exit');
  for (const flag of configFlags) {
    const option = new Option(`${flag.name} <${flag.value}>`, flag.repeatable ? `${flag.help} (repeatable)` : flag.help);
    command.addOption(option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]));
  }
  command
    .addHelpText(
      'after',
      '\nFlags win over the file. Examples:\n  portcullis daemon --policy /etc/portcullis/policy\n  portcullis daemon --config my.yaml --print-config\n',
    )
    .action(async (options: Options) => {
      await run(options.output, () => serve(options));
      // A part that was started before the one that failed would keep the process, which serves nothing: the service manager starts another.
      if (process.exitCode !== exitCodes.yes) process.exit();
    });
}

async function serve(options: Options): Promise<number> {
  const file = options.config as string | undefined;
  const flags: Record<string, readonly string[]> = {};
  for (const flag of configFlags) {
    const given = options[optionKey(flag.name)];
    if (Array.isArray(given)) flags[flag.name] = given as readonly string[];
  }
  const config = await loadDaemonConfig(file === undefined ? { flags } : { file, flags });
  if (options.printConfig === true) print(options.output, config, formatDaemonConfig(config));
  else await untilStopped(config);
  return 0;
}

/** `--cni-conf-dir` → `cniConfDir`, as commander does. */
function optionKey(name: string): string {
  return name.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** From the last act of a stop to the end of the process. */
const patienceAfterStopMs = 2_000;

async function untilStopped(config: DaemonConfig): Promise<void> {
  const stop = new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  const daemon = await startDaemon(config);
  await stop;
  // A second signal while stopping ends the process at once.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(4));
  await daemon.stop();
  // All is written and released. Whatever still holds the process is said, and must not hold the service manager.
  setTimeout(() => {
    process.stderr.write(`portcullis: ended although these were still open: ${process.getActiveResourcesInfo().join(', ')}\n`);
    process.exit();
  }, patienceAfterStopMs).unref();
}
