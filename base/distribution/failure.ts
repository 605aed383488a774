import { PortcullisError } from '../errors/index.ts';
import type { Failure } from '../errors/index.ts';
import type { HttpAnswer } from '../http/index.ts';

export type DistributionCode =
  | 'DISTRIBUTION_BAD_ANSWER'
  | 'DISTRIBUTION_BAD_CERTIFICATES'
  | 'DISTRIBUTION_BAD_DIGEST'
  | 'DISTRIBUTION_BAD_MANIFEST'
  | 'DISTRIBUTION_BAD_MIRROR'
  | 'DISTRIBUTION_BAD_REDIRECT'
  | 'DISTRIBUTION_BAD_REFERENCE'
  | 'DISTRIBUTION_BLOCKED'
  | 'DISTRIBUTION_CANCELLED'
  | 'DISTRIBUTION_DIGEST_MISMATCH'
  | 'DISTRIBUTION_NOT_FOUND'
  | 'DISTRIBUTION_REFUSED'
  | 'DISTRIBUTION_SIZE_MISMATCH'
  | 'DISTRIBUTION_TOO_LARGE'
  | 'DISTRIBUTION_UNAUTHORIZED'
  | 'DISTRIBUTION_UNREACHABLE';

/** The current operation, for every message: `fetch manifest` of `127.0.0.1:5000/app:1`. */
export interface Task {
  readonly attempted: string;
  readonly on: string;
}

type Rest = Omit<Failure<DistributionCode>, 'code' | 'kind' | 'attempted' | 'on' | 'why' | 'fix' | 'prefix'>;

const catalogue: Readonly<Record<DistributionCode, Pick<Failure, 'kind' | 'fix' | 'prefix'>>> = {
  DISTRIBUTION_BAD_ANSWER: {
    kind: 'unavailable',
    fix: 'check that this host and port belong to a container registry, and check any proxy in front of it',
    prefix: 'RegistryUnavailable',
  },
  DISTRIBUTION_BAD_CERTIFICATES: {
    kind: 'precondition',
    fix: 'correct the files of this host in registries.tls, or its *.crt, NAME.cert and NAME.key in certs.d',
  },
  DISTRIBUTION_BAD_DIGEST: {
    kind: 'invalid',
    fix: 'give a digest, such as sha256: followed by 64 lower-case hex digits',
  },
  DISTRIBUTION_BAD_MANIFEST: { kind: 'invalid', fix: 'push the image again with a current tool' },
  DISTRIBUTION_BAD_MIRROR: {
    kind: 'invalid',
    fix: 'give the mirror as http://HOST[:PORT][/PREFIX] or https://…',
  },
  DISTRIBUTION_BAD_REDIRECT: {
    kind: 'denied',
    fix: 'ask the operator of the registry why it sends clients to an address that is not allowed',
  },
  DISTRIBUTION_BAD_REFERENCE: { kind: 'invalid', fix: 'write it as [HOST[:PORT]/]NAME[:TAG][@DIGEST]' },
  DISTRIBUTION_BLOCKED: {
    kind: 'denied',
    fix: 'use an image from a registry that is not blocked, or change registries.prefixes',
  },
  DISTRIBUTION_CANCELLED: { kind: 'cancelled', fix: 'repeat the request if it is still needed' },
  DISTRIBUTION_DIGEST_MISMATCH: {
    kind: 'data-loss',
    fix: 'the content was changed or damaged in transit: check the registry and any proxy in front of it',
  },
  DISTRIBUTION_NOT_FOUND: { kind: 'not-found', fix: 'check the name, the tag and the registry' },
  DISTRIBUTION_REFUSED: { kind: 'precondition', fix: 'see the reason that the registry gives' },
  DISTRIBUTION_SIZE_MISMATCH: {
    kind: 'data-loss',
    fix: 'the content was changed or truncated in transit: check the registry and any proxy in front of it',
  },
  DISTRIBUTION_TOO_LARGE: { kind: 'invalid', fix: 'push smaller content' },
  DISTRIBUTION_UNAUTHORIZED: {
    kind: 'denied',
    fix: 'use credentials that have this permission, or log in again',
  },
  DISTRIBUTION_UNREACHABLE: {
    kind: 'unavailable',
    fix: 'check that the registry runs and can be reached from here, then try again',
    prefix: 'RegistryUnavailable',
  },
};

/**
 * Returns the error of a request to a registry. The code decides the kind and, unless `more` has one, the
 * remedy.
 */
export function distributionError(
  code: DistributionCode,
  task: Task,
  why: string,
  more: Rest & { readonly fix?: string } = {},
): PortcullisError<DistributionCode> {
  return new PortcullisError({ code, ...catalogue[code], ...task, why, ...more });
}

/** The advice if a request over plain HTTP was perhaps sent to a port that expects TLS. */
export const ifTls =
  'if the registry requires TLS, do not name it as insecure; for a registry on loopback, put its certificate authority into /etc/containers/certs.d/HOST:PORT';

/**
 * Returns the error of an answer with an unexpected status.
 * @param who the server, and `words` its reason from `errorWords`
 */
export function statusFailure(answer: HttpAnswer, task: Task, who: string, words: string): PortcullisError {
  const { status, url } = answer;
  const said = `${who} answers ${status}${words}`;
  const details = { host: url.host, status };
  if (status === 401 || status === 403)
    return distributionError('DISTRIBUTION_UNAUTHORIZED', task, said, { details });
  if (status === 404) return distributionError('DISTRIBUTION_NOT_FOUND', task, said, { details });
  if (status === 429) {
    const after = answer.header('retry-after');
    return distributionError('DISTRIBUTION_UNREACHABLE', task, `${said}: too many requests`, {
      details: after === undefined ? details : { ...details, retryAfter: after.slice(0, 40) },
      fix: 'wait and try again, log in for a higher limit, or use a mirror',
    });
  }
  if (status >= 500) return distributionError('DISTRIBUTION_UNREACHABLE', task, said, { details });
  if (status >= 400) {
    const unexplained = {
      // Servers in Go answer this to plain HTTP where they expect TLS.
      fix:
        status === 400 && url.protocol === 'http:'
          ? `see the log of the registry, or of a proxy in front of it; ${ifTls}`
          : 'see the log of the registry, or of a proxy in front of it: its answer gives no reason',
    };
    return distributionError('DISTRIBUTION_REFUSED', task, said, {
      details,
      ...(words === '' ? unexplained : {}),
    });
  }
  return distributionError('DISTRIBUTION_BAD_ANSWER', task, said, { details });
}

/** Returns a text from a server, made fit for a message: printable, at most `limit` characters. */
export function quoted(text: string, limit = 200): string {
  const clean = text.replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
  return clean.length > limit ? `${clean.slice(0, limit)}…` : clean;
}
