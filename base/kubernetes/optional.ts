import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError, tolerate } from '../errors/index.ts';
import { statusOf } from './api-errors.ts';
import type { ApiClient } from './api-client.ts';
import { follow, usualTiming } from './follow.ts';
import type { FollowTiming, Follower } from './follow.ts';
import { fieldsOf, listOf, textOf } from './object-fields.ts';
import type { ObjectFields } from './object-fields.ts';

/** A collection that a server may not have, because a CustomResourceDefinition brings it. */
export interface OptionalCollection {
  /**
   * Paths of versions of one API group, such as `/apis/policy.networking.k8s.io/v1alpha2`. Objects have the
   * same form in each. The first one that the server has is followed.
   */
  readonly versions: readonly [string, ...string[]];
  readonly resource: string;
  /** As in `Followed`. */
  readonly since?: string;
}

export interface OptionalTiming extends FollowTiming {
  /** How often a server is asked whether it has the collection now, in ms; up to a third more is random. */
  readonly again: number;
  /** How long it must be absent before its objects count as gone, in ms: a server that starts may lack it. */
  readonly absentFor: number;
}

export const usualOptionalTiming: OptionalTiming = { ...usualTiming, again: 45_000, absentFor: 10_000 };

const absent = 404;
/** Versions of a group that are searched. Groups have a few. */
const mostVersions = 16;

/**
 * Follows a collection as {@link follow} does, when the server has it, and notices when it is installed or
 * removed. While it is absent, it is an empty list. The discovery decides (Kubernetes API concepts, "API
 * Discovery"), because a user without rights for an absent collection is refused as for an existing one. A
 * collection that the server has in other versions only is not absent: its objects stay as they were last
 * known, and the follower receives KUBERNETES_VERSION_NOT_SERVED. Runs until the signal is aborted. Never
 * throws.
 */
export async function followOptional(
  client: ApiClient,
  { versions, resource, since }: OptionalCollection,
  follower: Follower,
  signal: AbortSignal,
  timing: OptionalTiming = usualOptionalTiming,
): Promise<void> {
  let absentSince: number | undefined;
  let isEmpty = false;
  let hasObjects = since !== undefined;
  let isFirst = true;
  let failures = 0;

  const find = async (asked: string): Promise<ObjectFields | undefined> => {
    return tolerate(
      (thrown) => statusOf(thrown) === absent,
      async () => fieldsOf(await client.get(asked, {}, signal)),
    );
  };
  const has = async (asked: string): Promise<boolean> =>
    listOf((await find(asked))?.['resources']).some((one) => fieldsOf(one)['name'] === resource);
  /**
   * Returns the path of the collection. @throws KUBERNETES_VERSION_NOT_SERVED when the server has the
   * collection in other versions only
   */
  const findPath = async (): Promise<string | undefined> => {
    for (const version of versions) if (await has(version)) return `${version}/${resource}`;
    const group = versions[0].slice(0, versions[0].lastIndexOf('/'));
    const others = listOf((await find(group))?.['versions'])
      .map((one) => textOf(fieldsOf(one)['version']))
      .filter((one) => /^[a-z0-9]{1,63}$/u.test(one))
      .slice(0, mostVersions);
    for (const other of others)
      if (!versions.includes(`${group}/${other}`) && (await has(`${group}/${other}`)))
        throw notServed(versions, resource, other);
    return undefined;
  };
  const pause = (ms: number): Promise<void> =>
    sleep(ms * (1 + Math.random() / 3), undefined, { signal }).catch(() => undefined);

  /** Follows until the server says that the collection is absent. */
  async function followExisting(path: string): Promise<void> {
    const ended = new AbortController();
    const end = (): void => ended.abort();
    signal.addEventListener('abort', end, { once: true });
    const watched: Follower = {
      ...follower,
      complete() {
        hasObjects = true;
        follower.complete();
      },
      failed(thrown, listing) {
        if (statusOf(thrown) === absent) end();
        else follower.failed(thrown, listing);
      },
    };
    const followed = { path, query: {}, ...(isFirst && since !== undefined && { since }) };
    isFirst = false;
    await follow(client, followed, watched, ended.signal, timing);
    signal.removeEventListener('abort', end);
  }

  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    try {
      const path = await findPath();
      if (path !== undefined) {
        [absentSince, isEmpty, failures] = [undefined, false, 0];
        const begun = performance.now();
        await followExisting(path);
        // The discovery and the resource disagree while a definition comes or goes.
        if (performance.now() - begun < timing.firstWait) await pause(timing.firstWait * 10);
        continue;
      }
      failures = 0;
      absentSince ??= performance.now();
      const isLasting = !hasObjects || performance.now() - absentSince >= timing.absentFor;
      if (isLasting && !isEmpty) {
        follower.begin();
        follower.complete();
        follower.reached();
        [isEmpty, hasObjects] = [true, false];
      }
      await pause(isLasting ? timing.again : Math.min(timing.absentFor, timing.again));
    } catch (thrown) {
      if (isOver()) return;
      failures += 1;
      follower.failed(thrown, true);
      await pause(Math.min(timing.longestWait, timing.firstWait * 2 ** Math.min(failures, 20)));
    }
  }
}

const notServed = (versions: readonly string[], resource: string, other: string): PortcullisError =>
  new PortcullisError({
    code: 'KUBERNETES_VERSION_NOT_SERVED',
    kind: 'unimplemented',
    attempted: `follow ${resource} of the API server`,
    on: versions.map((version) => `${version}/${resource}`).join(', '),
    why: `the API server has ${resource} in the version ${other}, but no longer in ${versions.length === 1 ? 'this version' : 'one of these versions'}`,
    fix: 'serve such a version in the CustomResourceDefinition too, or update Portcullis to a release that reads the other version',
  });
