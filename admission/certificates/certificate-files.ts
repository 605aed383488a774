import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { readPair } from './serving-pair.ts';
import type { ServingPair } from './serving-pair.ts';

/** A certificate that another program renews, such as cert-manager. */
export interface CertificateFiles {
  readonly pair: ServingPair;
  close(): void;
}

export interface CertificateFilesOptions {
  readonly certificate: string;
  readonly key: string;
  /** Called with each new pair. */
  readonly onChange: (pair: ServingPair) => void;
  readonly log: Logger;
  /** How often the files are read, in ms. Default: 10 s. */
  readonly everyMs?: number;
}

const mostBytes = 1024 * 1024;

/**
 * Reads a certificate and its key from files, and again at intervals. A pair that is not valid, for example
 * because it is being written, is not used: the last valid pair stays in use.
 * @throws PortcullisError ADMISSION_TLS
 */
export async function openCertificateFiles(options: CertificateFilesOptions): Promise<CertificateFiles> {
  const { log, everyMs = 10_000 } = options;
  let pair = await read(options);
  let reading = false;
  let reported = '';
  const timer = setInterval(() => {
    if (reading) return;
    reading = true;
    read(options)
      .then((next) => {
        const isSame = next.certificate === pair.certificate && next.key === pair.key;
        // The server may refuse the pair. It is then tried again.
        if (!isSame) options.onChange(next);
        reported = '';
        if (isSame) return;
        pair = next;
        log.info({ until: next.until.toISOString() }, 'the certificate was renewed');
      })
      .catch((error: unknown) => {
        const problem = (error as Error).message;
        if (problem !== reported)
          log.error(
            { problem },
            'the certificate could not be read again; the previous certificate stays in use',
          );
        reported = problem;
      })
      .finally(() => (reading = false));
  }, everyMs);
  timer.unref();
  return { pair, close: () => clearInterval(timer) };
}

async function read({ certificate, key }: CertificateFilesOptions): Promise<ServingPair> {
  const text = async (file: string): Promise<string> => {
    try {
      return (await readGivenFile(file, mostBytes)).toString('utf8');
    } catch (error) {
      throw new PortcullisError({
        code: 'ADMISSION_TLS',
        kind: 'unavailable',
        attempted: 'read the certificate of the webhook',
        on: file,
        why: fileReason(error, file),
        fix: 'name readable files with --tls-cert and --tls-key',
      });
    }
  };
  return readPair(await text(certificate), await text(key), certificate);
}
