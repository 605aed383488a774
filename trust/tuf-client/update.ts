import { isPortcullisError, tolerate } from '../../base/errors/index.ts';
import { isUnavailable, tufFailure } from '../tuf/failure.ts';
import type { FileMeta } from '../tuf-metadata/model.ts';
import {
  fileMetaOf,
  keptSnapshot,
  keptTargets,
  keptTimestamp,
  nextRoot,
  refuseExpiredRoot,
  trustRoot,
  withSnapshot,
  withTargets,
  withTimestamp,
} from '../tuf/trusted-set.ts';
import { searchTarget } from '../tuf/search.ts';
import type { Current, FoundTarget, RoleAsked, Search } from '../tuf/search.ts';
import type { TrustedSet } from '../tuf/trusted-set.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { metadataName } from './metadata-names.ts';
import { defaultLimits } from './source.ts';
import type { TufLimits, TufSource, TufStore } from './source.ts';

/**
 * One update. Its reference time is fixed, and its set of trusted metadata grows until it completes (TUF
 * specification 1.0.34, section 5).
 */
export interface TufUpdate {
  readonly trusted: TrustedSet;
  /**
   * Searches for the target in the order of the delegations, and loads the roles on the way.
   * @returns undefined when the repository has signed no such target
   * @throws the codes of trusted-set.ts and of the source
   */
  find(path: string): Promise<FoundTarget | undefined>;
  /** Runs any other search over the roles; one at a time. @throws as `find` */
  run<T>(search: (current: Current) => Search<T>): Promise<T>;
}

export interface UpdateInput {
  readonly dialect: Dialect;
  readonly source: TufSource;
  /** Holds at least `root`, the initial trusted root. */
  readonly store: TufStore;
  readonly now: Date;
  readonly limits?: Partial<TufLimits>;
}

/**
 * Updates root, timestamp, snapshot and targets. Verified metadata is kept immediately; a refused file
 * changes nothing.
 * @throws the codes of trusted-set.ts and of the source; TRUST_TUF_TOO_MANY_ROOTS · TRUST_TUF_MISSING
 */
export async function updateMetadata(input: UpdateInput): Promise<TufUpdate> {
  const { source, store, now, dialect } = input;
  const limits = { ...defaultLimits, ...input.limits };
  let trusted = await newestRoot(input, limits);

  const required = (name: string, role: string, most: number): Promise<Buffer> =>
    fetchRequired(source, name, role, most);
  const sizeOf = (role: string, meta: FileMeta): number => sizeLimit(role, meta, limits);

  const bringTimestamp = async (): Promise<void> => {
    const kept = await store.load('timestamp');
    if (kept !== undefined) trusted = keptTimestamp(trusted, kept);
    const before = trusted.timestamp;
    trusted = withTimestamp(
      trusted,
      await required('timestamp.json', 'timestamp', limits.timestampBytes),
      now,
    );
    if (trusted.timestamp !== undefined && trusted.timestamp !== before)
      await store.save('timestamp', trusted.timestamp.bytes);
  };

  const bringSnapshot = async (): Promise<void> => {
    const meta = trusted.timestamp?.signed.snapshot;
    if (meta === undefined) return;
    const kept = await store.load('snapshot');
    if (kept !== undefined) {
      trusted = keptSnapshot(trusted, kept);
      const existing =
        trusted.snapshot === undefined ? undefined : attempt(() => withSnapshot(trusted, kept, now));
      if (existing !== undefined) {
        trusted = existing;
        return;
      }
    }
    const name = metadataName(dialect, 'snapshot', meta, trusted.root.signed.consistentSnapshot);
    const bytes = await required(name, 'snapshot', sizeOf('snapshot', meta));
    trusted = withSnapshot(trusted, bytes, now);
    await store.save('snapshot', bytes);
  };

  /** Loads a role. A role verified for one delegating role is verified again for another one. */
  const verified = new Set<string>();
  const bringTargets = async (name: string, delegator: string): Promise<void> => {
    const path = `${delegator}\n${name}`;
    if (verified.has(path)) return;
    const meta = fileMetaOf(trusted, name);
    const kept = await store.load(name);
    const existing =
      kept === undefined
        ? undefined
        : attempt(() => withTargets(trusted, { name, delegator, bytes: kept }, now));
    if (existing !== undefined) {
      trusted = existing;
      verified.add(path);
      return;
    }
    const former = kept === undefined ? undefined : keptTargets(dialect, kept);
    const bytes = await required(
      metadataName(dialect, name, meta, trusted.root.signed.consistentSnapshot),
      name,
      sizeOf(name, meta),
    );
    trusted = withTargets(
      trusted,
      { name, delegator, bytes, ...(former === undefined ? {} : { former }) },
      now,
    );
    verified.add(path);
    await store.save(name, bytes);
  };

  /** @returns whether the role is there and can be trusted */
  const bring = async ({ name, delegator, unlisted, optional }: RoleAsked): Promise<boolean> => {
    if (unlisted === true) {
      await refuseHeldBack(store, name, delegator);
      return false;
    }
    return bringTargets(name, delegator).then(
      () => true,
      (thrown: unknown) => {
        if (optional === true && isDisbelieved(thrown)) return false;
        throw thrown;
      },
    );
  };
  const run = async <T>(start: (current: Current) => Search<T>): Promise<T> =>
    drive(
      start(() => trusted),
      bring,
    );

  await bringTimestamp();
  await bringSnapshot();
  await bringTargets('targets', 'root');

  return {
    get trusted() {
      return trusted;
    },
    find: (path) => run((current) => searchTarget(path, limits.roles, current)),
    run,
  };
}

async function fetchRequired(source: TufSource, name: string, role: string, most: number): Promise<Buffer> {
  const bytes = await source.fetch(name, most);
  if (bytes === undefined) throw tufFailure('TRUST_TUF_MISSING', role, `${name} is missing`);
  return bytes;
}

/** Returns the most bytes that a file may have. @throws TRUST_TUF_TOO_LARGE if more were signed */
function sizeLimit(role: string, { length }: FileMeta, limits: TufLimits): number {
  if (length !== undefined && length > limits.metadataBytes)
    throw tufFailure(
      'TRUST_TUF_TOO_LARGE',
      role,
      `${length} bytes were signed, and the limit is ${limits.metadataBytes}`,
    );
  return length ?? limits.unsizedBytes;
}

/**
 * Refuses an absent role that was trusted before. As long as it is delegated to, it cannot become a role
 * that never published.
 */
async function refuseHeldBack(store: TufStore, name: string, delegator: string): Promise<void> {
  if ((await store.load(name)) !== undefined)
    throw tufFailure(
      'TRUST_TUF_ROLLBACK',
      name,
      `the snapshot no longer names it, although ${delegator} still delegates to it`,
    );
}

/** Runs a search to its end, with each role that it asks for. */
async function drive<T>(search: Search<T>, bring: (wanted: RoleAsked) => Promise<boolean>): Promise<T> {
  let step = search.next();
  for (;;) {
    if (step.done === true) return step.value;
    step = search.next(await bring(step.value));
  }
}

/** Returns whether the file arrived, or does not exist, and is not trusted. A retry would not change that. */
function isDisbelieved(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code.startsWith('TRUST_TUF_') && !isUnavailable(thrown.code);
}

async function newestRoot(
  { dialect, source, store, now }: UpdateInput,
  limits: TufLimits,
): Promise<TrustedSet> {
  const first = await store.load('root');
  if (first === undefined) throw tufFailure('TRUST_TUF_MISSING', 'root', 'no root is trusted yet');
  let trusted = trustRoot(dialect, first);
  for (let steps = 0; ; steps += 1) {
    const version = trusted.root.signed.version + 1;
    const bytes = await source.fetch(`${version}.root.json`, limits.rootBytes);
    if (bytes === undefined) break;
    if (steps >= limits.newRoots)
      throw tufFailure(
        'TRUST_TUF_TOO_MANY_ROOTS',
        'root',
        `more than ${limits.newRoots} newer roots were served at once`,
      );
    trusted = nextRoot(trusted, bytes);
    await store.save('root', bytes);
  }
  refuseExpiredRoot(trusted, now);
  return trusted;
}

/** Returns undefined when `body` refuses kept metadata, which is then fetched again. */
function attempt<T>(body: () => T): T | undefined {
  return tolerate(isPortcullisError, () => body());
}
