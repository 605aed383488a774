import { isPortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { covers } from '../tuf/delegation.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { beginCollection } from './initial-collection.ts';
import { refuseWithoutReleases, rotateKeys } from './changes.ts';
import { collectionOf } from './collection.ts';
import type { Collection, Standing } from './collection.ts';
import { defaultExpiry } from './expiry.ts';
import type { Destination, OnlineRole, Publication } from './destination.ts';
import type { FindSigner, MissingSignatures } from './draft.ts';
import { authorFailure } from './failure.ts';
import { issue } from './issue.ts';
import { listedKey } from '../tuf-metadata/listed-key.ts';
import { defaultLimits } from '../tuf-client/source.ts';
import { isNewer, newestOf, publicationOf, readPublished, typeOf, versionOf } from './publish.ts';
import { concludeSending, readPlace, roleVersions, savePublished } from './sending.ts';
import { soonerThan } from './sooner-expiry.ts';
import { applyStaged, keysIn } from './staged.ts';
import type { StagedChange } from './staged.ts';
import type { Settings, WorkingFolder } from './working-folder.ts';

export interface PublishInput {
  readonly folder: WorkingFolder;
  readonly destinations: readonly Destination[];
  /** Keys by dialect: a key has an id of its own in each dialect. */
  readonly signers: (dialect: Dialect) => FindSigner;
  /** Also signs in the TUF dialect what Notary's clients have published. */
  readonly countersign: boolean;
  readonly now: Date;
}

export interface Published {
  /** The roles that were signed again, by dialect, with their versions. */
  readonly signed: readonly { readonly dialect: Dialect; readonly role: string; readonly version: number }[];
  readonly sooner: ReturnType<typeof soonerThan>;
  /** How many files were sent to each place. */
  readonly sent: readonly { readonly address: string; readonly dialect: Dialect; readonly files: number }[];
  /** Missing signatures. When there are any, nothing was published. */
  readonly missing: readonly (MissingSignatures & { readonly dialect: Dialect })[];
  /** The signatures that expired delegated roles lack. Everything else was published. */
  readonly expired: readonly (MissingSignatures & { readonly dialect: Dialect })[];
}

interface Prepared {
  readonly dialect: Dialect;
  after: Standing;
  readonly files: Standing;
  readonly remotes: ReadonlyMap<Destination, Standing>;
}

/**
 * Publishes the staged changes in every dialect of the collection at once: reads the published files, applies
 * the changes, signs, and sends each place the files that it lacks. Nothing is sent unless everything is
 * signed.
 * @throws the errors of reading, changing, signing and sending; TRUST_AUTHOR_DIALECTS_DIFFER
 */
export async function publishCollection(input: PublishInput): Promise<Published> {
  const { folder, destinations, now } = input;
  await concludeSending(folder, destinations);
  const settings = await folder.settings();
  const staged = await folder.staged();
  const missing: (MissingSignatures & { readonly dialect: Dialect })[] = [];
  const expired: (MissingSignatures & { readonly dialect: Dialect })[] = [];
  const sooner: Published['sooner'] = [];
  const prepared: Prepared[] = [];
  // Notary first: what its clients published may have to be signed in the other dialect.
  const dialects = [...settings.dialects].sort();
  const published = new Map<Dialect, ReadonlyMap<Destination, Standing>>();
  for (const dialect of dialects) published.set(dialect, await readRemotes(input, dialect));
  let notary: Collection | undefined;
  for (const dialect of dialects) {
    const remotes = published.get(dialect) ?? new Map<Destination, Standing>();
    const before = await folder.standing(dialect);
    const begun =
      before.size > 0
        ? collectionOf(dialect, before)
        : await firstCollection(settings, dialect, destinations);
    const others = dialect === 'notary' && before.size > 0 && publishedByOthers(settings, before);
    if (others && dialects.includes('tuf') && !input.countersign && !areServed(published.get('tuf'), input))
      throw authorFailure(
        'TRUST_AUTHOR_DIALECTS_DIFFER',
        settings.name,
        'a Notary client has published changes since then that the TUF dialect does not contain',
      );
    const base =
      dialect === 'tuf' && input.countersign && notary !== undefined ? countersigned(begun, notary) : begun;
    if (dialect === 'notary') notary = begun;
    if (input.countersign && notary !== undefined) refuseWithoutReleases(notary);
    const collection = await withServerKeys(applyStaged(base, staged), staged, settings, destinations);
    const issued = await issue({
      collection,
      standing: before,
      pending: await folder.pending(dialect),
      expiry: { ...defaultExpiry[dialect], ...settings.expiry[dialect] },
      force: new Set([
        ...staged.flatMap((change) => (change.kind === 'witness' ? [change.role] : [])),
        ...(dialect === 'tuf' && input.countersign ? ['targets'] : []),
      ]),
      serverManaged: new Set(settings.serverManaged[dialect]),
      signers: input.signers(dialect),
      now,
    });
    await folder.savePending(dialect, issued.pending);
    append(
      missing,
      issued.missing.map((one) => ({ ...one, dialect })),
    );
    append(
      expired,
      issued.expired.map((one) => ({ ...one, dialect })),
    );
    append(sooner, soonerThan(dialect, before, issued.files));
    prepared.push({ dialect, after: issued.standing, files: issued.files, remotes });
  }
  if (missing.length > 0) {
    // Files of the other dialect that are complete may have signatures of other users, too.
    for (const { dialect, files } of prepared)
      await folder.savePending(dialect, new Map([...(await folder.pending(dialect)), ...files]));
    return { signed: [], sooner: [], sent: [], missing, expired };
  }

  for (const { dialect, files } of prepared) {
    const root = files.get('root');
    if (root !== undefined) await folder.saveRoot(dialect, versionOf(dialect, 'root', root), root);
  }
  await folder.saveSendingStaged(staged);
  for (const { dialect, files } of prepared) await folder.saveSending(dialect, files);
  const sent: Published['sent'][number][] = [];
  // Services come first: the files that they sign themselves are only known after they received the others.
  for (const destination of destinations.toSorted(
    (a, b) => Number(b.serverKey !== undefined) - Number(a.serverKey !== undefined),
  )) {
    append(sent, await send(destination, folder, settings, prepared));
    if (destination.serverKey === undefined) continue;
    for (const one of prepared)
      one.after =
        (await readPublished(one.dialect, destination.source(one.dialect), one.after))?.standing ?? one.after;
  }
  await savePublished(folder, new Map(prepared.map(({ dialect, after }) => [dialect, after])), staged);
  const signed = prepared.flatMap(({ dialect, files }) =>
    [...files].map(([role, bytes]) => ({ dialect, role, version: versionOf(dialect, role, bytes) })),
  );
  return { signed, sooner, sent, missing, expired };
}

/** Sends a place everything that it lacks, in all its dialects at once. */
async function send(
  destination: Destination,
  folder: WorkingFolder,
  settings: Settings,
  prepared: readonly Prepared[],
): Promise<Published['sent'][number][]> {
  const publications: Publication[] = [];
  const whole: Publication[] = [];
  for (const { dialect, after, files, remotes } of prepared.filter((one) =>
    destination.dialects.includes(one.dialect),
  )) {
    const mine =
      destination.serverKey === undefined
        ? after
        : acceptedByService(dialect, after, settings.serverManaged[dialect]);
    const roots = await folder.roots(dialect);
    const remote = remotes.get(destination);
    const all = publicationOf(dialect, mine, roots, remote);
    if (all === undefined) continue;
    whole.push(all);
    // A service that withholds a dialect still has its files. It is sent the new files, and all files only
    // when it knows nothing.
    const fresh = all.lacking.filter(({ role, bytes }) => files.get(role)?.equals(bytes) === true);
    publications.push(
      remote === undefined && destination.serverKey !== undefined ? { ...all, lacking: fresh } : all,
    );
  }
  if (whole.length === 0) return [];
  await refuseOvertaken(destination, prepared);
  const count = (list: readonly Publication[]): number =>
    list.reduce((sum, { lacking }) => sum + lacking.length, 0);
  let done = publications;
  try {
    if (count(publications) > 0) await destination.publish(publications);
    else throw authorFailure('TRUST_AUTHOR_REFUSED', destination.address, 'nothing is new');
  } catch (thrown) {
    if (
      count(publications) === count(whole) ||
      !isPortcullisError(thrown) ||
      thrown.code !== 'TRUST_AUTHOR_REFUSED'
    )
      throw thrown;
    done = whole;
    await destination.publish(whole);
  }
  return done.map(({ dialect, lacking }) => ({
    address: destination.address,
    dialect,
    files: lacking.length,
  }));
}

/**
 * Refuses to replace what another publisher has sent to a place since it was read. A service compares the
 * versions itself; a folder and a registry take whatever comes.
 * @throws TRUST_AUTHOR_BEHIND
 */
async function refuseOvertaken(destination: Destination, prepared: readonly Prepared[]): Promise<void> {
  if (destination.serverKey !== undefined) return;
  for (const { dialect, remotes } of prepared.filter((one) => destination.dialects.includes(one.dialect))) {
    const seen = remotes.get(destination)?.get('timestamp');
    const now = await destination.source(dialect).fetch('timestamp.json', defaultLimits.timestampBytes);
    if (now !== undefined && seen?.equals(now) !== true)
      throw authorFailure(
        'TRUST_AUTHOR_BEHIND',
        destination.address,
        'another publisher has sent something there meanwhile',
      );
  }
}

/** Reads every place; the newest files become the current files. */
async function readRemotes(
  { folder, destinations }: PublishInput,
  dialect: Dialect,
): Promise<Map<Destination, Standing>> {
  const remotes = new Map<Destination, Standing>();
  let local = await folder.standing(dialect);
  const places = destinations.filter((one) => one.dialects.includes(dialect));
  // A role that is delegated to again continues with the version after its last one.
  const wanted = new Set(
    (await folder.staged()).flatMap((change) => (change.kind === 'delegate' ? [change.name] : [])),
  );
  if (local.size === 0) {
    await refuseOccupied(places, dialect);
    return remotes;
  }
  for (const destination of places) {
    // A place may be behind. It is read from the first root on, and older files are brought up to date.
    const roots = await folder.roots(dialect);
    const remote = await readPlace(destination, dialect, local, roots, wanted);
    if (remote === undefined) continue;
    remotes.set(destination, remote.standing);
    for (const [version, bytes] of remote.roots) await folder.saveRoot(dialect, version, bytes);
    if (!isNewer(dialect, remote.standing, local)) continue;
    local = newestOf(dialect, remote.standing, local);
    await folder.saveStanding(dialect, local);
  }
  return remotes;
}

/**
 * Refuses to begin a collection where another one is published: its readers would refuse the new one. A
 * service refuses this itself.
 * @throws TRUST_AUTHOR_OCCUPIED
 */
async function refuseOccupied(places: readonly Destination[], dialect: Dialect): Promise<void> {
  for (const place of places.filter(({ serverKey: signs }) => signs === undefined))
    if ((await place.source(dialect).fetch('timestamp.json', defaultLimits.timestampBytes)) !== undefined)
      throw authorFailure('TRUST_AUTHOR_OCCUPIED', place.address, 'another collection is published there');
}

async function firstCollection(
  settings: Settings,
  dialect: Dialect,
  destinations: readonly Destination[],
): Promise<Collection> {
  const { root, targets, snapshot, timestamp } = settings.begin[dialect] ?? {};
  if (root === undefined || targets === undefined)
    throw authorFailure(
      'TRUST_AUTHOR_WORKING_FOLDER',
      settings.name,
      `it has no ${dialect} metadata and no keys to begin with`,
    );
  const managed = async (role: OnlineRole): Promise<ReturnType<typeof keysIn>> => ({
    keys: [listedKey(dialect, await serverKey(dialect, role, false, settings, destinations))],
    threshold: 1,
  });
  return beginCollection(dialect, {
    root: keysIn(dialect, root),
    targets: keysIn(dialect, targets),
    snapshot: snapshot === undefined ? await managed('snapshot') : keysIn(dialect, snapshot),
    timestamp: timestamp === undefined ? await managed('timestamp') : keysIn(dialect, timestamp),
  });
}

/** Handles a `rotate` without keys, for which the service is asked for a key. */
async function withServerKeys(
  collection: Collection,
  staged: readonly StagedChange[],
  settings: Settings,
  destinations: readonly Destination[],
): Promise<Collection> {
  let changed = collection;
  for (const change of staged) {
    if (change.kind !== 'server-key' || (change.dialect ?? collection.dialect) !== collection.dialect)
      continue;
    const { dialect } = collection;
    const key = listedKey(dialect, await serverKey(dialect, change.role, true, settings, destinations));
    changed = rotateKeys(changed, change.role, { keys: [key], threshold: 1 });
  }
  return changed;
}

async function serverKey(
  dialect: Dialect,
  role: OnlineRole,
  fresh: boolean,
  { name }: Settings,
  destinations: readonly Destination[],
): ReturnType<NonNullable<Destination['serverKey']>> {
  const service = destinations.find((one) => one.serverKey !== undefined);
  if (service?.serverKey === undefined)
    throw authorFailure(
      'TRUST_AUTHOR_DESTINATION',
      name,
      `only a service can sign ${role} by itself, and none is named`,
      undefined,
      `name a service with --to https://…, or sign here with a key of this folder: portcullis trust rotate ${name} ${role}`,
    );
  return service.serverKey(dialect, role, fresh);
}

/**
 * Returns the files without those that the service signs itself, and without those of roles that no role
 * delegates to any more: a service refuses such a file, even if it has it.
 */
function acceptedByService(dialect: Dialect, existing: Standing, managed: readonly string[]): Standing {
  const { targets } = collectionOf(dialect, existing);
  return new Map(
    [...existing].filter(
      ([role]) => !managed.includes(role) && (typeOf(role) !== 'targets' || targets.has(role)),
    ),
  );
}

/**
 * Returns whether the services serve this dialect. They withhold the TUF dialect from a publish in Notary's
 * dialect alone until one in both, such as that of another owner.
 */
function areServed(
  remotes: ReadonlyMap<Destination, Standing> | undefined,
  { destinations }: PublishInput,
): boolean {
  const services = destinations.filter((one) => one.serverKey !== undefined);
  return services.length > 0 && services.every((one) => remotes?.has(one) === true);
}

function publishedByOthers({ notaryVersions }: Settings, existing: Standing): boolean {
  const now = roleVersions(existing);
  return Object.keys(now).some((role) => now[role] !== notaryVersions?.[role]);
}

/**
 * Returns the collection in which the owner signs, as `targets`, what Notary's clients have published: each
 * path as those clients find it, in `targets/releases` if it is delegated there, or else in `targets`
 * (client/client.go of Notary 0.7).
 */
function countersigned(collection: Collection, notary: Collection): Collection {
  const top = notary.targets.get('targets');
  const found = new Map(top?.targets);
  const releases = top?.delegations.find((one) => one.name === 'targets/releases');
  for (const [path, file] of notary.targets.get('targets/releases')?.targets ?? [])
    if (releases !== undefined && covers(releases.scope, path)) found.set(path, file);
  const own = collection.targets.get('targets');
  if (own === undefined) return collection;
  return { ...collection, targets: new Map(collection.targets).set('targets', { ...own, targets: found }) };
}

/**
 * Returns the collection as it will be after the next publish, for commands that only read.
 * @param countersign a publish that also signs in the TUF dialect what Notary's clients have published
 * @param more changes that are not staged yet
 * @param destinations asked for the keys of a collection that has published nothing; without them, there is
 * no collection then if a service signs some of its roles
 * @throws the errors of applyStaged; for `more`, also when there is nothing to remove
 */
export async function stagedCollection(
  folder: WorkingFolder,
  dialect: Dialect,
  countersign = false,
  more: readonly StagedChange[] = [],
  destinations: readonly Destination[] = [],
): Promise<Collection | undefined> {
  const [settings, existing, staged] = await Promise.all([
    folder.settings(),
    folder.standing(dialect),
    folder.staged(),
  ]);
  try {
    const begun =
      existing.size > 0
        ? collectionOf(dialect, existing)
        : await firstCollection(settings, dialect, destinations);
    const notary =
      countersign && dialect === 'tuf' ? await folder.standing('notary') : new Map<string, Buffer>();
    const base = notary.size > 0 ? countersigned(begun, collectionOf('notary', notary)) : begun;
    return applyStaged(applyStaged(base, staged), more, { nothingToRemove: 'refused' });
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'TRUST_AUTHOR_DESTINATION') return undefined;
    throw thrown;
  }
}
