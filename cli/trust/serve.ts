import { parseJson } from '../../base/json/index.ts';
import { Option } from 'commander';
import type { Command } from 'commander';
import type { TrustServiceOptions } from '../../trust/notary/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { isLoopback } from '../../base/http/index.ts';
import { readPem } from '../../base/pem/index.ts';
import { readInputFile } from '../files/input-file.ts';
import {
  countOf,
  misuse as misuseOf,
  readCertificate,
  serveUntilStopped,
  withCertificate,
} from '../options/server-options.ts';
import type { CertificateFlags } from '../options/server-options.ts';
import { printNote, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

/** Upper limit of connections: a process has at most that many descriptors (fs.nr_open). */
const mostConnections = 1_048_576;

interface ServeFlags extends CertificateFlags {
  readonly listen: string;
  readonly data: string;
  readonly keyFile?: string;
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
  $ portcullis trust serve --listen :4443 --data DIR --tls-cert cert.pem --tls-key key.pem --auth-realm https://auth.example.com/token --auth-service trust --auth-issuer auth.example.com --auth-certificates auth.pem

Serves until SIGTERM or SIGINT. Without --auth-realm every client that reaches the address may publish: then listen on loopback.
Exit status: 0 stopped; 2 wrong use; 4 failed.`;

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
    );
  withCertificate(command)
    .option('--auth-realm <url>', 'where clients get tokens; requires a token from every client')
    .option('--auth-service <name>', 'required audience of tokens (aud)')
    .option('--auth-issuer <name>', 'required issuer of tokens (iss)')
    .option(
      '--auth-certificates <file>',
      'PEM certificates of keys that sign tokens, or of their authorities',
    )
    .option('--auth-jwks <file>', 'public keys that sign tokens, as a JSON Web Key Set')
    .addOption(
      new Option('--max-upload <bytes>', 'largest upload, and largest collection').default('104857600'),
    )
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

const attempted = 'serve trust';

async function serve(flags: ServeFlags): Promise<number> {
  const options = await optionsOf(flags);
  if (options.tokens === undefined && !isLoopback(flags.listen.replace(/:\d*$/u, '')))
    process.stderr.write(
      'portcullis: every client that reaches this address may publish and delete; require tokens with --auth-realm, listen on loopback, or let a proxy control access\n',
    );
  const { startTrustService } = await import('../../trust/notary/index.ts');
  return serveUntilStopped(flags.output, (onLost) => startTrustService({ ...options, onLost }));
}

async function optionsOf(flags: ServeFlags): Promise<TrustServiceOptions> {
  const { keyFile, gunPrefix } = flags;
  const tls = await readCertificate(flags, attempted);
  const uploadBytes = Number(flags.maxUpload);
  if (!Number.isSafeInteger(uploadBytes) || uploadBytes < 1024)
    throw misuse('--max-upload is not a number of bytes', 'give a number such as 104857600');
  const tokens = await tokensOf(flags);
  const count = (flag: string, value: string): number =>
    countOf(attempted, flag, value, { most: mostConnections, example: 4096 });
  return {
    listen: flags.listen,
    data: flags.data,
    uploadBytes,
    connections: count('--max-connections', flags.maxConnections),
    connectionsOfAddress: count('--max-connections-per-address', flags.maxConnectionsPerAddress),
    onFailure: (error) => printNote(`portcullis: ${error.message}\n`),
    ...(keyFile !== undefined && { keyFile }),
    ...(gunPrefix !== undefined && { prefixes: gunPrefix }),
    ...(tls !== undefined && { tls }),
    ...(tokens !== undefined && { tokens }),
  };
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

function misuse(why: string, fix: string): Error {
  return misuseOf(attempted, why, fix);
}
