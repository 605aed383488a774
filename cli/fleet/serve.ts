import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { readAccessFile, startFleetService } from '../../fleet/index.ts';
import type { FleetSecrets, FleetServiceOptions } from '../../fleet/index.ts';
import { packageRoot } from '../environment/package-root.ts';
import { readInputFile } from '../files/input-file.ts';
import { collect } from '../options/registry-options.ts';
import {
  countOf,
  misuse,
  readCertificate,
  serveUntilStopped,
  withCertificate,
} from '../options/server-options.ts';
import type { CertificateFlags } from '../options/server-options.ts';
import { followSecrets, report } from './follow-secrets.ts';
import { run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface ServeFlags extends CertificateFlags {
  readonly listen: string;
  readonly data: string;
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

Serves until SIGTERM or SIGINT, and reads the files of certificates and tokens again every ten seconds. A
browser shows the console at the same address. On loopback without --tokens, every local process may write
and read. An address that other machines reach needs TLS, and --tokens or --client-ca. Client certificates:
O=portcullis:nodes or O=portcullis:readers, CN=NAME.
Exit status: 0 stopped; 2 wrong use; 4 failed.`;

/** `portcullis fleet serve`: serves the aggregator until SIGTERM or SIGINT. */
export function registerServe(fleet: Command): void {
  const command = fleet
    .command('serve')
    .description('receive what nodes send (OTLP over HTTP), and serve the API, metrics and alerts')
    .requiredOption('--listen <host:port>', 'where to listen')
    .requiredOption('--data <folder>', 'folder of the database; created if absent');
  withCertificate(command)
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

const attempted = 'serve the aggregator';

/** How often the files are read again, in ms. A token or certificate that was removed counts until then. */
const followMs = 10_000;

async function serve(flags: ServeFlags): Promise<number> {
  const options = await optionsOf(flags);
  return serveUntilStopped(flags.output, async (onLost) => {
    const service = await startFleetService({ ...options, onLost });
    for (const name of service.unknown)
      report({ message: `--forget ${name}: the aggregator has no data of a node with this name` });
    const follower = followSecrets(() => secretsOf(flags), options, service, followMs);
    return {
      url: service.url,
      async close() {
        follower.close();
        await service.close();
      },
    };
  });
}

async function optionsOf(flags: ServeFlags): Promise<FleetServiceOptions> {
  const count = (flag: string, value: string): number =>
    countOf(attempted, flag, value, { most: 10_000_000, example: 400 });
  return {
    listen: flags.listen,
    data: flags.data,
    keepDays: count('--keep-days', flags.keepDays),
    keepBytes: count('--keep-mib', flags.keepMib) * 1024 * 1024,
    forget: flags.forget,
    ...consoleOf(flags),
    onFailure: report,
    ...(await secretsOf(flags)),
  };
}

async function secretsOf(flags: ServeFlags): Promise<FleetSecrets> {
  const { clientCa, tokens } = flags;
  const certificate = await readCertificate(flags, attempted);
  if (clientCa !== undefined && certificate === undefined)
    throw misuse(attempted, '--client-ca needs TLS', 'name --tls-cert and --tls-key');
  const text = async (file: string): Promise<string> => (await readInputFile(file)).toString('utf8');
  return {
    ...(tokens !== undefined && { access: readAccessFile(tokens, await text(tokens)) }),
    ...(certificate !== undefined && {
      tls: {
        ...certificate,
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
