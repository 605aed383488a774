import { isPortcullisError } from '../errors/index.ts';
import type { HttpAnswer, RequestBody } from '../http/index.ts';
import type { Descriptor } from './descriptor.ts';
import { digestOf } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { askAgain } from './retry.ts';
import { transferMs } from './session.ts';
import type { Session } from './session.ts';
import type { RegistryRepository } from './types.ts';
import { retryWriteConflicts } from './write-conflicts.ts';

interface Blob {
  readonly descriptor: Pick<Descriptor, 'digest' | 'size'>;
  readonly body: RequestBody;
  /** A repository of the same registry that has the blob. */
  readonly mountFrom?: string | undefined;
  /** Called before each attempt. */
  readonly begin?: () => void;
}

/** Each repetition sends the whole blob, which may have gigabytes. */
const streamConflictLimit = 3;

/**
 * Implements the pushing of blobs: distribution-spec §"Pushing blobs", each in one POST and one PUT, unless
 * the repository has the blob. The name of a blob is its digest, so that an upload whose connection breaks is
 * repeated from its beginning.
 * @param attempts how many times an upload is tried when connections break
 */
export function createUpload(
  session: Session,
  attempts: number,
): Pick<RegistryRepository, 'pushBlob' | 'pushBlobFrom'> {
  const place = `${session.host}/${session.repository}`;
  const taskOf = ({ digest }: Blob['descriptor']): Task => ({
    attempted: 'push blob',
    on: `${place}@${digest}`,
  });
  const upload = (
    blob: Blob,
    signal: AbortSignal | undefined,
    whileConflicting: ReturnType<typeof retryWriteConflicts>,
  ): Promise<void> =>
    askAgain(attempts, signal, () =>
      whileConflicting(() => {
        blob.begin?.();
        return uploadOnce(session, blob, taskOf(blob.descriptor), signal);
      }),
    );
  return {
    async pushBlob(bytes, { mediaType = 'application/octet-stream', signal } = {}) {
      const descriptor: Descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
      await upload({ descriptor, body: bytes }, signal, retryWriteConflicts(signal));
      return descriptor;
    },
    async pushBlobFrom(descriptor, open, { mountFrom, signal } = {}) {
      // The reason that the source gives, instead of the broken request that it causes.
      let failed: { readonly reason: unknown } | undefined;
      async function* body(): AsyncGenerator<Uint8Array, void, undefined> {
        try {
          yield* await open();
        } catch (reason) {
          failed = { reason };
          throw reason;
        }
      }
      const begin = (): void => {
        failed = undefined;
      };
      const whileConflicting = retryWriteConflicts(signal, streamConflictLimit);
      const blob = { descriptor, body, mountFrom, begin };
      await upload(blob, signal, whileConflicting).catch((thrown: unknown) => {
        throw failed === undefined ? thrown : failed.reason;
      });
    },
  };
}

async function uploadOnce(
  session: Session,
  { descriptor: { digest, size }, body, mountFrom }: Blob,
  task: Task,
  signal: AbortSignal | undefined,
): Promise<void> {
  const present = await session.request({ method: 'HEAD', path: `blobs/${digest}`, signal, task });
  await present.discard();
  if (present.status === 200) return;
  const begin = (query: string): Promise<HttpAnswer> =>
    session.request({
      method: 'POST',
      path: `blobs/uploads/${query}`,
      headers: { 'content-length': '0' },
      signal,
      task,
    });
  const mounted =
    mountFrom === undefined
      ? undefined
      : await unlessRefused(begin(`?${new URLSearchParams({ mount: digest, from: mountFrom }).toString()}`));
  // The registry has taken the blob from the other repository.
  if (mounted?.status === 201) return mounted.discard();
  const start = mounted ?? (await begin(''));
  if (start.status !== 202) return session.unexpected(start, task);
  const target = uploadTarget(start, task);
  await start.discard();
  target.searchParams.set('digest', digest);
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) };
  const done = await session.request({
    method: 'PUT',
    path: target,
    headers,
    body,
    totalMs: transferMs(size),
    signal,
    task,
  });
  if (done.status !== 201) return session.unexpected(done, task);
  await done.discard();
}

/**
 * Returns the answer to a request to mount a blob, or undefined when the registry refuses it. A registry that
 * cannot mount should begin an upload instead (distribution-spec, "Mounting a blob from another repository").
 * Some refuse the request, for example of a client whose token is not for the other repository.
 */
async function unlessRefused(asked: Promise<HttpAnswer>): Promise<HttpAnswer | undefined> {
  let answer: HttpAnswer;
  try {
    answer = await asked;
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'DISTRIBUTION_UNAUTHORIZED') return undefined;
    throw thrown;
  }
  if (answer.status < 400 || answer.status >= 500 || answer.status === 429) return answer;
  await answer.discard();
  return undefined;
}

function uploadTarget(answer: HttpAnswer, task: Task): URL {
  const target = URL.parse(answer.header('location') ?? '', answer.url.href);
  // Content and credentials are sent only where the caller sent them.
  if (answer.header('location') === undefined || target === null || target.origin !== answer.url.origin) {
    throw distributionError(
      'DISTRIBUTION_BAD_ANSWER',
      task,
      `${answer.url.host} returned no upload address at its own origin`,
    );
  }
  return target;
}
