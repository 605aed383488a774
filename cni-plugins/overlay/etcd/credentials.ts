import { X509Certificate, createPrivateKey } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { reasonOf } from '../../../base/errors/index.ts';
import { readPlainFileSync } from '../../../base/files/index.ts';
import { readPem, tlsCertificates } from '../../../base/pem/index.ts';

/** PEM texts for the connection to etcd, or the files that hold them. */
export interface Credentials {
  /** Authorities that etcd's certificate is verified with; absent: those of the system. */
  readonly ca?: string;
  /** This host's certificate and its key: both or neither. */
  readonly cert?: string;
  readonly key?: string;
}

/** The current credentials. They are read again when their files change. */
export interface CredentialSource {
  /** Returns a new object whenever the credentials changed. */
  current(): Credentials;
  /**
   * Reads the files again, at most once a second. Files that cannot be used leave the credentials unchanged.
   */
  check(): void;
  close(): void;
}

/** Interval in which changed files are noticed while nothing fails. */
const lookEveryMs = 5000;
const atMostEveryMs = 1000;
/** Limit of one file: a bundle of authorities has some hundred kilobytes. */
const largestFile = 4 * 1024 * 1024;

/**
 * Opens credentials. Those given as texts never change. Those of files follow the files: a certificate that
 * does not belong to the key, as in the middle of a rotation, changes nothing until the pair is complete.
 * @param report called once for each reason why changed files are not used, and with '' when they are used
 * @throws Error when the first credentials cannot be used
 */
export function openCredentials(
  texts: Credentials,
  files: Credentials = {},
  report: (problem: string) => void = () => undefined,
): CredentialSource {
  const isFromFiles = Object.values(files).some((file) => file !== undefined);
  let current: Credentials = { ...texts, ...readAll(files) };
  requireUsable(current);
  let checkedAt = performance.now();
  let reported = '';
  const say = (problem: string): void => {
    if (reported !== problem) report(problem);
    reported = problem;
  };
  const look = (): void => {
    checkedAt = performance.now();
    try {
      const found = { ...texts, ...readAll(files) };
      if (!isSame(found, current)) {
        requireUsable(found);
        current = found;
      }
      say('');
    } catch (thrown) {
      say(reasonOf(thrown));
    }
  };
  const looking = isFromFiles ? setInterval(look, lookEveryMs).unref() : undefined;
  return {
    current: () => current,
    check() {
      if (isFromFiles && performance.now() - checkedAt >= atMostEveryMs) look();
    },
    close: () => clearInterval(looking),
  };
}

const isSame = (one: Credentials, other: Credentials): boolean =>
  one.ca === other.ca && one.cert === other.cert && one.key === other.key;

const readAll = (files: Credentials): Credentials =>
  Object.fromEntries(
    Object.entries(files).flatMap(([name, file]: [string, string | undefined]) =>
      file === undefined ? [] : [[name, readText(file)]],
    ),
  );

function readText(file: string): string {
  try {
    return readPlainFileSync(file, largestFile);
  } catch (thrown) {
    throw new Error(`${file}: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

/** @throws Error that names the problem, and never the key */
function requireUsable({ ca, cert, key }: Credentials): void {
  if (ca !== undefined) {
    const { blocks, damaged } = readPem(ca);
    if (damaged || blocks.length === 0 || blocks.some(({ type }) => type !== 'CERTIFICATE'))
      throw new Error('the file of certificate authorities is not complete');
    tlsCertificates(ca);
  }
  if ((cert === undefined) !== (key === undefined))
    throw new Error('a certificate and its key must be given together');
  if (cert === undefined || key === undefined) return;
  // TLS uses the pair, so OpenSSL reads it here too.
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
    throw new Error('the certificate does not belong to the key');
  createSecureContext({ cert, key });
}
