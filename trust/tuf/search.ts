import { delegatesFor } from './delegation.ts';
import { tufFailure } from './failure.ts';
import type { TargetFile } from './metadata/model.ts';
import type { TrustedSet } from './trusted-set.ts';

/** A target, and the role that signed it. */
export interface FoundTarget extends TargetFile {
  readonly path: string;
  readonly role: string;
}

/** A role whose metadata a search needs next, and who vouches for it. */
export interface RoleAsked {
  readonly name: string;
  readonly delegator: string;
  /** The snapshot does not name it: it has never published, or is held back. */
  readonly unlisted?: true;
  /** The search goes on without it when it is not believed: a delegate's fault is nobody else's. */
  readonly optional?: true;
}

/**
 * A search over roles: it asks for one after another and is told whether it is there now. Whoever runs it brings them: over the
 * network, or from files that are at hand. A role that is not there, and must be, ends the search.
 */
export type Search<T> = Generator<RoleAsked, T, boolean>;

/** What is trusted at this moment of a search. */
export type Current = () => TrustedSet;

/**
 * TUF specification 1.0.34, section 5.6.7: pre-order, depth first, each role once.
 * @param mostRoles roles that are visited at most
 * @throws TRUST_TUF_MISSING · TRUST_TUF_NO_TARGET when it gives up
 */
export function* searchTarget(path: string, mostRoles: number, current: Current): Search<FoundTarget | undefined> {
  const visited = new Set<string>();
  let waiting: RoleAsked[] = [{ name: 'targets', delegator: 'root' }];
  while (visited.size < mostRoles) {
    const next = waiting.pop();
    if (next === undefined) return undefined;
    if (visited.has(next.name)) continue;
    const role = (yield next) ? current().targets.get(next.name)?.signed : undefined;
    if (role === undefined) throw tufFailure('TRUST_TUF_MISSING', next.name, 'its metadata is not at hand');
    visited.add(next.name);
    const found = role.targets.get(path);
    if (found !== undefined) return { ...found, path, role: next.name };
    const delegates = delegatesFor(role, path);
    const end = delegates.findIndex(({ terminating }) => terminating);
    if (end !== -1) waiting = [];
    const asked = end === -1 ? delegates : delegates.slice(0, end + 1);
    // Not by a spread: a list of hundreds of thousands is more than a call can have arguments.
    for (const { name } of asked.reverse()) waiting.push({ name, delegator: next.name });
  }
  throw tufFailure('TRUST_TUF_NO_TARGET', `target ${JSON.stringify(path)}`, `it was not found in the first ${mostRoles} roles`);
}

/**
 * The first of these roles that has signed the path, as Notary's clients look a tag up (client/client.go of Notary 0.7: `targets/releases`,
 * then `targets`). A role's name is its place: `targets/a/b` is delegated by `targets/a`, and each on the way must be for the path.
 * A role that nobody delegates to, or that has not published yet, is passed over.
 */
export function* searchRoles(path: string, roles: readonly string[], current: Current): Search<FoundTarget | undefined> {
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
      const about = path === undefined || (parent !== undefined && delegatesFor(parent, path).some((role) => role.name === step));
      if (!listed || !about) return false;
      if (current().snapshot?.signed.meta.has(step) !== true) return yield { name: step, delegator, unlisted: true };
    }
    if (!(yield { name: step, delegator })) throw tufFailure('TRUST_TUF_MISSING', step, 'its metadata is not at hand');
  }
  return true;
}

/** How a name is looked up in a repository. */
export interface LookUp {
  /** Notary's roles, in their order; undefined: the TUF specification's search. */
  readonly roles: readonly string[] | undefined;
  readonly mostRoles: number;
}

export function searchPath(path: string, { roles, mostRoles }: LookUp, current: Current): Search<FoundTarget | undefined> {
  return roles === undefined ? searchTarget(path, mostRoles, current) : searchRoles(path, roles, current);
}

/** Names of one digest that are tried at most. */
const mostNames = 256;
/** Characters of a name that is tried: more than a reference with registry, repository and tag has. Patterns are held against each. */
const mostNameLength = 1024;

/**
 * A name under which a digest is signed now: one that, looked up, gives this digest and no other.
 * @param hex sha256
 * @param about which names count
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
  // What a role signs that is passed over here, nobody finds: a digest is admitted by a name that is looked up. The list grows meanwhile.
  for (const next of waiting) {
    if (visited.has(next.name)) continue;
    if (visited.size >= mostRoles) return;
    visited.add(next.name);
    // What is not at hand signs nothing that could be found.
    if (!(yield next)) continue;
    const delegator = next.name;
    const delegations = current().targets.get(delegator)?.signed.delegations;
    // Bins are found by a path; by a digest alone they are not.
    for (const { name } of delegations?.roles ?? []) waiting.push({ name, delegator, optional: true });
  }
}

function* namesOf(hex: string, about: (path: string) => boolean, { targets }: TrustedSet): Generator<string> {
  const seen = new Set<string>();
  for (const { signed } of targets.values()) {
    for (const [path, { hashes }] of signed.targets) {
      if (hashes['sha256'] !== hex || path.length > mostNameLength || seen.has(path) || !about(path)) continue;
      seen.add(path);
      yield path;
    }
  }
}

/** A name that can not be looked up is not the one. */
function* tolerant(search: Search<FoundTarget | undefined>): Search<FoundTarget | undefined> {
  try {
    return yield* search;
  } catch {
    return undefined;
  }
}
