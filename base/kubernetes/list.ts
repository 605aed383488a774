import { expired, refused, statusOf } from './api-client.ts';
import type { ApiClient, Query } from './api-client.ts';

/**
 * One collection of the API, listed once and then watched (Kubernetes API concepts, "Efficient detection of
 * changes").
 */
export interface Followed {
  /** For example `/api/v1/services`. */
  readonly path: string;
  readonly query: Query;
}

/** Receives the objects of a list. */
export interface ListFollower {
  /**
   * A list begins. `listed` is called for each object, and `complete` after all objects. An object that is
   * not in the list is gone.
   */
  begin(): void;
  listed(object: unknown): void;
  /** A page ended: what was listed since the last call is garbage now. */
  paged(): void;
  complete(): void;
}

/**
 * Reads all pages, at one version. After a page has expired (the server forgets it after minutes), reads
 * everything in one answer.
 * @param page objects in one answer
 * @returns the version, from which a stream of changes can begin
 * @throws as {@link ApiClient.get}
 */
export async function list(
  client: Pick<ApiClient, 'get'>,
  followed: Followed,
  follower: ListFollower,
  signal: AbortSignal,
  page: number,
): Promise<string> {
  let limit: number | undefined = page;
  for (;;) {
    follower.begin();
    try {
      return await listPages(client, followed, follower, signal, limit);
    } catch (thrown) {
      if (limit === undefined || statusOf(thrown) !== expired) throw thrown;
      limit = undefined;
    }
  }
}

/** @param limit objects in one answer; undefined: all of them */
async function listPages(
  client: Pick<ApiClient, 'get'>,
  { path, query }: Followed,
  follower: ListFollower,
  signal: AbortSignal,
  limit: number | undefined,
): Promise<string> {
  let next = '';
  for (;;) {
    const asked = {
      ...query,
      ...(limit !== undefined && { limit: String(limit) }),
      ...(next !== '' && { continue: next }),
    };
    const page = takePage(await client.get(path, asked, signal), path, follower);
    follower.paged();
    next = page.next;
    if (next !== '') continue;
    follower.complete();
    return page.version;
  }
}

/** A function of its own, so that nothing references the page while the next one is requested. */
function takePage(
  answer: unknown,
  path: string,
  follower: ListFollower,
): { readonly version: string; readonly next: string } {
  const { items, metadata } = answer as {
    items?: unknown;
    metadata?: { resourceVersion?: unknown; continue?: unknown };
  };
  const version = metadata?.resourceVersion;
  if (
    (items !== undefined && items !== null && !Array.isArray(items)) ||
    typeof version !== 'string' ||
    version === ''
  )
    throw refused('the API server', path, 200, 'the answer is not a list of Kubernetes objects');
  for (const object of (items ?? []) as unknown[]) follower.listed(object);
  return { version, next: typeof metadata?.continue === 'string' ? metadata.continue : '' };
}
