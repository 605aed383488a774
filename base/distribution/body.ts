import { parseJson } from '../json/index.ts';
import { distributionError, quoted } from './failure.ts';
import type { Task } from './failure.ts';
import { networkFailure } from './network-failure.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { Credentials } from './types.ts';

/** Returns Content-Type without its parameters, in lower case; empty if there is none. */
export function contentType(answer: HttpAnswer): string {
  return (answer.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

export function isHtml(answer: HttpAnswer): boolean {
  return ['text/html', 'application/xhtml+xml'].includes(contentType(answer));
}

/** @throws PortcullisError DISTRIBUTION_BAD_ANSWER for a web page */
export function refuseHtml(answer: HttpAnswer, task: Task): void {
  if (!isHtml(answer)) return;
  answer.destroy();
  throw distributionError(
    'DISTRIBUTION_BAD_ANSWER',
    task,
    `${answer.url.host} answers with a web page (${contentType(answer)})`,
  );
}

/** Reads at most `limit` bytes. A longer body is not read, and its connection is closed. */
export async function readBody(
  answer: HttpAnswer,
  limit: number,
  task: Task,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  try {
    return await answer.bytes(limit);
  } catch (error) {
    throw networkFailure(error, answer.url, task, signal);
  }
}

/**
 * Reads a JSON document of at most `limit` bytes. Refuses a web page, and a document that a proxy compressed,
 * although the request did not allow it.
 * @throws PortcullisError DISTRIBUTION_BAD_ANSWER, and as {@link readBody}
 */
export async function readDocument(
  answer: HttpAnswer,
  limit: number,
  task: Task,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  refuseHtml(answer, task);
  const bytes = await readBody(answer, limit, task, signal);
  const encoding = answer.header('content-encoding') ?? '';
  const magic = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  // Some storage has the header and plain JSON.
  if (encoding === '' || !/^(?:1f8b|28b52ffd)/.test(magic)) return bytes;
  throw distributionError(
    'DISTRIBUTION_BAD_ANSWER',
    task,
    `${answer.url.host} answers with Content-Encoding "${quoted(encoding, 40)}", but no encoding was requested`,
  );
}

export function digestMismatch(task: Task, host: string, expected: string, actual: string) {
  return distributionError(
    'DISTRIBUTION_DIGEST_MISMATCH',
    task,
    `${host} sent content with the digest ${actual}, not ${expected}`,
    {
      details: { expected, actual },
    },
  );
}

/**
 * Returns the registry's own error text (distribution-spec, error codes), for a message; empty if there is
 * none. Some registries and gateways repeat the header of the request in it, which is hidden.
 * @param header the Authorization header that was sent
 */
export async function errorWords(
  answer: HttpAnswer,
  credentials: Credentials | undefined,
  header: string | undefined,
): Promise<string> {
  try {
    const bytes = await readBody(answer, 16 * 1024, { attempted: '', on: '' });
    const { errors } = parseJson(Buffer.from(bytes).toString('utf8')) as { errors?: unknown };
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    if (typeof first !== 'object' || first === null) return '';
    const { code, message } = first as { code?: unknown; message?: unknown };
    const words = [code, message].filter((word) => typeof word === 'string' && word !== '').join(', ');
    return words === '' ? '' : ` (${quoted(withoutSecrets(words, credentials, header))})`;
  } catch {
    return '';
  }
}

/** A shorter secret would hide parts of other words. */
const leastSecret = 4;

function withoutSecrets(
  words: string,
  { password, identityToken, registryToken }: Credentials = {},
  header: string | undefined,
): string {
  const value = header?.slice(header.indexOf(' ') + 1);
  return [value, password, identityToken, registryToken]
    .filter((secret) => secret !== undefined && secret.length >= leastSecret)
    .reduce<string>((text, secret) => text.replaceAll(secret ?? '', '***'), words);
}
