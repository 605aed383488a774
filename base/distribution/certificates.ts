import { createHash, createPrivateKey } from 'node:crypto';
import { statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsIdentity } from '../http/index.ts';
import { fileReason, folderReason, reasonOf, orThrow } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';
import { readPlainFile } from '../files/index.ts';
import { tlsCertificates, writePem } from '../pem/index.ts';
import { distributionError } from './failure.ts';
import type { RegistryClientOptions } from './types.ts';

type CertificateOptions = Pick<RegistryClientOptions, 'certificateFolders' | 'tls'>;

/**
 * Authorities and client certificates by host, from the files that are named for it, otherwise from folders
 * in the layout of docker and containers: `FOLDER/HOST[:PORT]/` with `*.crt` (authorities, in addition to the
 * system's) and pairs of `NAME.cert` and `NAME.key` (containers-certs.d(5)).
 */
export interface Certificates {
  /**
   * Returns whether the host has files or a folder of its own. TLS is then used even if plain HTTP would be
   * allowed.
   */
  names(host: string): boolean;
  /**
   * undefined: the host has no certificates of its own. @throws PortcullisError DISTRIBUTION_BAD_CERTIFICATES
   */
  of(host: string): Promise<TlsIdentity | undefined>;
}

/** More than the authorities of any system have. */
const mostBytes = 4 * 1024 * 1024;
/** Files are checked again after this number of milliseconds, so that renewed certificates are found. */
const rereadAfter = 30_000;

export function createCertificates({
  certificateFolders: folders = [],
  tls = new Map(),
}: CertificateOptions): Certificates {
  const known = new Map<
    string,
    { readonly until: number; readonly found: Promise<TlsIdentity | undefined> }
  >();
  const folderOf = (host: string): string | undefined =>
    /^\.*$/.test(host)
      ? undefined
      : folders
          .map((folder) => join(folder, host))
          .find((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true);
  const find = async (host: string): Promise<TlsIdentity | undefined> => {
    const own = tls.get(host);
    if (own !== undefined)
      return readFiles({ authorities: own.ca ?? [], clients: own.client === undefined ? [] : [own.client] });
    const folder = folderOf(host);
    return folder === undefined ? undefined : readFiles(await filesIn(folder));
  };
  return {
    names: (host) => tls.has(host) || folderOf(host) !== undefined,
    of(host) {
      const kept = known.get(host);
      if (kept !== undefined && performance.now() < kept.until) return kept.found;
      const found = find(host);
      known.set(host, { until: performance.now() + rereadAfter, found });
      // After a failure the files are checked again at once, so that a corrected file takes effect.
      found.catch(() => known.delete(host));
      return found;
    },
  };
}

/** Where the certificates of a host are. */
interface HostFiles {
  readonly authorities: readonly string[];
  readonly clients: readonly { readonly cert: string; readonly key: string }[];
}

function refuse(path: string, why: string): PortcullisError {
  return distributionError(
    'DISTRIBUTION_BAD_CERTIFICATES',
    { attempted: 'read certificates', on: path },
    why,
  );
}

async function filesIn(folder: string): Promise<HostFiles> {
  const names: readonly string[] = await orThrow(
    async () => (await readdir(folder)).sort(),
    (error) => refuse(folder, folderReason(error, folder)),
  );
  const at = (name: string): string => join(folder, name);
  const clients = names
    .filter((name) => name.endsWith('.cert'))
    .map((cert) => ({ cert, key: cert.replace(/cert$/, 'key') }));
  for (const { key } of clients)
    if (!names.includes(key)) throw refuse(at(key), 'the key of a client certificate is missing');
  return {
    authorities: names.filter((name) => name.endsWith('.crt')).map(at),
    clients: clients.map(({ cert, key }) => ({ cert: at(cert), key: at(key) })),
  };
}

async function readFiles({ authorities, clients }: HostFiles): Promise<TlsIdentity | undefined> {
  const ca = await Promise.all(authorities.map(certificate));
  const cert = await Promise.all(clients.map((client) => certificate(client.cert)));
  const keys = await Promise.all(clients.map((client) => privateKey(client.key)));
  if (ca.length === 0 && cert.length === 0) return undefined;
  return {
    id: createHash('sha256')
      .update(JSON.stringify([ca, cert, keys]))
      .digest('base64'),
    ...(ca.length === 0 ? {} : { ca }),
    ...(cert.length === 0 ? {} : { cert, key: keys }),
  };
}

async function read(path: string): Promise<string> {
  try {
    return (await readPlainFile(path, mostBytes)).toString('utf8');
  } catch (error) {
    throw refuse(path, fileReason(error, path));
  }
}

/** Returns the certificates of a file. A private key in the same file is left out. */
async function certificate(path: string): Promise<string> {
  const text = await read(path);
  try {
    return tlsCertificates(text).join('');
  } catch (error) {
    throw refuse(path, reasonOf(error));
  }
}

/** Returns the private key of a file, without what else the file holds. */
async function privateKey(path: string): Promise<string> {
  const text = await read(path);
  try {
    return writePem('PRIVATE KEY', createPrivateKey(text).export({ type: 'pkcs8', format: 'der' }));
  } catch {
    // OpenSSL's message may quote the file.
    throw refuse(path, 'it is not a readable PEM private key');
  }
}
