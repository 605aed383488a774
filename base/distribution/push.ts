import { parseJson } from '../json/index.ts';
import { digestMismatch } from './body.ts';
import { record } from './descriptor.ts';
import { digestOf } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { mediaTypes, parseManifest } from './manifest.ts';
import { fallbackTag } from './referrers.ts';
import type { Session } from './session.ts';
import { addToSharedTag, orAbsent } from './shared-tag.ts';
import type { TagAccess } from './shared-tag.ts';
import type { RegistryRepository, SharedList } from './types.ts';
import type { Descriptor } from './descriptor.ts';
import type { KeyedQueue } from '../queues/index.ts';

/** Implements the pushing of manifests: distribution-spec §"Push". */
export function createPush(
  session: Session,
  read: Pick<RegistryRepository, 'manifest'>,
  takeTurns: KeyedQueue['run'],
  settle: number,
): Pick<RegistryRepository, 'pushManifest' | 'pushReferrer' | 'addUnderTag'> {
  const at = `${session.host}/${session.repository}`;

  const pushManifest: RegistryRepository['pushManifest'] = async (bytes, mediaType, { tag, signal } = {}) => {
    const digest = digestOf(bytes);
    const task: Task = {
      attempted: 'push manifest',
      on: tag === undefined ? `${at}@${digest}` : `${at}:${tag}`,
    };
    parseManifest(bytes, mediaType, task);
    if (tag !== undefined) checkTag(tag, task);
    return putManifest(tag ?? digest, bytes, { 'content-type': mediaType }, task, signal);
  };

  async function putManifest(
    name: string,
    bytes: Uint8Array,
    headers: Readonly<Record<string, string>>,
    task: Task,
    signal: AbortSignal | undefined,
    once = false,
  ): Promise<{ readonly digest: string; readonly subject?: string }> {
    const answer = await session.request({
      method: 'PUT',
      path: `manifests/${name}`,
      headers,
      body: bytes,
      signal,
      once,
      task,
    });
    if (answer.status !== 201 && answer.status !== 200) return session.unexpected(answer, task);
    await answer.discard();
    const digest = digestOf(bytes);
    const stored = answer.header('docker-content-digest');
    if (stored !== undefined && stored !== digest) throw digestMismatch(task, session.host, digest, stored);
    const subject = answer.header('oci-subject');
    return subject === undefined ? { digest } : { digest, subject };
  }

  const pushReferrer: RegistryRepository['pushReferrer'] = async (bytes, mediaType, { signal } = {}) => {
    const task: Task = { attempted: 'push referrer', on: `${at}@${digestOf(bytes)}` };
    const content = parseManifest(bytes, mediaType, task);
    if (content.subject === undefined)
      throw distributionError('DISTRIBUTION_BAD_MANIFEST', task, 'it has no subject', {
        fix: 'push it as a manifest',
      });
    const pushed = await pushManifest(bytes, mediaType, signal === undefined ? {} : { signal });
    if (pushed.subject === content.subject.digest) return { digest: pushed.digest, via: 'referrers' };
    const artifactType =
      content.artifactType ?? (content.kind === 'manifest' ? content.config.mediaType : undefined);
    const entry: Descriptor = {
      mediaType,
      digest: pushed.digest,
      size: bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(Object.keys(content.annotations).length === 0 ? {} : { annotations: content.annotations }),
    };
    await addUnderTag(
      fallbackTag(content.subject.digest),
      fallbackList(entry, task),
      signal === undefined ? {} : { signal },
    );
    return { digest: pushed.digest, via: 'fallback-tag' };
  };

  const addUnderTag: RegistryRepository['addUnderTag'] = (tag, list, { signal } = {}) => {
    const task: Task = { attempted: 'add an entry to the list under the tag', on: `${at}:${tag}` };
    checkTag(tag, task);
    const access: TagAccess = {
      read: () => orAbsent(read.manifest(tag, signal)),
      write: async (bytes, mediaType, over) => {
        parseManifest(bytes, mediaType, task);
        // Registries that support conditions refuse a lost race (RFC 9110, section 13.1); others ignore them.
        const condition =
          over === undefined ? { 'if-none-match': '*' } : over === '' ? {} : { 'if-match': over };
        await putManifest(tag, bytes, { 'content-type': mediaType, ...condition }, task, signal, true);
      },
    };
    return takeTurns(`${at}:${tag}`, () => addToSharedTag(access, list, settle, task, signal));
  };

  return { pushManifest, pushReferrer, addUnderTag };
}

function checkTag(tag: string, task: Task): void {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag))
    throw distributionError('DISTRIBUTION_BAD_REFERENCE', task, 'it is not a tag');
}

/**
 * The index under a fallback tag (distribution-spec, "Referrers Tag Schema"). Unknown entries and fields are
 * kept.
 */
function fallbackList(entry: Descriptor, task: Task): SharedList {
  const listOf = (bytes: Uint8Array): unknown =>
    record(parseJson(Buffer.from(bytes).toString('utf8')))?.['manifests'];
  return {
    mediaType: mediaTypes.ociIndex,
    added: [entry],
    entriesOf({ bytes, content }) {
      if (content.kind !== 'index')
        throw distributionError('DISTRIBUTION_REFUSED', task, 'an image already has the fallback tag');
      const entries = listOf(bytes);
      return Array.isArray(entries) ? (entries as unknown[]) : [];
    },
    keyOf: (one) => JSON.stringify(record(one)?.['digest'] ?? null),
    build: (manifests, fields) =>
      Promise.resolve(
        Buffer.from(
          JSON.stringify({ ...fields, schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }),
        ),
      ),
  };
}
