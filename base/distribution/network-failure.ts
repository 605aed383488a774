import { isHttpError } from '../http/index.ts';
import type { HttpCode } from '../http/index.ts';
import { isPortcullisError, reasonOf } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';
import { distributionError, ifTls } from './failure.ts';
import type { DistributionCode, Task } from './failure.ts';

const codes: Readonly<Record<HttpCode, DistributionCode>> = {
  HTTP_ADDRESS_REFUSED: 'DISTRIBUTION_BAD_REDIRECT',
  HTTP_BAD_ADDRESS: 'DISTRIBUTION_UNREACHABLE',
  HTTP_BAD_ANSWER: 'DISTRIBUTION_BAD_ANSWER',
  HTTP_BAD_PROXY: 'DISTRIBUTION_UNREACHABLE',
  HTTP_BAD_REDIRECT: 'DISTRIBUTION_BAD_REDIRECT',
  HTTP_CANCELLED: 'DISTRIBUTION_CANCELLED',
  HTTP_TOO_LARGE: 'DISTRIBUTION_TOO_LARGE',
  HTTP_TOO_SLOW: 'DISTRIBUTION_UNREACHABLE',
  HTTP_UNREACHABLE: 'DISTRIBUTION_UNREACHABLE',
};

/** A server that expects TLS closes a connection with plain HTTP. */
const closed: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

/** Returns how to trust the authority of a registry, or of a server that a registry names. */
function trustAuthority({ host }: URL): string {
  return `put the certificate of the authority that issued it into /etc/containers/certs.d/${host}/ca.crt, or add it to the authorities of the system; for the daemon, registries.tls can name its file`;
}

/** Converts an error of the HTTP client into a coded failure that names the host. */
export function networkFailure(thrown: unknown, url: URL, task: Task, signal?: AbortSignal): PortcullisError {
  if (isHttpError(thrown)) {
    const { why, fix, details } = thrown.failure;
    const code = codes[thrown.code];
    const systemCode = typeof details?.['code'] === 'string' ? details['code'] : '';
    const mend =
      thrown.code === 'HTTP_BAD_PROXY' || details?.['proxy'] !== undefined
        ? { fix }
        : details?.['certificate'] !== undefined
          ? { fix: details['certificate'] === 'untrusted' ? trustAuthority(url) : fix }
          : systemCode.includes('SSL') || systemCode === 'EPROTO'
            ? {
                fix: 'if the registry supports only plain HTTP, add --insecure-registry HOST, or name it in registries.insecure of the daemon',
              }
            : url.protocol === 'http:' && closed.has(systemCode)
              ? { fix: `check that the registry runs; ${ifTls}` }
              : {};
    return distributionError(code, task, why, {
      ...mend,
      ...(details === undefined ? {} : { details }),
      cause: thrown,
    });
  }
  if (isPortcullisError(thrown)) return thrown;
  if (signal?.aborted === true) {
    const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
    if (late)
      return distributionError(
        'DISTRIBUTION_UNREACHABLE',
        task,
        `the request to ${url.host} exceeded its time limit`,
        {
          cause: thrown,
        },
      );
    return distributionError('DISTRIBUTION_CANCELLED', task, 'the caller cancelled the request', {
      cause: thrown,
    });
  }
  return distributionError('DISTRIBUTION_UNREACHABLE', task, `${url.host}: ${reasonOf(thrown)}`, {
    cause: thrown,
  });
}
