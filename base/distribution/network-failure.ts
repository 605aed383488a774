import { isPortcullisError, reasonOf } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it broke the connection off',
  EPIPE: 'it broke the connection off',
  UND_ERR_SOCKET: 'it broke the connection off',
  UND_ERR_CLOSED: 'the client was closed',
  UND_ERR_DESTROYED: 'the client was closed',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no route to it',
  ETIMEDOUT: 'it did not answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'it did not accept a connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'it did not begin an answer in time',
  UND_ERR_BODY_TIMEOUT: 'it stopped in the middle of its answer',
};

/** Turns what undici threw into a coded failure that names the host. */
export function networkFailure(thrown: unknown, url: URL, task: Task, signal?: AbortSignal): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  if (signal?.aborted === true) {
    const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
    if (late) return distributionError('DISTRIBUTION_UNREACHABLE', task, `${url.host} took longer than allowed`, { cause: thrown });
    return distributionError('DISTRIBUTION_CANCELLED', task, 'the caller gave up', { cause: thrown });
  }
  const error = thrown instanceof AggregateError && thrown.errors[0] instanceof Error ? thrown.errors[0] : thrown;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || (error instanceof Error && error.name === 'HTTPParserError')) {
    return distributionError('DISTRIBUTION_BAD_ANSWER', task, `${url.host} does not speak HTTP as it should (${reasonOf(error)})`, {
      cause: thrown,
    });
  }
  const why = reasons[code] ?? reasonOf(error);
  const fix =
    code.includes('SSL') || code === 'EPROTO' ? { fix: 'it may speak plain HTTP only: then name it as an insecure registry' } : {};
  return distributionError('DISTRIBUTION_UNREACHABLE', task, `${url.host}: ${why}`, {
    ...fix,
    details: { host: url.host, code },
    cause: thrown,
  });
}
