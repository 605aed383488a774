import { parseJson } from '../../base/json/index.ts';
import { Option } from 'commander';
import type { Command } from 'commander';
import { startTrustService } from '../../trust/index.ts';
import type { TrustService, TrustServiceOptions } from '../../trust/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readPem } from '../../base/pem/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';
import type { OutputFormat } from '../output/output.ts';

/** Upper limit of connections: a process has at most that many descriptors (fs.nr_open). */
const mostConnections = 1_048_576;

interface ServeFlags {
  readonly listen: string;
  readonly data: string;
  readonly keyFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly authRealm?: string;
  readonly authService?: string;
  readonly authIssuer?: string;
  readonly authCertificates?: string;
  readonly authJwks?: string;
  readonly gunPrefix?: readonly string[];
  readonly maxUpload: string;
  readonly maxConnections: string;
  readonly maxConnectionsPerAddress: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis trust serve --listen 127.0.0.1:4443 --data /var/lib/portcullis/trust
  $ portcullis trust serve --listen :4443 --data DIR --tls-cert cert.pem --tls-key key.pem \\
      --auth-realm https://auth.example.com/token --auth-service trust --auth-issuer auth.example.com --auth-certificates auth.pem

Serves until SIGTERM or SIGINT. Without --auth-realm every client that reaches the address may publish: then listen on loopback.
Exit status: 0 stopped, 2 wrong use, 4 failed.`;

/** `portcullis trust serve`: serves the trust service until SIGTERM or SIGINT. */
export function registerServe(trust: Command): void {
  const command = trust
    .command('serve')
    .description(
      'serve collections of signed metadata: Notary v1 (notary, docker content trust) and TUF, over HTTP',
    )
    .requiredOption('--listen <host:port>', 'where to listen')
    .requiredOption('--data <folder>', 'database and key file; created if absent')
    .option(
      '--key-file <file>',
      'key that encrypts the snapshot and timestamp keys in the database; default: DATA/service.key',
    )
    .option('--tls-cert <file>', 'PEM certificate chain; without it plain HTTP')
    .option('--tls-key <file>', 'PEM private key of the certificate')
    .option('--auth-realm <url>', 'where clients get tokens; requires a token from every client')
    .option('--auth-service <name>', 'required audience of tokens (aud)')
    .option('--auth-issuer <name>', 'required issuer of tokens (iss)')
    .option(
      '--auth-certificates <file>',
      'PEM certificates of keys that sign tokens, or of their authorities',
    )
    .option('--auth-jwks <file>', 'public keys that sign tokens, as a JSON Web Key Set')
    .addOption(new Option('--max-upload <bytes>', 'largest upload').default('104857600'))
    .addOption(new Option('--max-connections <count>', 'concurrent connections').default('4096'))
    .addOption(
      new Option(
        '--max-connections-per-address <count>',
        'the same per client address; behind a proxy set it to --max-connections',
      ).default('256'),
    )
    .option('--gun-prefix <prefix...>', 'serve only collections whose names begin with one of these');
  withOutput(command)
    .addHelpText('after', examples)
    .action((flags: ServeFlags) => run(flags.output, () => serve(flags)));
}

async function serve(flags: ServeFlags): Promise<number> {
  const options = await optionsOf(flags);
  const stop = untilStopSignal();
  const service: TrustService = await startTrustService(options);
  print(flags.output, { url: service.url }, `serving ${service.url}\n`);
  await stop;
  await service.close();
  return exitCodes.yes;
}

async function optionsOf(flags: ServeFlags): Promise<TrustServiceOptions> {
  const { tlsCert, tlsKey, keyFile, gunPrefix } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw misuse('--tls-cert and --tls-key belong together', 'name both, or neither');
  const uploadBytes = Number(flags.maxUpload);
  if (!Number.isSafeInteger(uploadBytes) || uploadBytes < 1024)
    throw misuse('--max-upload is not a number of bytes', 'give a number such as 104857600');
  const tokens = await tokensOf(flags);
  const connections = countOf('--max-connections', flags.maxConnections);
  const connectionsOfAddress = countOf('--max-connections-per-address', flags.maxConnectionsPerAddress);
  return {
    listen: flags.listen,
    data: flags.data,
    ...{ uploadBytes, connections, connectionsOfAddress },
    onFailure: (error) => process.stderr.write(`portcullis: ${error.message}\n`),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(gunPrefix === undefined ? {} : { prefixes: gunPrefix }),
    ...(tlsCert === undefined || tlsKey === undefined
      ? {}
      : {
          tls: {
            certificate: (await readInputFile(tlsCert)).toString('utf8'),
            key: (await readInputFile(tlsKey)).toString('utf8'),
          },
        }),
    ...(tokens === undefined ? {} : { tokens }),
  };
}

function countOf(flag: string, text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > mostConnections)
    throw misuse(`${flag} is not a number from 1 to ${mostConnections}`, 'give a number such as 4096');
  return count;
}

async function tokensOf(flags: ServeFlags): Promise<TrustServiceOptions['tokens']> {
  const { authRealm: realm, authService: service, authIssuer: issuer, authCertificates, authJwks } = flags;
  if ([realm, service, issuer, authCertificates, authJwks].every((value) => value === undefined))
    return undefined;
  if (
    realm === undefined ||
    service === undefined ||
    issuer === undefined ||
    (authCertificates ?? authJwks) === undefined
  )
    throw misuse(
      'tokens need a realm, a service, an issuer and keys',
      'name --auth-realm, --auth-service, --auth-issuer, and --auth-certificates or --auth-jwks',
    );
  const certificates =
    authCertificates === undefined ? undefined : (await readInputFile(authCertificates)).toString('utf8');
  if (certificates !== undefined && !readPem(certificates).blocks.some(({ type }) => type === 'CERTIFICATE'))
    throw misuse(`${authCertificates} holds no certificate`, 'name PEM certificates');
  const jwks = authJwks === undefined ? undefined : readKeySet(authJwks, await readInputFile(authJwks));
  return {
    realm,
    service,
    issuer,
    ...(certificates === undefined ? {} : { certificates }),
    ...(jwks === undefined ? {} : { jwks }),
  };
}

function readKeySet(
  file: string,
  bytes: Buffer,
): NonNullable<NonNullable<TrustServiceOptions['tokens']>['jwks']> {
  try {
    const value = parseJson(bytes.toString('utf8')) as { keys?: unknown };
    if (Array.isArray(value.keys))
      return value as NonNullable<NonNullable<TrustServiceOptions['tokens']>['jwks']>;
  } catch (thrown) {
    throw misuse(`${file} is not JSON: ${reasonOf(thrown)}`, 'name a JSON Web Key Set');
  }
  throw misuse(`${file} holds no keys`, 'name a JSON Web Key Set: { "keys": [ … ] }');
}

function misuse(why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_MISUSE',
    kind: 'invalid',
    attempted: 'serve trust',
    on: '',
    why,
    fix,
  });
}
