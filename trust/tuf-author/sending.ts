import type { Dialect } from '../tuf-metadata/model.ts';
import type { Standing } from './collection.ts';
import { consistentName } from './destination.ts';
import type { Destination } from './destination.ts';
import { isNewer, publicationOf, readPublished, versionOf } from './publish.ts';
import type { Remote } from './publish.ts';
import { defaultLimits } from '../tuf-client/source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import type { StagedChange } from './staged.ts';
import type { WorkingFolder } from './working-folder.ts';

/**
 * A publish that ended after it began to send: the process was killed, a second place failed, or the answer
 * of a service was lost. The working folder keeps the new files until the publish is complete.
 */

/**
 * Completes the record of an earlier publish if one of the places has its files. Otherwise the publish that
 * follows signs the staged changes again.
 * @throws the errors of reading
 */
export async function concludeSending(
  folder: WorkingFolder,
  destinations: readonly Destination[],
): Promise<void> {
  const { dialects } = await folder.settings();
  const published = new Map<Dialect, Standing>();
  let hasArrived = false;
  for (const dialect of dialects) {
    const files = await folder.sending(dialect);
    if (files.size === 0) continue;
    const before = await folder.standing(dialect);
    const own = new Map([...before, ...files]);
    published.set(dialect, own);
    const roots = await folder.roots(dialect);
    const root = [...roots.values()][0] ?? own.get('root');
    if (root === undefined) continue;
    for (const destination of destinations.filter((one) => one.dialects.includes(dialect))) {
      const known = new Map([['root', root]]);
      const read = (source = destination.source(dialect)): Promise<Remote | undefined> =>
        readPublished(dialect, source, known);
      const remote = await read().catch(async (thrown: unknown) => {
        const former = await formerState(destination, dialect, own, roots, read);
        const rest = former === undefined ? undefined : publicationOf(dialect, own, roots, former);
        if (rest === undefined) throw thrown;
        await destination.publish([rest]);
        return read();
      });
      // Later changes of others are read afterwards, as before every publish.
      hasArrived ||= remote !== undefined && containsOneOf(remote.standing, files);
    }
  }
  if (hasArrived) await savePublished(folder, published, await folder.sendingStaged());
}

/**
 * Reads a place before a publish. If an earlier publish to it was interrupted, and others continued without
 * it, this publish brings all that it lacks.
 * @param own the owner's files, which the place may be behind
 * @returns what readPublished returns; for such a place, what it had before
 * @throws the errors of reading
 */
export async function readPlace(
  destination: Destination,
  dialect: Dialect,
  own: Standing,
  roots: ReadonlyMap<number, Buffer>,
  wanted: ReadonlySet<string>,
): Promise<Remote | undefined> {
  const first = [...roots.values()][0] ?? own.get('root');
  if (first === undefined) return undefined;
  const read = (source = destination.source(dialect)): Promise<Remote | undefined> =>
    readPublished(dialect, source, new Map([['root', first]]), own, wanted);
  return read().catch(async (thrown: unknown) => {
    const former = await formerState(destination, dialect, own, roots, read);
    if (former === undefined) throw thrown;
    return { standing: former, roots: new Map<number, Buffer>() };
  });
}

/**
 * Returns what a place had before it got new roots, if it got nothing after them. A folder gets one file at a
 * time, and may be several roots behind. The new roots may name other keys, so that nobody can read the place
 * until it has the other files.
 * @param read reads the place from a source
 * @returns undefined if anything at the place is newer than the owner's files, or a root is of another owner
 */
async function formerState(
  destination: Destination,
  dialect: Dialect,
  own: Standing,
  roots: ReadonlyMap<number, Buffer>,
  read: (source: TufSource) => Promise<Remote | undefined>,
): Promise<Standing | undefined> {
  if (destination.serverKey !== undefined) return undefined;
  const source = fetchingRootsOnce(destination.source(dialect));
  const rootAt = (version: number): Promise<Buffer | undefined> =>
    source.fetch(consistentName({ role: 'root', version, bytes: Buffer.alloc(0) }), defaultLimits.rootBytes);
  const versions = [...roots.keys()].sort((a, b) => b - a);
  if ((await rootAt((versions[0] ?? 0) + 1)) !== undefined) return undefined;
  for (const version of versions) {
    const there = await rootAt(version);
    if (there !== undefined && roots.get(version)?.equals(there) !== true) return undefined;
    const former = await read(withoutRoots(source, version)).catch(() => undefined);
    if (former !== undefined) return isNewer(dialect, former.standing, own) ? undefined : former.standing;
  }
  return undefined;
}

/**
 * Fetches each root once: every read begins at the first root, and a place may have hundreds of them.
 */
function fetchingRootsOnce(source: TufSource): TufSource {
  const fetched = new Map<string, Promise<Buffer | undefined>>();
  return {
    ...source,
    fetch(name, mostBytes) {
      if (!/^\d+\.root\.json$/u.test(name)) return source.fetch(name, mostBytes);
      const found = fetched.get(name) ?? source.fetch(name, mostBytes);
      fetched.set(name, found);
      return found;
    },
  };
}

/** Hides the roots of a source from a version on. */
function withoutRoots(source: TufSource, version: number): TufSource {
  return {
    ...source,
    fetch: (name, mostBytes) =>
      Number(/^(\d+)\.root\.json$/u.exec(name)?.[1] ?? 0) >= version
        ? Promise.resolve(undefined)
        : source.fetch(name, mostBytes),
  };
}

const containsOneOf = (remote: Standing, files: Standing): boolean =>
  [...files].some(([role, bytes]) => remote.get(role)?.equals(bytes) === true);

/** Saves what is published now, and drops the staged changes that it contains. */
export async function savePublished(
  folder: WorkingFolder,
  published: ReadonlyMap<Dialect, Standing>,
  contained: readonly StagedChange[],
): Promise<void> {
  for (const [dialect, files] of published) await folder.saveStanding(dialect, files);
  const notary = published.get('notary');
  await folder.saveSettings({
    ...(await folder.settings()),
    begin: {},
    ...(notary === undefined ? {} : { notaryVersions: roleVersions(notary) }),
  });
  // Changes that were staged after the files were signed stay.
  const done = new Set(contained.map((change) => JSON.stringify(change)));
  const staged = await folder.staged();
  await folder.saveStaged(staged.filter((change) => !done.has(JSON.stringify(change))));
  for (const dialect of published.keys()) await folder.saveSending(dialect, new Map());
  await folder.saveSendingStaged([]);
}

/** Returns the versions of the roles that sign targets. */
export function roleVersions(existing: Standing): Record<string, number> {
  const roles = [...existing].filter(([role]) => role === 'targets' || role.startsWith('targets/'));
  return Object.fromEntries(roles.map(([role, bytes]) => [role, versionOf('notary', role, bytes)]));
}
