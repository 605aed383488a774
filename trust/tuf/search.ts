import { delegatesFor } from './delegation.ts';
import { tufFailure } from './failure.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import type { TrustedSet } from './trusted-set.ts';

/** A target, and the role that signed it. */
export interface FoundTarget extends TargetFile {
  readonly path: string;
  readonly role: string;
}

/** A role whose metadata a search needs next, and the role that delegates to it. */
export interface RoleAsked {
  readonly name: string;
  readonly delegator: string;
  /** The snapshot does not list it: it has never published, or is held back. */
  readonly unlisted?: true;
  /**
   * The search continues without it when it is not trusted: the fault of a delegated role affects no other
   * role.
   */
  readonly optional?: true;
}

/**
 * A search over roles. It yields one role after another, and receives whether that role is available now. The
 * caller loads the roles from the network or from available files. A required role that is absent ends the
 * search.
 */
export type Search<T> = Generator<RoleAsked, T, boolean>;

/** Returns the metadata that is trusted at this point of a search. */
export type Current = () => TrustedSet;

/**
 * Searches as TUF specification 1.0.34, section 5.6.7, describes: pre-order, depth first, each role once.
 * @param mostRoles the maximum number of roles to visit
 * @throws TRUST_TUF_MISSING · TRUST_TUF_NO_TARGET when the search is abandoned
 */
export function* searchTarget(
  path: string,
  mostRoles: number,
  current: Current,
): Search<FoundTarget | undefined> {
  const visited = new Set<string>();
  let waiting: RoleAsked[] = [{ name: 'targets', delegator: 'root' }];
  while (visited.size < mostRoles) {
    const next = waiting.pop();
    if (next === undefined) return undefined;
    if (visited.has(next.name)) continue;
    const role = (yield next) ? current().targets.get(next.name)?.signed : undefined;
    if (role === undefined) throw tufFailure('TRUST_TUF_MISSING', next.name, 'its metadata is not available');
    visited.add(next.name);
    const found = role.targets.get(path);
    if (found !== undefined) return { ...found, path, role: next.name };
    const delegates = delegatesFor(role, path);
    const end = delegates.findIndex(({ terminating }) => terminating);
    if (end !== -1) waiting = [];
    const asked = end === -1 ? delegates : delegates.slice(0, end + 1);
    // Not with a spread: a list of hundreds of thousands exceeds the number of arguments that a call can
    // have.
    for (const { name } of asked.reverse()) waiting.push({ name, delegator: next.name });
  }
  throw tufFailure(
    'TRUST_TUF_NO_TARGET',
    `target ${JSON.stringify(path)}`,
    `it was not found in the first ${mostRoles} roles`,
  );
}

/**
 * Finds the path in the first of these roles that has signed it, as Notary's clients look up a tag
 * (client/client.go of Notary 0.7: `targets/releases`, then `targets`). The name of a role is its position:
 * `targets/a/b` is delegated by `targets/a`, and each delegation on the way must cover the path. A role that
 * no role delegates to, or that has not published yet, is skipped.
 */
export function* searchRoles(
  path: string,
  roles: readonly string[],
  current: Current,
): Search<FoundTarget | undefined> {
  for (const name of roles) {
    if (!(yield* reachRole(name, path, current))) continue;
    const found = current().targets.get(name)?.signed.targets.get(path);
    if (found !== undefined) return { ...found, path, role: name };
  }
  return undefined;
}

function* reachRole(name: string, path: string | undefined, current: Current): Search<boolean> {
  const steps = name.split('/').map((_, index, parts) => parts.slice(0, index + 1).join('/'));
  for (const [index, step] of steps.entries()) {
    const delegator = steps[index - 1] ?? 'root';
    if (delegator !== 'root') {
      const parent = current().targets.get(delegator)?.signed;
      const listed = parent?.delegations?.byName.has(step) === true;
      const about =
        path === undefined ||
        (parent !== undefined && delegatesFor(parent, path).some((role) => role.name === step));
      if (!listed || !about) return false;
      if (current().snapshot?.signed.meta.has(step) !== true)
        return yield { name: step, delegator, unlisted: true };
    }
    if (!(yield { name: step, delegator }))
      throw tufFailure('TRUST_TUF_MISSING', step, 'its metadata is not available');
  }
  return true;
}

/** How a name is looked up in a repository. */
export interface LookUp {
  /** Notary's roles, in their order; undefined: the search of the TUF specification. */
  readonly roles: readonly string[] | undefined;
  readonly mostRoles: number;
}

export function searchPath(
  path: string,
  { roles, mostRoles }: LookUp,
  current: Current,
): Search<FoundTarget | undefined> {
  return roles === undefined ? searchTarget(path, mostRoles, current) : searchRoles(path, roles, current);
}

/** The maximum number of names of one digest that are tried. */
const mostNames = 256;
/**
 * The maximum length of a name that is tried, longer than any reference with registry, repository and tag.
 * Each name is matched against patterns.
 */
const mostNameLength = 1024;

/**
 * Searches for a name under which a digest is currently signed: a lookup of the name must return this digest.
 * @param hex sha256
 * @param about returns whether a name counts
 */
export function* searchDigest(
  hex: string,
  about: (path: string) => boolean,
  lookUp: LookUp,
  current: Current,
): Search<FoundTarget | undefined> {
  yield* visitAll(lookUp, current);
  let tried = 0;
  for (const path of namesOf(hex, about, current())) {
    if ((tried += 1) > mostNames) break;
    const found = yield* tolerant(searchPath(path, lookUp, current));
    if (found?.hashes['sha256'] === hex) return found;
  }
  return undefined;
}

function* visitAll({ roles, mostRoles }: LookUp, current: Current): Search<void> {
  if (roles !== undefined) {
    for (const name of roles) yield* reachRole(name, undefined, current);
    return;
  }
  const visited = new Set<string>();
  const waiting: RoleAsked[] = [{ name: 'targets', delegator: 'root' }];
  // A lookup finds nothing that a role skipped here signs, and a digest is admitted only by a name that is
  // looked up. The list grows during the loop.
  for (const next of waiting) {
    if (visited.has(next.name)) continue;
    if (visited.size >= mostRoles) return;
    visited.add(next.name);
    // A role that is not available signs nothing that could be found.
    if (!(yield next)) continue;
    const delegator = next.name;
    const delegations = current().targets.get(delegator)?.signed.delegations;
    // Hashed bins are found by a path, but not by a digest alone.
    for (const { name } of delegations?.roles ?? []) waiting.push({ name, delegator, optional: true });
  }
}

function* namesOf(hex: string, about: (path: string) => boolean, { targets }: TrustedSet): Generator<string> {
  const seen = new Set<string>();
  for (const { signed } of targets.values()) {
    for (const [path, { hashes }] of signed.targets) {
      if (hashes['sha256'] !== hex || path.length > mostNameLength || seen.has(path) || !about(path))
        continue;
      seen.add(path);
      yield path;
    }
  }
}

/** Runs a search in which a failed lookup counts as a name that does not match. */
function* tolerant(search: Search<FoundTarget | undefined>): Search<FoundTarget | undefined> {
  try {
    return yield* search;
  } catch {
    return undefined;
  }
}
