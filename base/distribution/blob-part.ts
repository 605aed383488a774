import { readBody, refuseHtml } from './body.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { askAgain } from './retry.ts';
import type { Session } from './session.ts';
import type { RegistryRepository } from './types.ts';

/**
 * Implements the fetching of a part of a blob: distribution-spec, "Pulling blobs"; RFC 9110, section 14.
 * @param attempts for an answer that breaks off
 */
export function createBlobPart(session: Session, attempts: number): RegistryRepository['blobPart'] {
  return async ({ digest, size }, { offset, length }, signal) => {
    const last = offset + length - 1;
    const task: Task = {
      attempted: `fetch bytes ${offset} to ${last} of blob`,
      on: `${session.host}/${session.repository}@${digest}`,
    };
    if (offset < 0 || length < 1 || last >= size)
      throw distributionError('DISTRIBUTION_SIZE_MISMATCH', task, `the blob has ${size} bytes`);
    return askAgain(attempts, signal, async () => {
      const answer = await session.request({
        method: 'GET',
        path: `blobs/${digest}`,
        headers: { range: `bytes=${offset}-${last}` },
        signal,
        task,
      });
      const { host } = answer.url;
      if (answer.status === 200) {
        answer.destroy();
        throw distributionError(
          'DISTRIBUTION_BAD_ANSWER',
          task,
          `${host} does not support requests for a part of a blob`,
        );
      }
      if (answer.status !== 206) return session.unexpected(answer, task);
      refuseHtml(answer, task);
      const range = answer.header('content-range') ?? '';
      if (range !== `bytes ${offset}-${last}/${size}` && range !== `bytes ${offset}-${last}/*`) {
        answer.destroy();
        throw distributionError(
          'DISTRIBUTION_BAD_ANSWER',
          task,
          `${host} returned another range than the requested one`,
        );
      }
      const bytes = await readBody(answer, length, task, signal);
      if (bytes.length !== length)
        throw distributionError(
          'DISTRIBUTION_SIZE_MISMATCH',
          task,
          `${host} sent ${bytes.length} of the ${length} requested bytes`,
        );
      return bytes;
    });
  };
}
