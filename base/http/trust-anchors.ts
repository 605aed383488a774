import { X509Certificate, createHash } from 'node:crypto';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { reasonOf } from '../errors/index.ts';
import type { Environment } from './proxy-environment.ts';

/** The authorities that the system believes beside those that Node believes by itself. */
export interface Anchors {
  /** Digest of all of them. */
  readonly id: string;
  /** PEM, one certificate each; none that Node believes by itself (`getCACertificates('default')`). */
  readonly certificates: readonly string[];
}

export interface TrustAnchors {
  /** As the files are now; they are looked at again after half a minute. What cannot be read is left out with a warning. */
  current(): Promise<Anchors>;
}

/** Where systems keep all authorities in one file: the first that exists is read. Debian, Fedora, SUSE, Alpine. */
const bundleFiles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];
const folders = ['/etc/ssl/certs', '/etc/pki/tls/certs'];

const lookAgainAfterMs = 30_000;
const mostFiles = 4000;
const mostFileBytes = 8 * 1024 * 1024;

interface Found {
  readonly path: string;
  readonly mark: string;
  /** The same for two links to one file. */
  readonly inode: string;
}

/**
 * The system's store of authorities, as OpenSSL and Go's crypto/x509 find it: SSL_CERT_FILE and SSL_CERT_DIR (folders, separated by `:`) in
 * the place of the usual file and folders. Node's own reader of the same store reads it once, and blocks the thread meanwhile.
 * @param warn is called once for each problem
 */
export function trustAnchorsOf(environment: Environment, warn: (message: string) => void, lookAgainMs = lookAgainAfterMs): TrustAnchors {
  const namedFile = environment['SSL_CERT_FILE'] ?? '';
  const namedFolders = environment['SSL_CERT_DIR'] ?? '';
  const told = new Set<string>();
  const tell = (message: string): void => {
    if (told.has(message) || told.size >= 100) return;
    told.add(message);
    warn(message);
  };
  let kept: { readonly marks: string; readonly anchors: Anchors } | undefined;
  let looked: { readonly until: number; readonly anchors: Promise<Anchors> } | undefined;

  async function filesOf(): Promise<Found[]> {
    const found = new Map<string, Found>();
    const take = async (path: string): Promise<boolean> => {
      const facts = await stat(path).catch(() => undefined);
      if (facts?.isFile() !== true || found.size >= mostFiles) return false;
      const inode = `${facts.dev}:${facts.ino}`;
      const mark = `${inode}:${facts.size}:${facts.mtimeMs}:${facts.ctimeMs}`;
      if (facts.size > mostFileBytes) tell(`${path} is left out of the authorities: it is larger than ${mostFileBytes} bytes`);
      else if (!found.has(inode)) found.set(inode, { path, mark, inode });
      return true;
    };
    if (namedFile !== '') {
      if (!(await take(namedFile))) tell(`${namedFile}, which SSL_CERT_FILE names, is not a file that can be read`);
    } else for (const path of bundleFiles) if (await take(path)) break;
    for (const folder of namedFolders === '' ? folders : namedFolders.split(':')) {
      const names = folder === '' ? [] : await readdir(folder).catch(() => []);
      for (const name of names.sort()) await take(join(folder, name));
    }
    return [...found.values()];
  }

  async function look(): Promise<Anchors> {
    const files = await filesOf();
    const marks = files.map(({ mark }) => mark).join(' ');
    if (kept?.marks === marks) return kept.anchors;
    const known = new Set(getCACertificates('default').map(bodyOf));
    const certificates = new Map<string, string>();
    for (const { path } of files) {
      let text = '';
      try {
        text = await readFile(path, 'latin1');
      } catch (error) {
        tell(`${path} is left out of the authorities: ${reasonOf(error)}`);
      }
      for (const block of blocksOf(text)) {
        const body = bodyOf(block);
        if (known.has(body) || certificates.has(body)) continue;
        if (isCertificate(block)) certificates.set(body, block);
        else tell(`a certificate of ${path} is left out of the authorities: it cannot be read`);
      }
    }
    const id = createHash('sha256')
      .update([...certificates.keys()].join('\n'))
      .digest('base64');
    kept = { marks, anchors: { id, certificates: [...certificates.values()] } };
    return kept.anchors;
  }

  return {
    current() {
      if (looked === undefined || performance.now() >= looked.until) looked = { until: performance.now() + lookAgainMs, anchors: look() };
      return looked.anchors;
    },
  };
}

const blocksOf = (text: string): string[] => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/gu) ?? [];
const bodyOf = (block: string): string => block.replace(/\s+/gu, '');

function isCertificate(block: string): boolean {
  try {
    new X509Certificate(block);
    return true;
  } catch {
    return false;
  }
}

const shared = new Map<string, TrustAnchors>();

/** One reader a thread for each pair of SSL_CERT_FILE and SSL_CERT_DIR; problems are warnings of the process. */
export function sharedTrustAnchors(environment: Environment): TrustAnchors {
  const key = JSON.stringify([environment['SSL_CERT_FILE'], environment['SSL_CERT_DIR']]);
  const found = shared.get(key) ?? trustAnchorsOf(environment, (message) => process.emitWarning(message, 'TrustAnchorWarning'));
  shared.set(key, found);
  return found;
}
