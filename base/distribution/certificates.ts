import { createHash, X509Certificate, createPrivateKey } from 'node:crypto';
import { statSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsIdentity } from '../http/index.ts';
import { reasonOf } from '../errors/index.ts';
import { distributionError } from './failure.ts';

/**
 * Authorities and client certificates by host, from folders in the layout of docker and containers:
 * `FOLDER/HOST[:PORT]/` with `*.crt` (authorities, in addition to the system's) and pairs of `NAME.cert` and
 * `NAME.key` (containers-certs.d(5)).
 */
export interface Certificates {
  /** Returns whether a folder names the host. TLS is then used even if plain HTTP would be allowed. */
  names(host: string): boolean;
  /**
   * undefined: the host has no certificates of its own. @throws PortcullisError DISTRIBUTION_BAD_CERTIFICATES
   */
  of(host: string): Promise<TlsIdentity | undefined>;
}

/** Files are checked again after this number of milliseconds, so that renewed certificates are found. */
const rereadAfter = 30_000;

export function createCertificates(folders: readonly string[]): Certificates {
  const known = new Map<string, { readonly until: number; readonly found: Promise<TlsIdentity | undefined> }>();
  const folderOf = (host: string): string | undefined =>
    /^\.*$/.test(host)
      ? undefined
      : folders.map((folder) => join(folder, host)).find((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true);
  return {
    names: (host) => folderOf(host) !== undefined,
    of(host) {
      const kept = known.get(host);
      if (kept !== undefined && performance.now() < kept.until) return kept.found;
      const folder = folderOf(host);
      const found = folder === undefined ? Promise.resolve(undefined) : readFolder(folder);
      known.set(host, { until: performance.now() + rereadAfter, found });
      // After a failure the files are checked again at once, so that a corrected file takes effect.
      found.catch(() => known.delete(host));
      return found;
    },
  };
}

async function readFolder(folder: string): Promise<TlsIdentity | undefined> {
  const refuse = (file: string, why: string) =>
    distributionError('DISTRIBUTION_BAD_CERTIFICATES', { attempted: 'read certificates', on: join(folder, file) }, why);
  const read = async (file: string): Promise<string> => {
    try {
      return await readFile(join(folder, file), 'utf8');
    } catch (error) {
      throw refuse(file, reasonOf(error));
    }
  };
  let names: readonly string[];
  try {
    names = (await readdir(folder)).sort();
  } catch (error) {
    throw refuse('', reasonOf(error));
  }
  const certificate = async (name: string): Promise<string> => {
    const text = await read(name);
    const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    try {
      for (const block of blocks) new X509Certificate(block);
    } catch {
      throw refuse(name, 'its PEM block is not a readable certificate');
    }
    if (blocks.length === 0) throw refuse(name, 'it holds no PEM certificate');
    return text;
  };
  const key = async (name: string): Promise<string> => {
    if (!names.includes(name)) throw refuse(name, 'a client certificate is there without its key');
    const text = await read(name);
    try {
      createPrivateKey(text);
    } catch {
      // OpenSSL's message may quote the file.
      throw refuse(name, 'it is not a readable PEM private key');
    }
    return text;
  };
  const clients = names.filter((name) => name.endsWith('.cert'));
  const ca = await Promise.all(names.filter((name) => name.endsWith('.crt')).map(certificate));
  const cert = await Promise.all(clients.map(certificate));
  const keys = await Promise.all(clients.map((name) => key(name.replace(/cert$/, 'key'))));
  if (ca.length === 0 && cert.length === 0) return undefined;
  return {
    id: createHash('sha256')
      .update(JSON.stringify([ca, cert, keys]))
      .digest('base64'),
    ...(ca.length === 0 ? {} : { ca }),
    ...(cert.length === 0 ? {} : { cert, key: keys }),
  };
}
