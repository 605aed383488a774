import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { exitCodes } from '../output/exit-codes.ts';
import { print } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';

export interface CertificateFlags {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Adds `--tls-cert` and `--tls-key`. */
export function withCertificate(command: Command): Command {
  return command
    .option('--tls-cert <file>', 'PEM certificate chain; without it plain HTTP')
    .option('--tls-key <file>', 'PEM private key of the certificate');
}

/**
 * Reads the certificate chain and the private key of a server. Returns undefined without `--tls-cert`.
 * @throws PortcullisError CLI_MISUSE if only one of the options is given; CLI_TLS_UNREADABLE, which names
 * the file that is not valid; the errors of `readInputFile`
 */
export async function readCertificate(
  { tlsCert, tlsKey }: CertificateFlags,
  attempted: string,
): Promise<{ readonly certificate: string; readonly key: string } | undefined> {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw misuse(attempted, '--tls-cert and --tls-key belong together', 'name both, or neither');
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  const text = async (file: string): Promise<string> => (await readInputFile(file)).toString('utf8');
  const pair = { certificate: await text(tlsCert), key: await text(tlsKey) };
  checkPair(pair, tlsCert, tlsKey);
  return pair;
}

/** OpenSSL reports only that one of the two cannot be read. */
function checkPair(
  { certificate, key }: { readonly certificate: string; readonly key: string },
  certificateFile: string,
  keyFile: string,
): void {
  const chain = 'name a PEM certificate chain, the certificate of the server first';
  const unreadable = (attempted: string, on: string, why: string, fix: string): PortcullisError =>
    new PortcullisError({ code: 'CLI_TLS_UNREADABLE', kind: 'invalid', attempted, on, why, fix });
  let leaf: X509Certificate;
  let privateKey: KeyObject;
  try {
    leaf = new X509Certificate(certificate);
  } catch {
    throw unreadable(
      'read TLS certificate',
      certificateFile,
      'it has no certificate that can be read',
      chain,
    );
  }
  try {
    privateKey = createPrivateKey(key);
  } catch {
    throw unreadable(
      'read TLS key',
      keyFile,
      'it has no private key that can be read',
      'name a PEM private key that is not encrypted',
    );
  }
  if (!leaf.checkPrivateKey(privateKey))
    throw unreadable(
      'read TLS key',
      keyFile,
      `it is not the key of the certificate in ${certificateFile}`,
      chain,
    );
}

/**
 * Returns the value of an option that is a positive integer.
 * @throws PortcullisError CLI_MISUSE for other values
 */
export function countOf(
  attempted: string,
  flag: string,
  text: string,
  { most, example }: { readonly most: number; readonly example: number },
): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= most) return count;
  throw misuse(attempted, `${flag} is not an integer from 1 to ${most}`, `give a number such as ${example}`);
}

/**
 * Starts a service, prints its URL, and closes it at SIGTERM or SIGINT. Returns the exit code.
 * @param start calls `onLost` if the service cannot go on. The service is then closed
 * @throws the error that `onLost` was called with
 */
export async function serveUntilStopped(
  output: OutputFormat,
  start: (
    onLost: (error: PortcullisError) => void,
  ) => Promise<{ readonly url: string; close(): Promise<void> }>,
): Promise<number> {
  // A signal during the start ends the service as soon as it has started.
  const stop = untilStopSignal();
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => undefined);
  const service = await start(lost.reject);
  print(output, { url: service.url }, `serving ${service.url}\n`);
  try {
    await Promise.race([stop, lost.promise]);
  } finally {
    await service.close();
  }
  return exitCodes.yes;
}

/** Returns the error for a wrong use of a command's options. */
export function misuse(attempted: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'CLI_MISUSE', kind: 'invalid', attempted, on: '', why, fix });
}
