import { parseJson } from '../json/index.ts';
import { splitDigest, startDigest } from './digest.ts';
import { distributionError, quoted } from './failure.ts';
import type { Task } from './failure.ts';
import { networkFailure } from './network-failure.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { Descriptor } from './descriptor.ts';

/** Returns Content-Type without its parameters, in lower case; empty if there is none. */
export function contentType(answer: HttpAnswer): string {
  return (answer.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

export function isHtml(answer: HttpAnswer): boolean {
  return ['text/html', 'application/xhtml+xml'].includes(contentType(answer));
}

/** Reads at most `limit` bytes. A longer body is not read, and its connection is closed. */
export async function readBody(answer: HttpAnswer, limit: number, task: Task, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return await answer.bytes(limit);
  } catch (error) {
    throw networkFailure(error, answer.url, task, signal);
  }
}

/** Yields the body as it arrives, and checks its size and digest against the descriptor. */
export async function* verifiedBody(
  answer: HttpAnswer,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  task: Task,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { algorithm = 'sha256', hex = '' } = splitDigest(digest) ?? {};
  const hash = startDigest(algorithm);
  let seen = 0;
  try {
    for await (const chunk of answer.chunks(Infinity)) {
      seen += chunk.length;
      if (seen > size)
        throw distributionError(
          'DISTRIBUTION_SIZE_MISMATCH',
          task,
          `${answer.url.host} sends more than the ${size} bytes of its descriptor`,
          { details: { digest, size } },
        );
      hash.update(chunk);
      yield chunk;
    }
  } catch (error) {
    const failure = networkFailure(error, answer.url, task, signal);
    if (failure.code !== 'DISTRIBUTION_UNREACHABLE') throw failure;
    throw distributionError('DISTRIBUTION_UNREACHABLE', task, `${failure.failure.why} after ${seen} of ${size} bytes`, {
      details: { digest, size, seen },
      cause: error,
    });
  }
  if (seen !== size)
    throw distributionError('DISTRIBUTION_SIZE_MISMATCH', task, `${answer.url.host} sent ${seen} of the ${size} bytes of its descriptor`, {
      details: { digest, size, seen },
    });
  const actual = hash.digest('hex');
  if (actual !== hex) throw digestMismatch(task, answer.url.host, digest, `${algorithm}:${actual}`);
}

export function digestMismatch(task: Task, host: string, expected: string, actual: string) {
  return distributionError('DISTRIBUTION_DIGEST_MISMATCH', task, `${host} sent content with the digest ${actual}, not ${expected}`, {
    details: { expected, actual },
  });
}

/**
 * Returns the registry's own error text (distribution-spec, error codes), for a message; empty if there is
 * none.
 */
export async function errorWords(answer: HttpAnswer): Promise<string> {
  try {
    const bytes = await readBody(answer, 16 * 1024, { attempted: '', on: '' });
    const { errors } = parseJson(Buffer.from(bytes).toString('utf8')) as { errors?: unknown };
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    if (typeof first !== 'object' || first === null) return '';
    const { code, message } = first as { code?: unknown; message?: unknown };
    const words = [code, message].filter((word) => typeof word === 'string' && word !== '').join(', ');
    return words === '' ? '' : ` (${quoted(words)})`;
  } catch {
    return '';
  }
}
