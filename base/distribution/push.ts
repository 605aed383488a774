import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';
import { digestMismatch } from './body.ts';
import { record } from './descriptor.ts';
import { digestOf } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { mediaTypes, parseManifest } from './manifest.ts';
import { fallbackTag } from './referrers.ts';
import type { Session } from './session.ts';
import { discard } from './transport.ts';
import type { HttpAnswer } from './transport.ts';
import type { Descriptor, RegistryRepository } from './types.ts';

/** Runs a task after every earlier one of the same key. */
export type TakeTurns = <T>(key: string, task: () => Promise<T>) => Promise<T>;

export function createTurns(): TakeTurns {
  const last = new Map<string, Promise<unknown>>();
  return (key, task) => {
    const mine = (last.get(key) ?? Promise.resolve()).then(task, task);
    const settled: Promise<unknown> = mine
      .catch(() => undefined)
      .then(() => {
        if (last.get(key) === settled) last.delete(key);
      });
    last.set(key, settled);
    return mine;
  };
}

/** Writers in other processes race for a fallback tag: a loser sees it on reading back, and tries again. */
const fallbackAttempts = 8;

/** Writing: distribution-spec §"Push". */
export function createPush(
  session: Session,
  read: Pick<RegistryRepository, 'manifest'>,
  takeTurns: TakeTurns,
): Pick<RegistryRepository, 'pushBlob' | 'pushManifest' | 'pushReferrer'> {
  const at = `${session.host}/${session.repository}`;

  const pushBlob: RegistryRepository['pushBlob'] = async (bytes, { mediaType = 'application/octet-stream', signal } = {}) => {
    const digest = digestOf(bytes);
    const task: Task = { attempted: 'push blob', on: `${at}@${digest}` };
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length };
    const present = await session.request({ method: 'HEAD', path: `blobs/${digest}`, signal, task });
    await discard(present);
    if (present.status === 200) return descriptor;
    const start = await session.request({ method: 'POST', path: 'blobs/uploads/', headers: { 'content-length': '0' }, signal, task });
    if (start.status !== 202) return session.unexpected(start, task);
    const target = uploadTarget(start, task);
    await discard(start);
    target.searchParams.set('digest', digest);
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes.length) };
    const done = await session.request({ method: 'PUT', path: target, headers, body: bytes, signal, task });
    if (done.status !== 201) return session.unexpected(done, task);
    await discard(done);
    return descriptor;
  };

  const pushManifest: RegistryRepository['pushManifest'] = async (bytes, mediaType, { tag, signal } = {}) => {
    const digest = digestOf(bytes);
    const task: Task = { attempted: 'push manifest', on: tag === undefined ? `${at}@${digest}` : `${at}:${tag}` };
    parseManifest(bytes, mediaType, task);
    if (tag !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag))
      throw distributionError('DISTRIBUTION_BAD_REFERENCE', task, 'that is no tag');
    const answer = await session.request({
      method: 'PUT',
      path: `manifests/${tag ?? digest}`,
      headers: { 'content-type': mediaType },
      body: bytes,
      signal,
      task,
    });
    if (answer.status !== 201 && answer.status !== 200) return session.unexpected(answer, task);
    await discard(answer);
    const stored = answer.header('docker-content-digest');
    if (stored !== undefined && stored !== digest) throw digestMismatch(task, session.host, digest, stored);
    const subject = answer.header('oci-subject');
    return subject === undefined ? { digest } : { digest, subject };
  };

  const pushReferrer: RegistryRepository['pushReferrer'] = async (bytes, mediaType, { signal } = {}) => {
    const task: Task = { attempted: 'push referrer', on: `${at}@${digestOf(bytes)}` };
    const content = parseManifest(bytes, mediaType, task);
    if (content.subject === undefined)
      throw distributionError('DISTRIBUTION_BAD_MANIFEST', task, 'it has no subject', { fix: 'push it as a manifest' });
    const pushed = await pushManifest(bytes, mediaType, signal === undefined ? {} : { signal });
    if (pushed.subject === content.subject.digest) return { digest: pushed.digest, via: 'referrers' };
    const artifactType = content.artifactType ?? (content.kind === 'manifest' ? content.config.mediaType : undefined);
    const entry: Descriptor = {
      mediaType,
      digest: pushed.digest,
      size: bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(Object.keys(content.annotations).length === 0 ? {} : { annotations: content.annotations }),
    };
    const { digest: subject } = content.subject;
    await takeTurns(`${at}@${subject}`, () => addToFallback(subject, entry, task, signal));
    return { digest: pushed.digest, via: 'fallback-tag' };
  };

  /**
   * Read, add, write, read back. The protocol has no compare-and-swap: writers of this client take turns, and another process that read before us and
   * writes after our reading back can still drop the entry.
   */
  async function addToFallback(subject: string, entry: Descriptor, task: Task, signal: AbortSignal | undefined): Promise<void> {
    const tag = fallbackTag(subject);
    for (let attempt = 0; attempt < fallbackAttempts; attempt++) {
      const entries = await fallbackEntries(tag, task, signal);
      if (entries.some((one) => record(one)?.['digest'] === entry.digest)) return;
      const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [...entries, entry] };
      await pushManifest(Buffer.from(JSON.stringify(index)), mediaTypes.ociIndex, signal === undefined ? { tag } : { tag, signal });
      if (attempt > 0) await sleep(Math.random() * 20 * 2 ** attempt);
    }
    const left = await fallbackEntries(tag, task, signal);
    if (left.some((one) => record(one)?.['digest'] === entry.digest)) return;
    throw distributionError('DISTRIBUTION_REFUSED', task, `the list at ${at}:${tag} was overwritten by others ${fallbackAttempts} times`, {
      fix: 'try again when fewer write to it',
    });
  }

  /** The entries as they stand, with fields we do not know kept. */
  async function fallbackEntries(tag: string, task: Task, signal: AbortSignal | undefined): Promise<readonly unknown[]> {
    try {
      const { bytes, content } = await read.manifest(tag, signal);
      if (content.kind !== 'index') throw distributionError('DISTRIBUTION_REFUSED', task, `the tag ${at}:${tag} is taken by an image`);
      const { manifests } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { manifests: unknown[] };
      return manifests;
    } catch (error) {
      if (isPortcullisError(error) && error.code === 'DISTRIBUTION_NOT_FOUND') return [];
      throw error;
    }
  }

  return { pushBlob, pushManifest, pushReferrer };
}

function uploadTarget(answer: HttpAnswer, task: Task): URL {
  const target = URL.parse(answer.header('location') ?? '', answer.url.href);
  // Content and credentials go only where the caller sent them.
  if (answer.header('location') === undefined || target === null || target.origin !== answer.url.origin) {
    throw distributionError('DISTRIBUTION_BAD_ANSWER', task, `${answer.url.host} names no place of its own for the upload`);
  }
  return target;
}
