import { reasonOf } from '../../base/errors/index.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import type { DelegatedRole, DelegationScope, RoleKeys, TargetFile, TopRole } from '../tuf-metadata/model.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import { authorFailure } from './failure.ts';
import { emptyRole, onlyDelegated } from './collection.ts';
import type { AuthoredRole, Collection } from './collection.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';

/**
 * Changes of a collection. Each returns a new collection, or throws when the change is not possible. Pure.
 */

/** A file that a role is to list under a path. */
export interface Addition {
  readonly path: string;
  readonly file: TargetFile;
  /**
   * The file that the path has now: another publisher may have changed it meanwhile. Absent: whatever it has
   * is replaced.
   */
  readonly instead?: TargetFile | 'nothing';
}

/**
 * Adds files under their paths to a role, and replaces files that the role lists under the same paths.
 * @throws TRUST_AUTHOR_NO_ROLE · TRUST_AUTHOR_NOT_IN_DIALECT; TRUST_AUTHOR_BEHIND for a path that has neither
 * the expected file nor already the new one
 */
export function addTargets(collection: Collection, role: string, files: readonly Addition[]): Collection {
  const authored = roleOf(collection, role);
  const targets = new Map(authored.targets);
  for (const { path, file, instead } of files) {
    refuseUnsignable(path, file.custom);
    const now = targets.get(path);
    if (
      instead !== undefined &&
      !isSame(now, file) &&
      !isSame(now, instead === 'nothing' ? undefined : instead)
    )
      throw authorFailure('TRUST_AUTHOR_BEHIND', path, 'another publisher has changed it meanwhile');
    targets.set(path, file);
  }
  return withRole(collection, role, { ...authored, targets });
}

function isSame(one: TargetFile | undefined, other: TargetFile | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  const text = ({ length, hashes, custom = null }: TargetFile): string =>
    String(tufCanonicalJson({ length, hashes, custom }));
  return text(one) === text(other);
}

/** Refuses a value without a canonical form: it could be staged, but never signed. */
function refuseUnsignable(path: string, custom: unknown): void {
  if (custom === undefined) return;
  try {
    tufCanonicalJson(custom);
  } catch (error) {
    throw authorFailure('TRUST_AUTHOR_NOT_IN_DIALECT', path, `its custom data: ${reasonOf(error)}`, error);
  }
}

/** @throws TRUST_AUTHOR_NO_ROLE · TRUST_AUTHOR_NO_TARGET */
export function removeTarget(collection: Collection, role: string, path: string): Collection {
  const authored = roleOf(collection, role);
  const targets = new Map(authored.targets);
  if (!targets.delete(path))
    throw authorFailure('TRUST_AUTHOR_NO_TARGET', path, `${role} signs no such target`);
  return withRole(collection, role, { ...authored, targets });
}

/** The keys that sign for a role from now on. */
export interface KeyChange {
  readonly keys: readonly ListedKey[];
  readonly threshold: number;
}

/**
 * Gives a top-level role new keys. The root is then signed by both its former keys and its new keys.
 * @throws TRUST_AUTHOR_THRESHOLD
 */
export function rotateKeys(collection: Collection, role: TopRole, change: KeyChange): Collection {
  const keys = new Map(collection.keys);
  for (const key of change.keys) keys.set(key.id, key);
  const roles = { ...collection.roles, [role]: checkedKeys(role, change) };
  const used = new Set(topRoles.flatMap((one) => roles[one].keyids));
  return { ...collection, roles, keys: new Map([...keys].filter(([id]) => used.has(id))) };
}

export interface NewDelegation extends KeyChange {
  readonly name: string;
  readonly terminating: boolean;
  readonly scope: DelegationScope;
}

/**
 * Delegates some paths to a role. A delegation with the same name is replaced at its position, because the
 * order of delegations is their precedence.
 * @throws TRUST_AUTHOR_NO_ROLE · TRUST_AUTHOR_THRESHOLD · TRUST_AUTHOR_NOT_IN_DIALECT ·
 * TRUST_AUTHOR_ROLE_NAME
 */
export function delegate(collection: Collection, delegator: string, delegation: NewDelegation): Collection {
  const { name, terminating } = delegation;
  const authored = roleOf(collection, delegator);
  refuseName(collection, delegator, name);
  const role: DelegatedRole = {
    name,
    terminating,
    scope: scopeIn(collection, delegation),
    ...checkedKeys(name, delegation),
  };
  if (collection.dialect === 'notary' && terminating)
    throw authorFailure(
      'TRUST_AUTHOR_NOT_IN_DIALECT',
      name,
      'Notary’s dialect does not support terminating delegations',
    );
  const known = authored.delegations.some((one) => one.name === name);
  const delegations = known
    ? authored.delegations.map((one) => (one.name === name ? role : one))
    : [...authored.delegations, role];
  const keys = new Map(authored.keys);
  for (const key of delegation.keys) keys.set(key.id, key);
  const changed = withRole(collection, delegator, {
    ...authored,
    delegations,
    keys: usedKeys(keys, delegations),
  });
  return changed.targets.has(name) ? changed : withRole(changed, name, emptyRole);
}

/** Removes a delegation and everything that was delegated below it. @throws TRUST_AUTHOR_NO_ROLE */
export function undelegate(collection: Collection, delegator: string, name: string): Collection {
  const authored = roleOf(collection, delegator);
  const delegations = authored.delegations.filter((one) => one.name !== name);
  if (delegations.length === authored.delegations.length)
    throw authorFailure('TRUST_AUTHOR_NO_ROLE', name, `${delegator} does not delegate to it`);
  return onlyDelegated(
    withRole(collection, delegator, { ...authored, delegations, keys: usedKeys(authored.keys, delegations) }),
  );
}

/** Returns the role that delegates to this role. */
export function delegatorOf(collection: Collection, name: string): string | undefined {
  return [...collection.targets].find(([, { delegations }]) =>
    delegations.some((one) => one.name === name),
  )?.[0];
}

const hexDigits = Array.from('0123456789abcdef');

/**
 * Covers every path. No TUF pattern crosses `/`, but hashes have no folders. go-tuf up to 2.4.2 compares the
 * prefixes with the hash in base64url instead of hexadecimal (metadata.go, IsDelegatedPath): the additional
 * letters are for go-tuf, and match nothing in other clients.
 */
export const everyPath: DelegationScope = {
  kind: 'hash-prefixes',
  prefixes: Array.from('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_'),
};

const isEveryPath = (scope: DelegationScope): boolean =>
  scope.kind === 'prefixes'
    ? scope.prefixes.includes('')
    : scope.kind === 'hash-prefixes' && hexDigits.every((digit) => scope.prefixes.includes(digit));

/**
 * Returns a scope in the form of the collection's dialect. A scope that the dialect cannot express exactly is
 * refused, because a wider scope would grant more than was intended.
 */
function scopeIn({ dialect }: Collection, { name, scope }: NewDelegation): DelegationScope {
  if (isEveryPath(scope)) return dialect === 'tuf' ? everyPath : { kind: 'prefixes', prefixes: [''] };
  if (dialect === 'tuf' && scope.kind !== 'prefixes') return scope;
  if (dialect === 'notary' && scope.kind === 'prefixes') return scope;
  const why =
    dialect === 'notary'
      ? 'Notary’s dialect delegates by prefixes of paths, and cannot express this pattern'
      : 'the TUF dialect delegates by patterns, and cannot express this prefix';
  throw authorFailure('TRUST_AUTHOR_NOT_IN_DIALECT', name, why);
}

function refuseName(collection: Collection, delegator: string, name: string): void {
  const fail = (why: string): never => {
    throw authorFailure('TRUST_AUTHOR_ROLE_NAME', name, why);
  };
  if (
    (topRoles as readonly string[]).includes(name) ||
    !/^[^\s/\\%]+(?:\/[^\s/\\%]+)*$/u.test(name) ||
    name.split('/').some((part) => /^\.+$/u.test(part))
  )
    fail('it cannot name a delegated role');
  // Notary's clients find the parent of a role by the role's path (tuf/data/roles.go).
  if (
    collection.dialect === 'notary' &&
    (!/^targets(?:\/[a-z0-9_-]+)+$/u.test(name) || name.slice(0, name.lastIndexOf('/')) !== delegator)
  )
    fail(
      `in Notary’s dialect a role that ${delegator} delegates to is named ${delegator}/NAME, in lower-case letters`,
    );
  const other = delegatorOf(collection, name);
  if (other !== undefined && other !== delegator) fail(`${other} delegates to a role of this name already`);
}

function checkedKeys(role: string, { keys, threshold }: KeyChange): RoleKeys {
  const materials = new Set(keys.map(({ material, id }) => (material === '' ? id : material)));
  if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > materials.size)
    throw authorFailure(
      'TRUST_AUTHOR_THRESHOLD',
      role,
      `a threshold of ${threshold} is not valid for ${materials.size} different keys`,
    );
  return { keyids: [...new Set(keys.map(({ id }) => id))], threshold };
}

function roleOf(collection: Collection, role: string): AuthoredRole {
  const { targets } = collection;
  const authored = targets.get(role);
  if (authored === undefined)
    throw authorFailure(
      'TRUST_AUTHOR_NO_ROLE',
      role,
      delegatorOf(collection, role) === undefined
        ? 'the collection has no such role'
        : 'no place that it is published to has the file of this role, which the snapshot names',
    );
  return authored;
}

/**
 * Refuses to take over what Notary's clients find if the file of the role in which they look first is
 * missing: its targets would seem to be removed.
 * @throws TRUST_AUTHOR_NO_ROLE
 */
export function refuseWithoutReleases(notary: Collection): void {
  const role = 'targets/releases';
  if (delegatorOf(notary, role) !== undefined) roleOf(notary, role);
}

function withRole(collection: Collection, role: string, authored: AuthoredRole): Collection {
  return { ...collection, targets: new Map(collection.targets).set(role, authored) };
}

function usedKeys(
  keys: ReadonlyMap<string, ListedKey>,
  delegations: readonly DelegatedRole[],
): Map<string, ListedKey> {
  const used = new Set(delegations.flatMap(({ keyids }) => keyids));
  return new Map([...keys].filter(([id]) => used.has(id)));
}
