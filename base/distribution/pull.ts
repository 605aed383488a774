import { parseJson } from '../json/index.ts';
import { createBlobPart } from './blob-part.ts';
import { createBlob } from './blob.ts';
import { contentType, digestMismatch, readDocument } from './body.ts';
import { digestOf, splitDigest } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { manifestByteLimit, mediaTypes, parseManifest } from './manifest.ts';
import { askAgain } from './retry.ts';
import type { Session } from './session.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { FetchedManifest, RegistryRepository } from './types.ts';
import type { Descriptor } from './descriptor.ts';

const accept = Object.values(mediaTypes).join(', ');
const manifestTypes: readonly string[] = Object.values(mediaTypes);
/** Generic types. For these, the mediaType field decides. */
const vagueTypes = ['', 'application/json', 'application/octet-stream', 'text/plain'];
const tagForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

export interface PullOptions {
  /** Milliseconds for one bounded document. */
  readonly documentTimeout: number;
  /** The number of attempts for a request whose answer breaks off. */
  readonly attempts: number;
  /** false: tags are not found here, and no request is sent for them. */
  readonly answersTags: boolean;
}

/** Implements reading: distribution-spec §"Pull". */
export function createPull(
  session: Session,
  { documentTimeout, attempts, answersTags }: PullOptions,
): Pick<RegistryRepository, 'resolve' | 'manifest' | 'blob' | 'blobPart' | 'blobBytes'> {
  const nameOf = (wanted: string): string =>
    `${session.host}/${session.repository}${wanted.includes(':') ? '@' : ':'}${wanted}`;
  const bounded = (signal: AbortSignal | undefined): AbortSignal => {
    const limit = AbortSignal.timeout(documentTimeout);
    return signal === undefined ? limit : AbortSignal.any([signal, limit]);
  };

  const blob = createBlob(session, attempts);

  /** @throws PortcullisError DISTRIBUTION_NOT_FOUND for a tag at a mirror that is not asked about tags */
  function checkTag(wanted: string, task: Task): void {
    if (answersTags || splitDigest(wanted) !== undefined) return;
    throw distributionError(
      'DISTRIBUTION_NOT_FOUND',
      task,
      `the mirror ${session.host} is configured for digests only, and this is a tag`,
    );
  }

  async function resolve(wanted: string, signal?: AbortSignal): Promise<Descriptor> {
    const task: Task = { attempted: 'resolve', on: nameOf(wanted) };
    checkName(wanted, task);
    checkTag(wanted, task);
    const limit = bounded(signal);
    const answer = await askAgain(attempts, limit, () =>
      session.request({
        method: 'HEAD',
        path: `manifests/${wanted}`,
        headers: { accept },
        signal: limit,
        task,
      }),
    );
    await answer.discard();
    const digest = answer.header('docker-content-digest') ?? '';
    const size = answer.length;
    const mediaType = contentType(answer);
    const { algorithm = 'sha256' } = splitDigest(wanted) ?? {};
    if (
      answer.status === 200 &&
      splitDigest(digest)?.algorithm === algorithm &&
      size !== undefined &&
      manifestTypes.includes(mediaType)
    ) {
      if (splitDigest(wanted) !== undefined && wanted !== digest)
        throw digestMismatch(task, session.host, wanted, digest);
      return { mediaType, digest, size };
    }
    if (answer.status === 404) return session.unexpected(answer, task);
    // Some registries refuse HEAD, omit the headers, or name a tag by a digest that nothing else here uses.
    const fetched = await manifest(wanted, signal);
    return { mediaType: fetched.mediaType, digest: fetched.digest, size: fetched.bytes.length };
  }

  async function manifest(
    wanted: string | Pick<Descriptor, 'digest' | 'size' | 'mediaType'>,
    signal?: AbortSignal,
  ): Promise<FetchedManifest> {
    const name = typeof wanted === 'string' ? wanted : wanted.digest;
    const task: Task = { attempted: 'fetch manifest', on: nameOf(name) };
    checkName(name, task);
    checkTag(name, task);
    if (typeof wanted !== 'string' && wanted.size > manifestByteLimit) {
      throw distributionError(
        'DISTRIBUTION_TOO_LARGE',
        task,
        `its descriptor states ${wanted.size} bytes, and at most ${manifestByteLimit} are read`,
      );
    }
    const limit = bounded(signal);
    const { answer, bytes } = await askAgain(attempts, limit, async () => {
      const answered = await session.request({
        method: 'GET',
        path: `manifests/${name}`,
        headers: { accept },
        signal: limit,
        task,
      });
      if (answered.status !== 200) return session.unexpected(answered, task);
      return { answer: answered, bytes: await readDocument(answered, manifestByteLimit, task, limit) };
    });
    const { digest, mediaType } = checkManifest(wanted, { host: session.host, answer, bytes }, task);
    const etag = answer.header('etag');
    return {
      bytes,
      mediaType,
      digest,
      content: parseManifest(bytes, mediaType, task),
      ...(etag === undefined ? {} : { etag }),
    };
  }

  async function blobBytes(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    limit: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    if (descriptor.size > limit) {
      const task: Task = { attempted: 'fetch blob', on: nameOf(descriptor.digest) };
      throw distributionError(
        'DISTRIBUTION_TOO_LARGE',
        task,
        `its descriptor states ${descriptor.size} bytes, and at most ${limit} are read`,
      );
    }
    const bytes = Buffer.alloc(descriptor.size);
    let filled = 0;
    for await (const chunk of await blob(descriptor, bounded(signal))) {
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
    return bytes;
  }

  return { resolve, manifest, blob, blobPart: createBlobPart(session, attempts), blobBytes };
}

/**
 * Checks a manifest against the digest or descriptor that was asked for, and against what the registry says
 * of it.
 */
function checkManifest(
  wanted: string | Pick<Descriptor, 'digest' | 'size' | 'mediaType'>,
  { host, answer, bytes }: { readonly host: string; readonly answer: HttpAnswer; readonly bytes: Uint8Array },
  task: Task,
): Pick<Descriptor, 'digest' | 'mediaType'> {
  const name = typeof wanted === 'string' ? wanted : wanted.digest;
  if (typeof wanted !== 'string' && bytes.length !== wanted.size) {
    throw distributionError(
      'DISTRIBUTION_SIZE_MISMATCH',
      task,
      `${host} sent ${bytes.length} bytes, but the descriptor states ${wanted.size}`,
      {
        details: { digest: name, size: wanted.size, seen: bytes.length },
      },
    );
  }
  const expected = splitDigest(name);
  const digest = digestOf(bytes, expected?.algorithm);
  if (expected !== undefined && digest !== name) throw digestMismatch(task, host, name, digest);
  const announced = answer.header('docker-content-digest');
  if (announced?.startsWith('sha256:') === true && expected?.algorithm !== 'sha512' && announced !== digest) {
    throw digestMismatch(task, host, announced, digest);
  }
  const mediaType = manifestType(answer, bytes, task);
  if (typeof wanted !== 'string' && wanted.mediaType !== mediaType) {
    throw distributionError(
      'DISTRIBUTION_BAD_MANIFEST',
      task,
      `its descriptor has the media type "${wanted.mediaType}", but ${host} reports "${mediaType}"`,
    );
  }
  return { digest, mediaType };
}

/** Only tags and digests may become part of a path. */
function checkName(name: string, task: Task): void {
  if (splitDigest(name) !== undefined || tagForm.test(name)) return;
  throw distributionError('DISTRIBUTION_BAD_REFERENCE', task, 'it is neither a tag nor a digest');
}

function manifestType(answer: HttpAnswer, bytes: Uint8Array, task: Task): string {
  const type = contentType(answer);
  if (!vagueTypes.includes(type)) return type;
  const said = /"mediaType"/.test(Buffer.from(bytes).toString('latin1')) ? mediaTypeField(bytes) : undefined;
  if (said !== undefined && manifestTypes.includes(said)) return said;
  throw distributionError(
    'DISTRIBUTION_BAD_ANSWER',
    task,
    `${answer.url.host} answers with Content-Type "${type}", which is not a manifest`,
  );
}

function mediaTypeField(bytes: Uint8Array): string | undefined {
  try {
    const { mediaType } = parseJson(Buffer.from(bytes).toString('utf8')) as { mediaType?: unknown };
    return typeof mediaType === 'string' ? mediaType : undefined;
  } catch {
    return undefined;
  }
}
