import { createHash } from 'node:crypto';
import type { DelegatedRole, Dialect, RoleKeys, TargetFile, TopRole } from '../tuf-metadata/model.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import type { Json } from '../tuf-metadata/reading.ts';
import type { AuthoredRole, Collection } from './collection.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';

/**
 * The `signed` part of each file, without version and expiry, in the format of either dialect (TUF
 * specification 1.0.34, sections 4.3 to 4.6; tuf/data of Notary 0.7.0).
 */

/** A file that other metadata lists. */
export interface NamedFile {
  readonly version: number;
  readonly bytes: Buffer;
}

export function rootBody({ dialect, keys, roles }: Collection): Json {
  const used = new Set(topRoles.flatMap((role) => roles[role].keyids));
  return {
    ...head(dialect, 'root'),
    // Notary's files are always named by their hash, and its clients write false.
    consistent_snapshot: dialect === 'tuf',
    keys: keyTable([...keys.values()].filter(({ id }) => used.has(id))),
    roles: Object.fromEntries(topRoles.map((role) => [role, roleKeys(roles[role])])),
  };
}

export function targetsBody(dialect: Dialect, { targets, keys, delegations }: AuthoredRole): Json {
  const used = new Set(delegations.flatMap(({ keyids }) => keyids));
  const delegated = {
    keys: keyTable([...keys.values()].filter(({ id }) => used.has(id))),
    roles: delegations.map((role) => delegatedRole(dialect, role)),
  };
  return {
    ...head(dialect, 'targets'),
    targets: record([...targets].map(([path, file]) => [path, targetFile(dialect, file)])),
    // Notary's clients always write it.
    ...(dialect === 'notary' || delegations.length > 0 ? { delegations: delegated } : {}),
  };
}

/**
 * @param files root (Notary only) and every role of targets
 * @param before `meta` of the snapshot before: what it states about roles without a file here stays, because
 * no snapshot may drop a role that one before it named (section 5.5.5)
 */
export function snapshotBody(dialect: Dialect, files: ReadonlyMap<string, NamedFile>, before: Json): Json {
  return {
    ...head(dialect, 'snapshot'),
    meta: record([
      ...Object.entries(before),
      ...[...files].map(([role, file]) => metaEntry(dialect, role, file)),
    ]),
  };
}

export function timestampBody(dialect: Dialect, snapshot: NamedFile): Json {
  return { ...head(dialect, 'timestamp'), meta: record([metaEntry(dialect, 'snapshot', snapshot)]) };
}

function head(dialect: Dialect, type: TopRole): Json {
  return dialect === 'tuf'
    ? { _type: type, spec_version: '1.0.34' }
    : { _type: `${type.slice(0, 1).toUpperCase()}${type.slice(1)}` };
}

/** Builds an object from data keys: `__proto__` may be one of the paths. */
function record(entries: readonly (readonly [string, unknown])[]): Json {
  return Object.fromEntries(entries);
}

const keyTable = (keys: readonly ListedKey[]): Json => record(keys.map(({ id, entry }) => [id, entry]));

const roleKeys = ({ keyids, threshold }: RoleKeys): Json => ({ keyids, threshold });

function metaEntry(dialect: Dialect, role: string, { version, bytes }: NamedFile): [string, Json] {
  if (dialect === 'tuf')
    return [
      `${role}.json`,
      { version, length: bytes.length, hashes: { sha256: digest('sha256', bytes, 'hex') } },
    ];
  const hashes = { sha256: digest('sha256', bytes, 'base64'), sha512: digest('sha512', bytes, 'base64') };
  return [role, { length: bytes.length, hashes }];
}

const digest = (algorithm: string, bytes: Buffer, encoding: 'hex' | 'base64'): string =>
  createHash(algorithm).update(bytes).digest(encoding);

function targetFile(dialect: Dialect, { length, hashes, custom }: TargetFile): Json {
  const written = Object.entries(hashes).map(([algorithm, hash]): [string, string] => [
    algorithm,
    dialect === 'tuf' ? hash : Buffer.from(hash, 'hex').toString('base64'),
  ]);
  return { length, hashes: record(written), ...(custom === undefined ? {} : { custom }) };
}

function delegatedRole(
  dialect: Dialect,
  { name, keyids, threshold, terminating, scope }: DelegatedRole,
): Json {
  if (dialect === 'notary')
    return { keyids, name, paths: scope.kind === 'prefixes' ? scope.prefixes : [], threshold };
  const about =
    scope.kind === 'hash-prefixes'
      ? { path_hash_prefixes: scope.prefixes }
      : { paths: scope.kind === 'patterns' ? scope.patterns : scope.prefixes };
  return { name, keyids, threshold, terminating, ...about };
}
