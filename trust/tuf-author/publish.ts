import { attempt } from '../../base/errors/index.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import { metadataName } from '../tuf-client/metadata-names.ts';
import { defaultLimits } from '../tuf-client/source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import type { Dialect, FileMeta, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { verifyFile, withTargets } from '../tuf/trusted-set.ts';
import { delegatorOf } from './changes.ts';
import { collectionOf, namedIn } from './collection.ts';
import type { Standing } from './collection.ts';
import type { Publication, PublishedFile } from './destination.ts';

/**
 * The files of a collection at a place, verified from the first root on. Expiry is ignored, because the owner
 * is about to renew the files.
 */
export interface Remote {
  readonly standing: Standing;
  /** Roots newer than the first one, by version. */
  readonly roots: ReadonlyMap<number, Buffer>;
}

/**
 * Reads everything that is published at a place.
 * @param known the files that the owner has: older files are refused
 * @param kept the files of roles that no role delegates to any more: they are taken from here, if they are
 * here, and not verified further than by the snapshot
 * @param wanted roles of this kind whose files are also taken from the place. A snapshot can name any number
 * @returns undefined when nothing is published there
 * @throws the codes of ../trusted-set.ts and of the source
 */
export async function readPublished(
  dialect: Dialect,
  source: TufSource,
  known: Standing,
  kept = known,
  wanted: ReadonlySet<string> = new Set(),
): Promise<Remote | undefined> {
  const trustedFiles = new Map(known);
  const roots = new Map<number, Buffer>();
  const moment = new Date(0);
  const store = {
    load: (role: string) => Promise.resolve(trustedFiles.get(role)),
    save: (role: string, bytes: Buffer) => {
      trustedFiles.set(role, bytes);
      if (role === 'root') roots.set(versionOf(dialect, role, bytes), bytes);
      return Promise.resolve();
    },
  };
  // A place that was emptied is filled again.
  if ((await source.fetch('timestamp.json', defaultLimits.timestampBytes)) === undefined) return undefined;
  // The place is read from the first root on, each time. Only the owners can add a root.
  const limits = { newRoots: Infinity };
  const update = await updateMetadata({ dialect, source, store, now: moment, limits });
  let { trusted } = update;
  const existing = new Map<string, Buffer>([['root', trusted.root.bytes]]);
  if (trusted.timestamp !== undefined) existing.set('timestamp', trusted.timestamp.bytes);
  if (trusted.snapshot !== undefined) existing.set('snapshot', trusted.snapshot.bytes);
  for (const [role, { bytes }] of trusted.targets) existing.set(role, bytes);
  const fetchRole = (name: string, meta: FileMeta): Promise<Buffer | undefined> => {
    const file = metadataName(dialect, name, meta, trusted.root.signed.consistentSnapshot);
    const { unsizedBytes, metadataBytes } = defaultLimits;
    return source.fetch(file, Math.min(meta.length ?? unsizedBytes, metadataBytes));
  };
  const reached = new Set(['targets']);
  const delegated = new Set<string>();
  for (const delegator of reached) {
    for (const { name } of trusted.targets.get(delegator)?.signed.delegations?.roles ?? []) {
      delegated.add(name);
      const meta = trusted.snapshot?.signed.meta.get(name);
      if (meta === undefined || reached.has(name)) continue;
      const bytes = await fetchRole(name, meta);
      if (bytes === undefined) continue;
      trusted = withTargets(trusted, { name, delegator, bytes }, moment);
      existing.set(name, bytes);
      reached.add(name);
    }
  }
  // Files that the owner has: of removed roles, and of roles whose files the place has lost.
  for (const [name, meta] of trusted.snapshot?.signed.meta ?? []) {
    if (existing.has(name)) continue;
    const isRemoved = !delegated.has(name);
    const mine = (isRemoved ? kept : known).get(name);
    const isMine = mine !== undefined && isFile(dialect, name, meta, mine);
    const bytes = isMine ? mine : isRemoved && wanted.has(name) ? await fetchRole(name, meta) : undefined;
    if (bytes !== undefined && isFile(dialect, name, meta, bytes)) existing.set(name, bytes);
  }
  return { standing: existing, roots };
}

/** Returns whether the bytes are the file that the snapshot names. */
function isFile(dialect: Dialect, role: string, meta: FileMeta, bytes: Buffer): boolean {
  const isNamed = attempt(() => {
    verifyFile(role, bytes, meta);
    const version = versionOf(dialect, role, bytes);
    return meta.version === undefined || version === meta.version;
  });
  return isNamed === true;
}

export function typeOf(role: string): TopRole {
  return (topRoles as readonly string[]).includes(role) ? (role as TopRole) : 'targets';
}

export function versionOf(dialect: Dialect, role: string, bytes: Buffer): number {
  return readMetadata(dialect, typeOf(role), bytes).signed.version;
}

/**
 * Returns the current version of a role: of its file, or as the snapshot names it, for a role without a file
 * here. Returns 0 when there is none, and for Notary's dialect, whose snapshots name no versions.
 */
export function currentVersion(dialect: Dialect, existing: Standing, role: string): number {
  const bytes = existing.get(role);
  if (bytes !== undefined) return versionOf(dialect, role, bytes);
  return namedIn(dialect, existing).get(role)?.version ?? 0;
}

/** Returns whether the published files are newer than the owner's. */
export function isNewer(dialect: Dialect, remote: Standing, local: Standing): boolean {
  return ['root', 'snapshot', 'timestamp', 'targets', ...remote.keys()].some((role) => {
    const [there, here] = [remote.get(role), local.get(role)];
    if (there === undefined) return false;
    return here === undefined || versionOf(dialect, role, there) > versionOf(dialect, role, here);
  });
}

/**
 * Returns the current files from those of a place and those of the owner: the newer file of each role. A
 * place can be ahead with the roles that it signs by itself, and behind with the others. An attacker who
 * stole its keys can list older targets again, which must not be signed again. For the same reason, no older
 * file of the owner replaces one that the snapshot names and the place does not have.
 */
export function newestOf(dialect: Dialect, remote: Standing, local: Standing): Standing {
  const files = new Map(remote);
  for (const [role, here] of local) {
    const there = remote.get(role);
    if (there !== undefined && versionOf(dialect, role, there) < versionOf(dialect, role, here))
      files.set(role, here);
  }
  const collection = collectionOf(dialect, files);
  const named = namedIn(dialect, files);
  for (const [role, here] of local) {
    if (files.has(role) || delegatorOf(collection, role) === undefined) continue;
    // The place may have lost, or withhold, a newer file than this one.
    const meta = named.get(role);
    const isOlder =
      meta !== undefined &&
      !isFile(dialect, role, meta, here) &&
      versionOf(dialect, role, here) <= (meta.version ?? Infinity);
    if (!isOlder) files.set(role, here);
  }
  return files;
}

/** Returns what a place lacks of a dialect; undefined when it lacks nothing. */
export function publicationOf(
  dialect: Dialect,
  existing: Standing,
  roots: ReadonlyMap<number, Buffer>,
  remote: Standing | undefined,
): Publication | undefined {
  const before = remote?.get('root');
  const standingRoot = before === undefined ? 0 : versionOf(dialect, 'root', before);
  const rootFiles = [...roots].map(([version, bytes]): PublishedFile => ({ role: 'root', version, bytes }));
  const rest = [...existing]
    .filter(([role]) => role !== 'root')
    .sort(([a], [b]) => order(a) - order(b))
    .map(([role, bytes]): PublishedFile => ({ role, version: versionOf(dialect, role, bytes), bytes }));
  const lacking = [
    ...rootFiles.filter(({ version }) => version > standingRoot),
    ...rest.filter(({ role, bytes }) => remote?.get(role)?.equals(bytes) !== true),
  ];
  return lacking.length === 0 ? undefined : { dialect, lacking, all: [...rootFiles, ...rest] };
}

/** Targets and delegated roles, delegating roles first; then the files that list them. */
const order = (role: string): number =>
  role === 'timestamp' ? 1e6 + 1 : role === 'snapshot' ? 1e6 : role.split('/').length;
