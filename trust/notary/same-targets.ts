import { covers, delegatesFor } from '../tuf/delegation.ts';
import type { TargetFile, Targets } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { namesByPrefix } from './roles.ts';

/**
 * Compares what the files of both dialects mean: under each name, Notary's clients must find the same as
 * TUF's clients, and TUF's clients must not find anything that is not signed in Notary's files. Other files
 * that a Notary delegate signs, and roles that no role delegates to, are found by no client and do not
 * matter.
 * @returns a name for which they differ, or undefined
 */
export function differentTarget(
  notary: ReadonlyMap<string, Buffer>,
  tuf: ReadonlyMap<string, Buffer>,
): string | undefined {
  const [theirs, ours] = [reachable('notary', notary), reachable('tuf', tuf)];
  const found = foundByNotary(theirs);
  for (const [path, digest] of found) if (foundByTuf(path, ours) !== digest) return path;
  const signed = new Set<string>();
  for (const { targets } of theirs.values())
    for (const [path, file] of targets) signed.add(JSON.stringify([path, digestOf(file)]));
  for (const { targets } of ours.values())
    for (const path of targets.keys()) {
      const digest = found.has(path) ? undefined : foundByTuf(path, ours);
      if (digest !== undefined && !signed.has(JSON.stringify([path, digest]))) return path;
    }
  return undefined;
}

/** Returns the roles that a search from `targets` can reach. */
function reachable(dialect: Dialect, files: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Targets> {
  const roles = new Map<string, Targets>();
  const names = new Set(['targets']);
  const binsOf = namesByPrefix([...files.keys()]);
  for (const name of names) {
    const bytes = files.get(name);
    if (bytes === undefined) continue;
    const { signed } = readMetadata(dialect, 'targets', bytes);
    roles.set(name, signed);
    const succinct = signed.delegations?.succinct;
    if (succinct !== undefined) for (const bin of binsOf(`${succinct.namePrefix}-`)) names.add(bin);
    for (const role of signed.delegations?.roles ?? []) names.add(role.name);
  }
  return roles;
}

const digestOf = (file: TargetFile | undefined): string | undefined =>
  file && `${file.hashes['sha256'] ?? ''} ${file.length}`;

/**
 * Returns the files by path: from `targets/releases` for a path that is delegated to it, else from `targets`
 * (client/client.go of Notary 0.7.0).
 */
function foundByNotary(roles: ReadonlyMap<string, Targets>): Map<string, string | undefined> {
  const found = new Map<string, string | undefined>();
  const top = roles.get('targets');
  for (const [path, file] of top?.targets ?? []) found.set(path, digestOf(file));
  const scope = top?.delegations?.byName.get('targets/releases')?.scope;
  for (const [path, file] of roles.get('targets/releases')?.targets ?? [])
    if (scope !== undefined && covers(scope, path)) found.set(path, digestOf(file));
  return found;
}

/** Searches the given roles as in section 5.6.7 of the TUF specification 1.0.34. */
function foundByTuf(path: string, roles: ReadonlyMap<string, Targets>): string | undefined {
  const visited = new Set<string>();
  let waiting = ['targets'];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const role = visited.has(name) ? undefined : roles.get(name);
    if (role === undefined) continue;
    visited.add(name);
    const file = role.targets.get(path);
    if (file !== undefined) return digestOf(file);
    const delegates = delegatesFor(role, path);
    const end = delegates.findIndex(({ terminating }) => terminating);
    if (end !== -1) waiting = [];
    const asked = end === -1 ? delegates : delegates.slice(0, end + 1);
    for (const { name: delegate } of asked.reverse()) waiting.push(delegate);
  }
  return undefined;
}
