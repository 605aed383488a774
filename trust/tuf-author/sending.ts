import type { Dialect } from '../tuf-metadata/model.ts';
import type { Standing } from './collection.ts';
import { consistentName } from './destination.ts';
import type { Destination } from './destination.ts';
import { publicationOf, readPublished, versionOf } from './publish.ts';
import { defaultLimits } from '../tuf-client/source.ts';
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
      if (await hasOnlyRoot(destination, dialect, before, files)) {
        const rest = publicationOf(dialect, own, roots, before);
        if (rest !== undefined) await destination.publish([rest]);
      }
      const known = new Map([['root', root]]);
      const remote = await readPublished(dialect, destination.source(dialect), known);
      // Later changes of others are read afterwards, as before every publish.
      hasArrived ||= remote !== undefined && containsOneOf(remote.standing, files);
    }
  }
  if (hasArrived) await savePublished(folder, published, await folder.sendingStaged());
}

/**
 * Returns whether a place got the new root, and still has the former timestamp. A folder gets one file at a
 * time. The new root may name other keys, so that nobody can read the place until it has the other files.
 */
async function hasOnlyRoot(
  destination: Destination,
  dialect: Dialect,
  before: Standing,
  files: Standing,
): Promise<boolean> {
  const root = files.get('root');
  const timestamp = before.get('timestamp');
  if (destination.serverKey !== undefined || root === undefined || timestamp === undefined) return false;
  const source = destination.source(dialect);
  const name = consistentName({ role: 'root', version: versionOf(dialect, 'root', root), bytes: root });
  return (
    root.equals((await source.fetch(name, defaultLimits.rootBytes)) ?? Buffer.alloc(0)) &&
    timestamp.equals((await source.fetch('timestamp.json', defaultLimits.timestampBytes)) ?? Buffer.alloc(0))
  );
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
