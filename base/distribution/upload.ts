import { codeIs, tolerate } from '../errors/index.ts';
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
/** The limit for the body of a request in nginx, unless it is configured. */
const chunkBytes = 1024 * 1024;
/** The largest chunk that a registry can require, because a chunk is in memory. */
const mostChunkBytes = 16 * 1024 * 1024;

/**
 * Implements the pushing of blobs: distribution-spec §"Pushing blobs", each in one POST and one PUT, unless
 * the repository has the blob, or in chunks if this PUT is too large for a proxy before the registry. The
 * name of a blob is its digest, so that an upload whose connection breaks is repeated from its beginning.
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
  blob: Blob,
  task: Task,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { descriptor, body, mountFrom } = blob;
  const { digest, size } = descriptor;
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
  if (done.status === 413 && size > chunkBytes) {
    await done.discard();
    const chunked = await begin('');
    if (chunked.status !== 202) return session.unexpected(chunked, task);
    return uploadChunks(session, chunked, blob, task, signal);
  }
  if (done.status !== 201) return session.unexpected(done, task);
  await done.discard();
}

/** Uploads a blob in requests of limited size (distribution-spec, "Pushing a blob in chunks"). */
async function uploadChunks(
  session: Session,
  start: HttpAnswer,
  { descriptor: { digest, size }, body }: Blob,
  task: Task,
  signal: AbortSignal | undefined,
): Promise<void> {
  const least = Number(start.header('oci-chunk-min-length') ?? 0) || 0;
  const length = Math.min(Math.max(chunkBytes, least), mostChunkBytes);
  const type = 'application/octet-stream';
  let target = uploadTarget(start, task);
  await start.discard();
  let at = 0;
  for await (const chunk of chunksOf(body, length)) {
    const headers = {
      'content-type': type,
      'content-length': String(chunk.length),
      'content-range': `${at}-${at + chunk.length - 1}`,
    };
    const totalMs = transferMs(chunk.length);
    const sent = { method: 'PATCH', path: target, headers, body: chunk, totalMs, signal, task } as const;
    const taken = await session.request(sent);
    if (taken.status !== 202) return session.unexpected(taken, task);
    target = uploadTarget(taken, task);
    await taken.discard();
    at += chunk.length;
  }
  target.searchParams.set('digest', digest);
  const headers = { 'content-type': type, 'content-length': '0' };
  const totalMs = transferMs(size);
  const done = await session.request({ method: 'PUT', path: target, headers, totalMs, signal, task });
  if (done.status !== 201) return session.unexpected(done, task);
  await done.discard();
}

/**
 * Yields a body in chunks of this length; the last one may be shorter. A chunk is valid until the next one.
 */
async function* chunksOf(body: RequestBody, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  const chunk = Buffer.allocUnsafe(length);
  let filled = 0;
  for await (const piece of typeof body === 'function' ? body() : [body]) {
    for (let from = 0; from < piece.length;) {
      const to = Math.min(piece.length, from + length - filled);
      chunk.set(piece.subarray(from, to), filled);
      filled += to - from;
      from = to;
      if (filled < length) continue;
      yield chunk;
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}

/**
 * Returns the answer to a request to mount a blob, or undefined when the registry refuses it. A registry that
 * cannot mount should begin an upload instead (distribution-spec, "Mounting a blob from another repository").
 * Some refuse the request, for example of a client whose token is not for the other repository.
 */
async function unlessRefused(asked: Promise<HttpAnswer>): Promise<HttpAnswer | undefined> {
  const answer = await tolerate(codeIs('DISTRIBUTION_UNAUTHORIZED'), () => asked);
  if (answer === undefined) return undefined;
  if (answer.status < 400 || answer.status >= 500 || answer.status === 429) return answer;
  await answer.discard();
  return undefined;
}

function uploadTarget(answer: HttpAnswer, task: Task): URL {
  const { url } = answer;
  const location = answer.header('location');
  const target = location === undefined ? null : URL.parse(location, url.href);
  // Content and credentials are sent only where the caller sent them.
  if (target?.origin === url.origin) return target;
  const why = `${url.host} returned no upload address at its own origin`;
  if (target === null) throw distributionError('DISTRIBUTION_BAD_ANSWER', task, why);
  const isPlain =
    url.protocol === 'https:' && target.protocol === 'http:' && target.hostname === url.hostname;
  throw distributionError('DISTRIBUTION_BAD_ANSWER', task, `${why}, but ${target.origin}`, {
    ...(isPlain && {
      fix: 'let the proxy in front of the registry send X-Forwarded-Proto: https, or set http.relativeurls of the registry',
    }),
  });
}
