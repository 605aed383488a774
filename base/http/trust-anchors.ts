import { createHash } from 'node:crypto';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { fileReason } from '../errors/index.ts';
import { isTlsCertificate, readPem, writePem } from '../pem/index.ts';
import type { PemBlock } from '../pem/index.ts';
import type { Environment } from './proxy-environment.ts';

/** The authorities that the system trusts, apart from those that Node trusts itself. */
export interface Anchors {
  /** A digest of all certificates. */
  readonly id: string;
  /**
   * PEM, one certificate per entry. Does not contain those that Node trusts itself
   * (`getCACertificates('default')`).
   */
  readonly certificates: readonly string[];
}

export interface TrustAnchors {
  /**
   * Returns the current content of the files. They are checked again after 30 seconds. A file that cannot be
   * read is skipped with a warning.
   */
  current(): Promise<Anchors>;
}

/**
 * Files in which systems keep all authorities: Debian, Fedora, SUSE, Alpine. The first one that exists is
 * read.
 */
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
  /** Equal for two links to one file. */
  readonly inode: string;
}

/**
 * Reads the system's store of authorities, in the way of OpenSSL and Go's crypto/x509: SSL_CERT_FILE and
 * SSL_CERT_DIR (folders, separated by `:`) replace the usual file and folders. Node's own reader of this
 * store reads it only once, and blocks the thread while it reads.
 * @param warn called once for each problem
 */
export function trustAnchorsOf(
  environment: Environment,
  warn: (message: string) => void,
  lookAgainMs = lookAgainAfterMs,
): TrustAnchors {
  const namedFile = environment['SSL_CERT_FILE'] ?? '';
  const namedFolders = environment['SSL_CERT_DIR'] ?? '';
  const reported = new Set<string>();
  const report = (message: string): void => {
    if (reported.has(message) || reported.size >= 100) return;
    reported.add(message);
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
      if (facts.size > mostFileBytes)
        report(`${path} is left out of the authorities: it is larger than ${mostFileBytes} bytes`);
      else if (!found.has(inode)) found.set(inode, { path, mark, inode });
      return true;
    };
    if (namedFile !== '') {
      if (!(await take(namedFile)))
        report(`${namedFile}, which SSL_CERT_FILE names, is not a file that can be read`);
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
    const known = new Set(
      getCACertificates('default').flatMap((text) =>
        readPem(text).blocks.map(({ content }) => keyOf(content)),
      ),
    );
    const certificates = new Map<string, string>();
    for (const { path } of files) {
      let text = '';
      try {
        text = await readFile(path, 'latin1');
      } catch (error) {
        report(`${path} is left out of the authorities: ${fileReason(error, path)}`);
      }
      const { blocks, damaged } = readPem(text);
      let unreadable = damaged;
      for (const { content } of blocks.filter(isCertificate)) {
        const key = keyOf(content);
        if (known.has(key) || certificates.has(key)) continue;
        // OpenSSL reads them, because it verifies connections with them: some authorities of systems have
        // encodings that trust/x509 refuses.
        if (isTlsCertificate(content)) certificates.set(key, writePem('CERTIFICATE', content).trimEnd());
        else unreadable = true;
      }
      if (unreadable) report(`a certificate of ${path} is left out of the authorities: it cannot be read`);
    }
    const id = createHash('sha256')
      .update([...certificates.keys()].join('\n'))
      .digest('base64');
    kept = { marks, anchors: { id, certificates: [...certificates.values()] } };
    return kept.anchors;
  }

  return {
    current() {
      if (looked === undefined || performance.now() >= looked.until)
        looked = { until: performance.now() + lookAgainMs, anchors: look() };
      return looked.anchors;
    },
  };
}

const isCertificate = ({ type }: PemBlock): boolean => type === 'CERTIFICATE';
const keyOf = (content: Buffer): string => content.toString('base64');

const shared = new Map<string, TrustAnchors>();

/**
 * Returns one reader per thread for each pair of SSL_CERT_FILE and SSL_CERT_DIR. Problems become warnings of
 * the process.
 */
export function sharedTrustAnchors(environment: Environment): TrustAnchors {
  const key = JSON.stringify([environment['SSL_CERT_FILE'], environment['SSL_CERT_DIR']]);
  const found =
    shared.get(key) ??
    trustAnchorsOf(environment, (message) => process.emitWarning(message, 'TrustAnchorWarning'));
  shared.set(key, found);
  return found;
}
