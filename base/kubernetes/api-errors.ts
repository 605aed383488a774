import { PortcullisError, isPortcullisError, reasonOf } from '../errors/index.ts';
import { parseJson } from '../json/index.ts';
import type { HttpAnswer } from '../http/index.ts';
import { bodyOf, isProtobuf } from './api-answers.ts';
import { statusMessageOf } from './protobuf-list.ts';

/** The failures of requests to the API server. */

/** Describes an unanswered request. @param meanwhile what is true while the server cannot be reached */
export function unreachableServer(
  on: string,
  path: string,
  meanwhile: string,
  thrown: unknown,
): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_API_UNREACHABLE',
    kind: 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: reasonOf(thrown),
    fix: `check that the API server runs and can be reached; until then, ${meanwhile}`,
    cause: thrown,
  });
}

/**
 * Reads what a failed answer says: a `Status` of the Kubernetes API, or any text of a proxy in front of it.
 */
export async function refusal(
  host: string,
  path: string,
  answer: HttpAnswer,
  rights: string,
): Promise<PortcullisError> {
  const { status } = answer;
  const body = await bodyOf(answer, 64 * 1024).catch(() => Buffer.alloc(0));
  answer.destroy();
  let said = '';
  try {
    const message = isProtobuf(answer)
      ? statusMessageOf(body)
      : (parseJson(body.toString('utf8')) as { message?: unknown }).message;
    if (typeof message === 'string') said = message.slice(0, 500);
  } catch {
    // The answer does not come from the API server itself.
  }
  const seconds = Number(answer.header('retry-after') ?? NaN);
  return refused(host, path, status, said, Number.isFinite(seconds) ? seconds : undefined, rights);
}

const adviceFor = (status: number, rights?: string): string => {
  if (status === 401) return 'renew the credentials that the kubeconfig names';
  if (status === 403 && rights !== undefined) return `let the user of the kubeconfig ${rights}`;
  return 'check the API server if this continues';
};

/** Also used for a stream event that says why the stream ends. */
export function refused(
  on: string,
  path: string,
  status: number,
  said: string,
  retryAfterSeconds?: number,
  rights?: string,
): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_API_REFUSED',
    kind: status === 401 || status === 403 ? 'denied' : 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: `it answered ${status}${said === '' ? '' : `: ${said}`}`,
    fix: adviceFor(status, rights),
    details: { status, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
  });
}

/** The server knows no role that grants the request. */
export const forbidden = 403;
/** The server no longer has the requested version (410 Gone). */
export const expired = 410;
/** The server is there, and asks to wait. */
export const tooManyRequests = 429;

const detailOf = (thrown: unknown, name: string): number | undefined => {
  const value = isPortcullisError(thrown) ? thrown.failure.details?.[name] : undefined;
  return typeof value === 'number' ? value : undefined;
};
/** Returns the status of a refusal by the server, or undefined for any other error. */
export const statusOf = (thrown: unknown): number | undefined => detailOf(thrown, 'status');
/** In milliseconds, at most a minute. */
export const retryAfterOf = (thrown: unknown): number =>
  Math.min(60, Math.max(0, detailOf(thrown, 'retryAfterSeconds') ?? 0)) * 1000;
