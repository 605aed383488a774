import type { HttpAnswer } from '../http/index.ts';
import { refuseHtml } from './body.ts';
import type { Descriptor } from './descriptor.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { Session } from './session.ts';

/** An answer with the rest of a blob, after the bytes that were received before. */
export interface Part {
  readonly answer: HttpAnswer;
  /** The server sent the blob from its beginning: it does not support ranges. */
  readonly skip: number;
}

interface PartRequest {
  /** The number of bytes that were received so far. */
  readonly seen: number;
  /** The end of the transfer, in milliseconds of performance.now(). */
  readonly until: number;
  /** A request that fails is not sent again. */
  readonly once: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Answers of servers that do not support ranges, and say so with an error instead of ignoring the header.
 */
const withoutRanges: ReadonlySet<number> = new Set([400, 501]);

/**
 * Requests the bytes of a blob that were not received yet, and checks which bytes the answer announces. If
 * the server returns another range, or refuses ranges, the whole blob is requested.
 */
export async function requestPart(
  session: Session,
  task: Task,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  { seen, until, once, signal }: PartRequest,
): Promise<Part> {
  const { digest, size } = descriptor;
  const request = (headers: Readonly<Record<string, string>>): Promise<HttpAnswer> =>
    session.request({
      method: 'GET',
      path: `blobs/${digest}`,
      headers,
      totalMs: Math.max(1, until - performance.now()),
      signal,
      once,
      task,
    });
  let answer = await request(seen === 0 ? {} : { range: `bytes=${seen}-` });
  if (seen > 0 && answer.status === 416) {
    await answer.discard();
    throw wrongSize(task, `${answer.url.host} has no bytes after the first ${seen}`, descriptor);
  }
  const range = answer.header('content-range') ?? '';
  const ranged =
    seen > 0 &&
    answer.status === 206 &&
    (range === `bytes ${seen}-${size - 1}/${size}` || range === `bytes ${seen}-${size - 1}/*`);
  if (seen > 0 && !ranged && (answer.status === 206 || withoutRanges.has(answer.status))) {
    answer.destroy();
    answer = await request({});
  }
  if (answer.status !== 200 && !ranged) return session.unexpected(answer, task);
  refuseHtml(answer, task);
  const announced = answer.length;
  const expected = ranged ? size - seen : size;
  if (announced !== undefined && announced !== expected) {
    answer.destroy();
    throw wrongSize(
      task,
      `${answer.url.host} announces ${announced} bytes instead of ${expected}`,
      descriptor,
    );
  }
  return { answer, skip: ranged ? 0 : seen };
}

/** Returns the failure for a blob whose length differs from its descriptor. */
export function wrongSize(
  task: Task,
  why: string,
  { digest, size, seen }: Pick<Descriptor, 'digest' | 'size'> & { readonly seen?: number },
): Error {
  return distributionError('DISTRIBUTION_SIZE_MISMATCH', task, why, {
    details: { digest, size, ...(seen === undefined ? {} : { seen }) },
  });
}
