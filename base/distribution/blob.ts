import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';
import type { HttpAnswer } from '../http/index.ts';
import { digestMismatch, refuseHtml } from './body.ts';
import type { Descriptor } from './descriptor.ts';
import { splitDigest, startDigest } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { networkFailure } from './network-failure.ts';
import { backOff, isBrokenOff, isServerDown, isServerFault } from './passing-failure.ts';
import { askAgain } from './retry.ts';
import { transferMs } from './session.ts';
import type { Session } from './session.ts';
import type { RegistryRepository } from './types.ts';

/**
 * An attempt that yields less than this is an attempt without progress: what a transfer must do in one
 * second.
 */
const leastProgress = 16 * 1024;

/** An answer with the rest of a blob, after the bytes that were received before. */
interface Part {
  readonly answer: HttpAnswer;
  /** The server sent the blob from its beginning: it does not support ranges. */
  readonly skip: number;
}

/**
 * Implements the fetching of blobs: distribution-spec §"Pulling blobs". If a connection breaks, the rest is
 * requested over another one (RFC 9110, section 14). One hash covers all received bytes, so that neither
 * If-Range nor a statement of the server about them is needed.
 * @param attempts how many attempts without progress are made
 */
export function createBlob(session: Session, attempts: number): RegistryRepository['blob'] {
  return async (descriptor, signal, begun) => {
    const { digest, size } = descriptor;
    const task: Task = { attempted: 'fetch blob', on: `${session.host}/${session.repository}@${digest}` };
    const split = splitDigest(digest);
    if (split === undefined) throw distributionError('DISTRIBUTION_BAD_DIGEST', task, 'it is not a digest');
    const hash = startDigest(split.algorithm);
    let seen = 0;
    for await (const chunk of begun ?? []) {
      if (signal?.aborted === true)
        throw distributionError('DISTRIBUTION_CANCELLED', task, 'the caller cancelled the request', {
          cause: signal.reason,
        });
      seen += chunk.length;
      if (seen > size)
        throw wrongSize(task, 'an earlier fetch left more bytes than the descriptor states', descriptor);
      hash.update(chunk);
    }
    const until = performance.now() + transferMs(size - seen);

    const request = (once: boolean): Promise<Part> =>
      requestPart(session, task, descriptor, { seen, until, once, signal });
    const isHere = begun !== undefined && seen === size;
    let part = isHere ? undefined : await askAgain(attempts, signal, () => request(false));
    let failed = 0;
    let mark = seen;

    /**
     * Requests the rest after a failure. Returns nothing if all bytes had arrived. @throws the failure that
     * counts
     */
    async function resume(thrown: unknown, answer: HttpAnswer): Promise<Part | undefined> {
      let failure: unknown = networkFailure(thrown, answer.url, task, signal);
      if (seen - mark >= leastProgress) failed = 0;
      mark = seen;
      for (;;) {
        failed += 1;
        const passes =
          isBrokenOff(failure) || (failed > 1 && (isServerDown(failure) || isServerFault(failure)));
        if (!passes || failed >= attempts) throw withProgress(failure, task, { digest, size, seen });
        if (seen === size) return undefined;
        await sleep(backOff(failed), undefined, { signal }).catch((error: unknown) => {
          throw networkFailure(error, answer.url, task, signal);
        });
        try {
          return await request(true);
        } catch (again) {
          failure = again;
        }
      }
    }

    async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
      let host = part?.answer.url.host ?? session.host;
      while (part !== undefined) {
        const { answer } = part;
        let { skip } = part;
        host = answer.url.host;
        try {
          for await (const received of answer.chunks(Infinity)) {
            const chunk = skip === 0 ? received : received.subarray(skip);
            skip -= received.length - chunk.length;
            if (chunk.length === 0) continue;
            seen += chunk.length;
            if (seen > size)
              throw wrongSize(
                task,
                `${host} sent more than the ${size} bytes that the descriptor states`,
                descriptor,
              );
            hash.update(chunk);
            yield chunk;
          }
          part = undefined;
        } catch (error) {
          part = await resume(error, answer);
        }
      }
      if (seen !== size)
        throw wrongSize(task, `${host} sent ${seen} of the ${size} bytes that the descriptor states`, {
          digest,
          size,
          seen,
        });
      const actual = hash.digest('hex');
      if (actual !== split?.hex)
        throw digestMismatch(task, host, digest, `${split?.algorithm ?? ''}:${actual}`);
    }

    return read();
  };
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
async function requestPart(
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

/** Adds to a lost connection how much had arrived. */
function withProgress(
  failure: unknown,
  task: Task,
  { digest, size, seen }: Pick<Descriptor, 'digest' | 'size'> & { readonly seen: number },
): unknown {
  if (!isPortcullisError(failure) || failure.code !== 'DISTRIBUTION_UNREACHABLE') return failure;
  const { why, details, fix } = failure.failure;
  return distributionError('DISTRIBUTION_UNREACHABLE', task, `${why} after ${seen} of ${size} bytes`, {
    details: { ...details, digest, size, seen },
    fix,
    cause: failure,
  });
}

function wrongSize(
  task: Task,
  why: string,
  { digest, size, seen }: Pick<Descriptor, 'digest' | 'size'> & { readonly seen?: number },
): Error {
  return distributionError('DISTRIBUTION_SIZE_MISMATCH', task, why, {
    details: { digest, size, ...(seen === undefined ? {} : { seen }) },
  });
}
