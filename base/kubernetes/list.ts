import { expired, refused, statusOf } from './api-errors.ts';
import type { ApiClient, Query } from './api-client.ts';
import type { MessageFields } from './protobuf-fields.ts';

/**
 * One collection of the API, listed once and then watched (Kubernetes API concepts, "Efficient detection of
 * changes").
 */
export interface Followed {
  /** For example `/api/v1/services`. */
  readonly path: string;
  readonly query: Query;
  /**
   * A version of an earlier list or event. The first list is then at least as new, so that a server with an
   * outdated cache does not return earlier states. Absent: any version.
   */
  readonly since?: string;
  /**
   * The fields of an object that are read from a list. The list then comes as Protocol Buffers, if the server
   * has them for the collection: they need a third of the processor time of JSON. Absent: JSON.
   */
  readonly fields?: MessageFields;
}

/** Receives the objects of a list. */
export interface ListFollower {
  /**
   * A list begins. `listed` is called for each object, and `complete` after all objects. An object that is
   * not in the list is gone.
   */
  begin(): void;
  listed(object: unknown): void;
  /** A page ended: the objects that were listed since the last call are garbage now. */
  paged(): void;
  complete(): void;
}

/**
 * Reads all pages, at one version. After a page has expired (the server forgets it after minutes), reads
 * everything in one answer.
 * @param page objects in one answer. A server that answers from its cache sends all of them at once: items
 * are passed on as they arrive
 * @param from `cache`: a version that the server has in memory (`resourceVersion=0`, or `NotOlderThan` that
 * of `since`), so that thousands of nodes that start together do not ask etcd (Kubernetes API concepts,
 * "Semantics for get and list")
 * @returns the version, from which a stream of changes can begin
 * @throws as {@link ApiClient.get}
 */
export async function list(
  client: Pick<ApiClient, 'list'>,
  followed: Followed,
  follower: ListFollower,
  signal: AbortSignal,
  page: number,
  from: 'cache' | 'store' = 'store',
): Promise<string> {
  let limit: number | undefined = page;
  const { since } = followed;
  let version: Query =
    from === 'store'
      ? {}
      : since === undefined
        ? { resourceVersion: '0' }
        : { resourceVersion: since, resourceVersionMatch: 'NotOlderThan' };
  for (;;) {
    follower.begin();
    try {
      return await listPages(
        client,
        { ...followed, query: { ...followed.query, ...version } },
        follower,
        signal,
        limit,
      );
    } catch (thrown) {
      const status = statusOf(thrown);
      // The server does not have this version any more, for example because it was restored from a backup.
      const isUnknownVersion = status === tooNew && version['resourceVersionMatch'] !== undefined;
      if (!isUnknownVersion && (limit === undefined || status !== expired)) throw thrown;
      if (!isUnknownVersion) limit = undefined;
      version = {};
    }
  }
}

/**
 * Returns whether the server is at a version before this one: its etcd was restored from a backup. The server
 * would open a stream from this version, and leave out every change until it reaches the version again.
 * @throws as {@link ApiClient.get}
 */
export async function isAhead(
  client: Pick<ApiClient, 'list'>,
  { path, query }: Followed,
  version: string,
  signal: AbortSignal,
): Promise<boolean> {
  const head = await client.list(path, { ...query, limit: '1' }, () => undefined, signal);
  const newest = takePage(head, path).version;
  // Versions of a server that are not numbers have no order.
  return [version, newest].every((each) => /^\d+$/u.test(each)) && BigInt(version) > BigInt(newest);
}

/** @param limit objects in one answer; undefined: all of them */
async function listPages(
  client: Pick<ApiClient, 'list'>,
  { path, query, fields }: Followed,
  follower: ListFollower,
  signal: AbortSignal,
  limit: number | undefined,
): Promise<string> {
  let next = '';
  // The token of a further page has the version, and no other may be named.
  const { resourceVersion: _version, resourceVersionMatch: _match, ...further } = query;
  for (;;) {
    const asked = {
      ...(next === '' ? query : { ...further, continue: next }),
      ...(limit !== undefined && { limit: String(limit) }),
    };
    let listed = 0;
    const head = await client.list(
      path,
      asked,
      (object) => {
        follower.listed(object);
        listed += 1;
        if (listed % portion === 0) follower.paged();
      },
      signal,
      fields,
    );
    const page = takePage(head, path);
    follower.paged();
    next = page.next;
    if (next !== '') continue;
    follower.complete();
    return page.version;
  }
}

/** The server waits for a version that it does not have, and then answers "Too large resource version". */
const tooNew = 504;
/** The number of listed objects after which garbage is collected. */
const portion = 250;

function takePage(answer: unknown, path: string): { readonly version: string; readonly next: string } {
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
  return { version, next: typeof metadata?.continue === 'string' ? metadata.continue : '' };
}
