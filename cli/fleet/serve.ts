import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { readAccessFile, startFleetService } from '../../fleet/index.ts';
import type { FleetServiceOptions } from '../../fleet/index.ts';
import { packageRoot } from '../environment/package-root.ts';
import { readInputFile } from '../files/input-file.ts';
import { collect } from '../options/registry-options.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';
import type { OutputFormat } from '../output/output.ts';

interface ServeFlags {
  readonly listen: string;
  readonly data: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCa?: string;
  readonly tokens?: string;
  readonly keepDays: string;
  readonly keepMib: string;
  readonly forget: readonly string[];
  readonly console: boolean;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis fleet serve --listen 127.0.0.1:4319 --data /var/lib/portcullis/fleet
  $ portcullis fleet serve --listen :4319 --data DIR --tls-cert cert.pem --tls-key key.pem --tokens tokens.yaml

Serves until SIGTERM or SIGINT. A browser shows the console at the same address. On loopback without --tokens, every local process may write and read. An address that
other machines reach needs TLS, and --tokens or --client-ca. Client certificates: O=portcullis:nodes or
O=portcullis:readers, CN=NAME.
Exit status: 0 stopped, 2 wrong use, 4 failed.`;

/** `portcullis fleet serve`: serves the aggregator until SIGTERM or SIGINT. */
export function registerServe(fleet: Command): void {
  const command = fleet
    .command('serve')
    .description('receive what nodes send (OTLP over HTTP), and serve the API, metrics and alerts')
    .requiredOption('--listen <host:port>', 'where to listen')
    .requiredOption('--data <folder>', 'folder of the database; created if absent')
    .option('--tls-cert <file>', 'PEM certificate chain; without it plain HTTP')
    .option('--tls-key <file>', 'PEM private key of the certificate')
    .option('--client-ca <file>', 'PEM certificates of authorities whose client certificates are accepted')
    .option('--tokens <file>', 'digests of the tokens of nodes and readers, as YAML or JSON')
    .addOption(new Option('--keep-days <days>', 'days after which rows are removed').default('400'))
    .addOption(
      new Option(
        '--keep-mib <mebibytes>',
        'size of all rows above which the oldest rows of the largest nodes are removed',
      ).default('10240'),
    )
    .option('--no-console', 'serve no console for browsers')
    .option(
      '--forget <node>',
      'remove what this node has sent, before serving; may be repeated',
      collect,
      [],
    );
  withOutput(command)
    .addHelpText('after', examples)
    .action((flags: ServeFlags) => run(flags.output, () => serve(flags)));
}

async function serve(flags: ServeFlags): Promise<number> {
  const options = await optionsOf(flags);
  const stop = untilStopSignal();
  const service = await startFleetService(options);
  print(flags.output, { url: service.url }, `serving ${service.url}\n`);
  await stop;
  await service.close();
  return exitCodes.yes;
}

async function optionsOf(flags: ServeFlags): Promise<FleetServiceOptions> {
  const { tlsCert, tlsKey, clientCa, tokens } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw misuse('--tls-cert and --tls-key belong together', 'name both, or neither');
  if (clientCa !== undefined && tlsCert === undefined)
    throw misuse('--client-ca needs TLS', 'name --tls-cert and --tls-key');
  const text = async (file: string): Promise<string> => (await readInputFile(file)).toString('utf8');
  return {
    listen: flags.listen,
    data: flags.data,
    keepDays: countOf('--keep-days', flags.keepDays),
    keepBytes: countOf('--keep-mib', flags.keepMib) * 1024 * 1024,
    forget: flags.forget,
    ...consoleOf(flags),
    onFailure: (error) => process.stderr.write(`portcullis: ${error.message}\n`),
    ...(tokens !== undefined && { access: readAccessFile(tokens, await text(tokens)) }),
    ...(tlsCert !== undefined &&
      tlsKey !== undefined && {
        tls: {
          certificate: await text(tlsCert),
          key: await text(tlsKey),
          ...(clientCa !== undefined && { clientAuthorities: await text(clientCa) }),
        },
      }),
  };
}

/** The build makes the console. A checkout that was not built has none. */
function consoleOf({ console: isWanted }: ServeFlags): Pick<FleetServiceOptions, 'console'> {
  const folder = join(packageRoot(), 'dist/console');
  if (!isWanted) return {};
  if (existsSync(folder)) return { console: folder };
  process.stderr.write('portcullis: there is no console, because it was not built: npm run build\n');
  return {};
}

const mostCount = 10_000_000;

function countOf(flag: string, text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > mostCount)
    throw misuse(`${flag} is not a number from 1 to ${mostCount}`, 'give a number such as 400');
  return count;
}

function misuse(why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_MISUSE',
    kind: 'invalid',
    attempted: 'serve the aggregator',
    on: '',
    why,
    fix,
  });
}
