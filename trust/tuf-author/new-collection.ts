import { topRoles } from '../tuf-metadata/model.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { OnlineRole } from './destination.ts';
import { authorFailure } from './failure.ts';
import type { OwnedCollection } from './owned-collection.ts';
import type { InitInput } from './owner.types.ts';
import { readPublished } from './publish.ts';
import { inDialect, keysOf } from './role-keys.ts';
import type { StagedKeys } from './staged.ts';
import type { Settings } from './working-folder.ts';

/**
 * Creates a collection in its working folder. Nothing is published.
 * @throws TRUST_AUTHOR_WORKING_FOLDER if the folder holds a collection · TRUST_AUTHOR_DESTINATION
 */
export async function initCollection(collection: OwnedCollection, wanted: InitInput): Promise<Settings> {
  const { name, working, open } = collection;
  const exists = await working.settings().then(
    () => true,
    () => false,
  );
  if (exists)
    throw authorFailure(
      'TRUST_AUTHOR_WORKING_FOLDER',
      name,
      `${working.path} already contains this collection`,
      undefined,
      'publish it with portcullis trust publish, or name another working folder with --dir',
    );
  await Promise.all(wanted.destinations.map(open));
  const settings = await begin(collection, wanted);
  if (wanted.notaryRoot !== undefined) await takeOver(collection, wanted.notaryRoot, wanted.destinations);
  await working.saveSettings(settings);
  return settings;
}

/** Saves what is published in Notary's dialect, which the owner continues from there. */
async function takeOver(
  { working, open }: OwnedCollection,
  notaryRoot: Buffer,
  destinations: readonly string[],
): Promise<void> {
  const service = await open(destinations.find((address) => /^https?:/u.test(address)) ?? '');
  const version = readMetadata('notary', 'root', notaryRoot).signed.version;
  const known = new Map([['root', notaryRoot]]);
  const read = await readPublished('notary', service.source('notary'), known);
  if (read === undefined)
    throw authorFailure(
      'TRUST_AUTHOR_DESTINATION',
      service.address,
      'nothing is published there in Notary’s dialect',
    );
  await working.saveRoot('notary', version, notaryRoot);
  for (const [newer, bytes] of read.roots) await working.saveRoot('notary', newer, bytes);
  await working.saveStanding('notary', read.standing);
}

/** Returns the settings of a new collection, with the first keys of the roles that are signed here. */
async function begin(
  collection: OwnedCollection,
  { dialects, destinations, keys: named, expiry, localKeys, notaryRoot }: InitInput,
): Promise<Settings> {
  const served = destinations.some((address) => /^https?:/u.test(address));
  const isManaged = (role: OnlineRole): boolean => served && named[role] === undefined && !localKeys;
  const managed = (dialect: Dialect): OnlineRole[] => {
    // Only a service signs Notary's timestamps.
    const timestamp = dialect === 'notary' ? served : isManaged('timestamp');
    // The timestamp of a snapshot that the service signs can only be signed by the service.
    return timestamp ? (isManaged('snapshot') ? ['snapshot', 'timestamp'] : ['timestamp']) : [];
  };
  const serverManaged = { tuf: managed('tuf'), notary: managed('notary') };
  const made = new Map<TopRole, StagedKeys>();
  const of = async (role: TopRole): Promise<StagedKeys> => {
    const known = made.get(role) ?? (await keysOf(collection, role, named[role]));
    made.set(role, known);
    return known;
  };
  const beginnings: Partial<Record<Dialect, Partial<Record<TopRole, StagedKeys>>>> = {};
  for (const dialect of dialects) {
    if (dialect === 'notary' && notaryRoot !== undefined) continue;
    const roles: Partial<Record<TopRole, StagedKeys>> = {};
    for (const role of topRoles) {
      if ((serverManaged[dialect] as readonly string[]).includes(role)) continue;
      const { threshold, keys: staged } = await of(role);
      roles[role] = { threshold, keys: await inDialect(collection, dialect, role, staged) };
    }
    beginnings[dialect] = roles;
  }
  return {
    version: 1,
    name: collection.name,
    dialects,
    destinations,
    expiry: { tuf: expiry, notary: expiry },
    serverManaged,
    begin: beginnings,
  };
}
