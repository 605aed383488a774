import { setTimeout as sleep } from 'node:timers/promises';
import { expired, forbidden, refused, retryAfterOf, statusOf, tooManyRequests } from './api-errors.ts';
import type { ApiClient } from './api-client.ts';
import { isAhead, list } from './list.ts';
import type { Followed, ListFollower } from './list.ts';

/** Receives the events. Objects are as the API sends them, and none is kept here. */
export interface Follower extends ListFollower {
  /** The stream of changes is open. */
  reached(): void;
  changed(object: unknown): void;
  removed(object: unknown): void;
  /** Everything until this version was passed on. */
  version?(reached: string): void;
  /** An attempt failed and is repeated. `listing`: from the beginning. */
  failed(thrown: unknown, listing: boolean): void;
}

export interface FollowTiming {
  /** Objects in one answer. */
  readonly page: number;
  /**
   * The server is asked to end a stream after this many seconds, or up to twice as many, so that nodes do not
   * all reconnect at once.
   */
  readonly streamSeconds: number;
  /**
   * A stream without any data for this long is considered dead, in ms. Servers send bookmarks about once a
   * minute.
   */
  readonly silence: number;
  /** The first wait between attempts, in ms. It doubles each time, and half of it is random. */
  readonly firstWait: number;
  readonly longestWait: number;
  /**
   * A server that has just started answers 403 until it has read its roles. If it served this collection
   * before, a refusal is reported when it lasts longer than this, in ms.
   */
  readonly startUp: number;
}

export const usualTiming: FollowTiming = {
  page: 250,
  streamSeconds: 300,
  silence: 150_000,
  firstWait: 200,
  longestWait: 30_000,
  startUp: 10_000,
};

/**
 * How often the server may fail from one version on before a new list is requested. An unreachable server
 * says nothing about the version.
 */
const patienceOfVersion = 5;

/** Runs until the signal is aborted. Never throws. */
export async function follow(
  client: ApiClient,
  followed: Followed,
  follower: Follower,
  signal: AbortSignal,
  timing: FollowTiming = usualTiming,
): Promise<void> {
  const { path, query } = followed;
  let version: string | undefined;
  /** The server was away since it reported the version, and may have an earlier state now. */
  let wasAway = false;
  let failures = 0;
  let failuresOfVersion = 0;
  /** Versions in a row that had expired as soon as they were listed. */
  let expirations = 0;
  let opened = false;
  let wasListed = false;
  let deniedSince: number | undefined;

  async function watch(from: string): Promise<void> {
    const seconds = Math.round(timing.streamSeconds * (1 + Math.random()));
    await client.watch(
      path,
      { ...query, resourceVersion: from, allowWatchBookmarks: 'true', timeoutSeconds: String(seconds) },
      { silence: timing.silence, whole: (seconds + 15) * 1000 },
      () => {
        opened = true;
        deniedSince = undefined;
        follower.reached();
      },
      (event) => {
        const { type, object, reached } = readEvent(event, path);
        if (type === 'ADDED' || type === 'MODIFIED') follower.changed(object);
        else if (type === 'DELETED') follower.removed(object);
        version = reached;
        follower.version?.(reached);
        failures = 0;
        failuresOfVersion = 0;
        expirations = 0;
      },
      signal,
    );
  }

  /** Returns whether a server that starts may answer so. */
  function mayBeStarting(status: number | undefined): boolean {
    deniedSince = status === forbidden && wasListed ? (deniedSince ?? performance.now()) : undefined;
    return deniedSince !== undefined && performance.now() - deniedSince < timing.startUp;
  }

  const isOver = (): boolean => signal.aborted;
  const wasOpened = (): boolean => opened;
  while (!isOver()) {
    const begun = performance.now();
    let asked = 0;
    let isFresh = version === undefined;
    opened = false;
    try {
      if (version !== undefined && wasAway && (await isAhead(client, followed, version, signal))) {
        version = undefined;
        isFresh = true;
      }
      if (version === undefined) {
        // A version that the server does not have any more is not in its cache either.
        const from = wasListed ? 'store' : 'cache';
        version = await list(client, followed, follower, signal, timing.page, from);
        follower.version?.(version);
        wasListed = true;
        failures = 0;
        failuresOfVersion = 0;
      }
      wasAway = false;
      await watch(version);
      // A stream that ended normally, unless the server ends each one at once.
      if (performance.now() - begun > 1000) continue;
      failures++;
    } catch (thrown) {
      if (isOver()) return;
      failures++;
      const status = statusOf(thrown);
      if (wasOpened()) failuresOfVersion++;
      else if (status !== expired && status !== tooManyRequests) wasAway = true;
      if (status === expired || failuresOfVersion > patienceOfVersion) version = undefined;
      if (!mayBeStarting(status)) follower.failed(thrown, version === undefined);
      if (status === expired) {
        expirations = isFresh ? expirations + 1 : 0;
        // The version was only too old: the list is requested at once, however long the server was away.
        if (expirations <= 1) continue;
        failures = expirations;
      }
      asked = retryAfterOf(thrown);
    }
    const wait =
      Math.min(timing.longestWait, timing.firstWait * 2 ** Math.min(failures - 1, 20)) *
      (0.5 + Math.random() / 2);
    await sleep(Math.max(wait, asked), undefined, { signal }).catch(() => undefined);
  }
}

/** Returns an event of a watch, and the version that it brings. @throws PortcullisError if it is an error */
function readEvent(
  event: unknown,
  path: string,
): { readonly type: unknown; readonly object: unknown; readonly reached: string } {
  const { type, object } = event as {
    type?: unknown;
    object?: { metadata?: { resourceVersion?: unknown }; code?: unknown; message?: unknown };
  };
  if (type === 'ERROR') {
    const code = typeof object?.code === 'number' ? object.code : 500;
    const message = typeof object?.message === 'string' ? object.message.slice(0, 500) : '';
    throw refused('the API server', path, code, message);
  }
  const reached = object?.metadata?.resourceVersion;
  if (typeof reached !== 'string' || reached === '')
    throw refused('the API server', path, 200, 'an event came without a version');
  return { type, object, reached };
}
