import { parseJson } from '../json/index.ts';
import { contentType, readBody } from './body.ts';
import { parseDescriptor, record } from './descriptor.ts';
import { splitDigest } from './digest.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { isPortcullisError } from '../errors/index.ts';
import { manifestByteLimit, mediaTypes } from './manifest.ts';
import { askAgain } from './retry.ts';
import type { Session } from './session.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { Referrers, RegistryRepository } from './types.ts';
import type { Descriptor } from './descriptor.ts';

const descriptorLimit = 1000;
/** Pages that are read of one listing. */
export const referrerPages = 20;
/** Statuses with which registries without the API answer a request to its path. */
const withoutApi = [400, 404, 405, 501];

/**
 * Returns the tag under which registries without the API keep the list: algorithm, and at most 64 digits
 * (distribution-spec, "Referrers Tag Schema").
 */
export function fallbackTag(digest: string): string {
  const { algorithm = '', hex = '' } = splitDigest(digest) ?? {};
  return `${algorithm}-${hex.slice(0, 64)}`;
}

/** Remembers whether registries have the referrers API. An answer of the registry is always preferred. */
export interface ApiMemory {
  lacksApi(): boolean;
  note(lacksApi: boolean): void;
}

/**
 * Implements the listing of referrers: distribution-spec §"Listing Referrers".
 * @param memory of the last answer of this registry. If it had no API, the fallback tag is requested at the
 * same time as the API, which saves a round trip
 */
export function createReferrers(
  session: Session,
  manifest: RegistryRepository['manifest'],
  documentTimeout: number,
  attempts: number,
  memory: ApiMemory,
): RegistryRepository['referrers'] {
  return async (digest, options = {}) => {
    const { artifactType, limit = descriptorLimit } = options;
    const task: Task = {
      attempted: 'list referrers of',
      on: `${session.host}/${session.repository}@${digest}`,
    };
    if (splitDigest(digest) === undefined)
      throw distributionError('DISTRIBUTION_BAD_DIGEST', task, 'it is not a digest');
    const timeout = AbortSignal.timeout(documentTimeout);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);

    const found: Descriptor[] = [];
    let looked = 0;
    // Every entry counts: a page has room for two million that are no descriptors.
    const take = (entries: readonly unknown[]): boolean => {
      for (const entry of entries) {
        if (looked >= limit) return false;
        looked += 1;
        const descriptor = parseDescriptor(entry);
        if (typeof descriptor === 'string') continue;
        if (artifactType === undefined || descriptor.artifactType === artifactType) found.push(descriptor);
      }
      return true;
    };

    const query = artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(artifactType)}`;
    const readPageAt = (path: string | URL, isFirst: boolean): Promise<Page | undefined> =>
      askAgain(attempts, signal, () => fetchPage(session, path, isFirst, signal, task));
    const first = await firstPage(
      () => readPageAt(`referrers/${digest}${query}`, true),
      (also) => fallback(digest, manifest, also === undefined ? signal : AbortSignal.any([signal, also])),
      memory,
    );
    if ('fallback' in first)
      return { via: 'fallback-tag', complete: take(first.fallback), descriptors: found };
    let read: Page | undefined = first;
    for (let page = 1; read !== undefined; page++) {
      if (!take(read.entries)) return { via: 'referrers', descriptors: found, complete: false };
      if (read.next === undefined) break;
      if (page >= referrerPages) return { via: 'referrers', descriptors: found, complete: false };
      read = await readPageAt(read.next, false);
    }
    return { via: 'referrers', descriptors: found, complete: true } satisfies Referrers;
  };
}

/** Returns the first page of the API, or the list under the fallback tag if the registry has no API. */
async function firstPage(
  readApi: () => Promise<Page | undefined>,
  readFallback: (also?: AbortSignal) => Promise<readonly Descriptor[]>,
  memory: ApiMemory,
): Promise<Page | { readonly fallback: readonly Descriptor[] }> {
  const unneeded = new AbortController();
  const early = memory.lacksApi() ? readFallback(unneeded.signal) : undefined;
  // It is awaited only if the registry still has no API.
  early?.catch(() => undefined);
  let page: Page | undefined;
  try {
    page = await readApi();
  } catch (thrown) {
    unneeded.abort();
    throw thrown;
  }
  memory.note(page === undefined);
  if (page === undefined) return { fallback: await (early ?? readFallback()) };
  unneeded.abort();
  return page;
}

interface Page {
  /** Entries that are not descriptors are omitted later: they cannot be evidence for anything. */
  readonly entries: readonly unknown[];
  readonly next: URL | undefined;
}

/** Returns nothing if the registry has no such API, which only the first page shows. */
async function fetchPage(
  session: Session,
  path: string | URL,
  isFirst: boolean,
  signal: AbortSignal,
  task: Task,
): Promise<Page | undefined> {
  const answer = await session.request({
    method: 'GET',
    path,
    headers: { accept: mediaTypes.ociIndex },
    signal,
    task,
  });
  if (isFirst && withoutApi.includes(answer.status)) {
    await answer.discard();
    return undefined;
  }
  if (answer.status !== 200) return session.unexpected(answer, task);
  const type = contentType(answer);
  if (type !== mediaTypes.ociIndex && type !== 'application/json') {
    answer.destroy();
    throw distributionError(
      'DISTRIBUTION_BAD_ANSWER',
      task,
      `${session.host} answers with Content-Type "${type}", which is not a list of referrers`,
    );
  }
  const next = nextPage(answer, task);
  return {
    entries: readPage(await readBody(answer, manifestByteLimit, task, signal), session.host, task),
    next,
  };
}

async function fallback(
  digest: string,
  manifest: RegistryRepository['manifest'],
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  try {
    const { content } = await manifest(fallbackTag(digest), signal);
    // An image may have this tag. An image is not a list.
    return content.kind === 'index' ? content.manifests : [];
  } catch (error) {
    if (isPortcullisError(error) && error.code === 'DISTRIBUTION_NOT_FOUND') return [];
    throw error;
  }
}

function readPage(bytes: Uint8Array, host: string, task: Task): readonly unknown[] {
  let manifests: unknown;
  try {
    manifests = record(parseJson(Buffer.from(bytes).toString('utf8')))?.['manifests'];
  } catch {
    manifests = undefined;
  }
  if (manifests === null) return [];
  if (!Array.isArray(manifests))
    throw distributionError(
      'DISTRIBUTION_BAD_ANSWER',
      task,
      `${host} answers with JSON that is not a list of referrers`,
    );
  return manifests;
}

/** Returns the next page: Link: <…>; rel="next" (RFC 8288), of the same origin only. */
function nextPage(answer: HttpAnswer, task: Task): URL | undefined {
  const match = /<([^>]{1,4096})>[^,]*;\s*rel="?next"?/i.exec(answer.headerValues('link').join(', '));
  if (match?.[1] === undefined) return undefined;
  const next = URL.parse(match[1], answer.url.href);
  if (next === null || next.origin !== answer.url.origin) {
    answer.destroy();
    throw distributionError(
      'DISTRIBUTION_BAD_ANSWER',
      task,
      `${answer.url.host} links to a next page at another origin`,
    );
  }
  return next;
}
