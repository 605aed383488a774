import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';
import type { HttpAnswer } from '../http/index.ts';
import { requestPart, wrongSize } from './blob-request.ts';
import type { Part } from './blob-request.ts';
import { digestMismatch } from './body.ts';
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
    const received = receiver(descriptor, task);
    for await (const chunk of begun ?? []) {
      if (signal?.aborted === true)
        throw distributionError('DISTRIBUTION_CANCELLED', task, 'the caller cancelled the request', {
          cause: signal.reason,
        });
      received.add(chunk, () => 'an earlier fetch left more bytes than the descriptor states');
    }
    const until = performance.now() + transferMs(size - received.seen);
    const request = (once: boolean): Promise<Part> =>
      requestPart(session, task, descriptor, { seen: received.seen, until, once, signal });
    const isHere = begun !== undefined && received.seen === size;
    let part = isHere ? undefined : await askAgain(attempts, signal, () => request(false));
    let host = part?.answer.url.host ?? session.host;
    let failed = 0;
    let mark = received.seen;

    /**
     * Requests the rest after a failure. Returns nothing if all bytes had arrived. @throws the failure that
     * counts
     */
    async function resume(thrown: unknown, answer: HttpAnswer): Promise<Part | undefined> {
      const { seen } = received;
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

    /** Returns a function that counts the bytes of an answer, and returns those that are wanted. */
    function acceptFrom({ answer, skip }: Part): (bytes: Uint8Array) => Uint8Array {
      host = answer.url.host;
      let skipped = 0;
      const tooMany = (): string => `${host} sent more than the ${size} bytes that the descriptor states`;
      return (bytes) => {
        const chunk = skipped === skip ? bytes : bytes.subarray(skip - skipped);
        skipped += bytes.length - chunk.length;
        received.add(chunk, tooMany);
        return chunk;
      };
    }

    return {
      async *[Symbol.asyncIterator]() {
        while (part !== undefined) {
          const { answer } = part;
          const accept = acceptFrom(part);
          try {
            for await (const bytes of answer.chunks(Infinity)) {
              const chunk = accept(bytes);
              if (chunk.length > 0) yield chunk;
            }
            part = undefined;
          } catch (error) {
            part = await resume(error, answer);
          }
        }
        received.finish(host);
      },

      async each(take) {
        while (part !== undefined) {
          const { answer } = part;
          const accept = acceptFrom(part);
          let failure: { readonly error: unknown } | undefined;
          try {
            await answer.each(Infinity, (bytes) => {
              const chunk = accept(bytes);
              try {
                if (chunk.length > 0) take(chunk);
              } catch (error) {
                failure = { error };
                throw error;
              }
            });
            part = undefined;
          } catch (error) {
            // The connection is not the reason, so the rest is not requested.
            if (failure !== undefined) throw failure.error;
            part = await resume(error, answer);
          }
        }
        received.finish(host);
      },
    };
  };
}

/** Counts and hashes the bytes of one blob, over all connections. */
function receiver(descriptor: Pick<Descriptor, 'digest' | 'size'>, task: Task) {
  const { digest, size } = descriptor;
  const split = splitDigest(digest);
  if (split === undefined) throw distributionError('DISTRIBUTION_BAD_DIGEST', task, 'it is not a digest');
  const hash = startDigest(split.algorithm);
  let seen = 0;
  return {
    get seen() {
      return seen;
    },
    /** @param tooMany describes the failure if the blob gets too long */
    add(chunk: Uint8Array, tooMany: () => string): void {
      seen += chunk.length;
      if (seen > size) throw wrongSize(task, tooMany(), descriptor);
      hash.update(chunk);
    },
    /** Checks size and digest when everything has arrived. */
    finish(host: string): void {
      if (seen !== size)
        throw wrongSize(task, `${host} sent ${seen} of the ${size} bytes that the descriptor states`, {
          digest,
          size,
          seen,
        });
      const actual = hash.digest('hex');
      if (actual !== split.hex) throw digestMismatch(task, host, digest, `${split.algorithm}:${actual}`);
    },
  };
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
