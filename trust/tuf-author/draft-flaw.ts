import { readMetadata } from '../tuf-metadata/read.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { rootBody, targetsBody } from './bodies.ts';
import { collectionOf, namedIn } from './collection.ts';
import type { Collection, Standing } from './collection.ts';
import type { OnlineRole } from './destination.ts';
import { sameBody } from './issue.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';
import { currentVersion, typeOf } from './publish.ts';

/**
 * Returns why a draft differs from the one that the collection's state requires; undefined when it does not.
 * Drafts come with a folder that other users have passed on, and signers must sign exactly what they can
 * inspect. Snapshot and timestamp only list files, which leaves nothing to decide but versions: nothing could
 * be published after the largest one, and readers would accept former files again after a lower one.
 * @param atService roles whose keys a service has created since: staged changes do not contain these keys
 */
export function draftFlaw(
  collection: Collection,
  existing: Standing,
  { role, bytes }: { readonly role: string; readonly bytes: Buffer },
  atService: readonly OnlineRole[],
): string | undefined {
  const { dialect } = collection;
  const type = typeOf(role);
  const next = currentVersion(dialect, existing, role) + 1;
  const { version } = readMetadata(dialect, type, bytes).signed;
  if (version !== next) return `its version is ${version}, but the next version is ${next}`;
  if (type === 'snapshot' || type === 'timestamp') return listFlaw(dialect, existing, type, bytes);
  const authored = collection.targets.get(role);
  const body =
    type === 'root'
      ? rootBody(withKeysOf(collection, collectionOf(dialect, new Map([['root', bytes]])), atService))
      : authored && targetsBody(dialect, authored);
  return body !== undefined && sameBody(bytes, body)
    ? undefined
    : 'it differs from the collection with its staged changes';
}

/** Returns why the list of files cannot be the next one. Notary's dialect lists no versions. */
function listFlaw(
  dialect: Dialect,
  existing: Standing,
  type: 'snapshot' | 'timestamp',
  bytes: Buffer,
): string | undefined {
  const listed =
    type === 'snapshot'
      ? readMetadata(dialect, type, bytes).signed.meta
      : new Map([['snapshot', readMetadata(dialect, type, bytes).signed.snapshot]]);
  const needed =
    type === 'snapshot' ? ['targets', ...existing.keys(), ...namedIn(dialect, existing).keys()] : [];
  const absent = needed.find((role) => typeOf(role) === 'targets' && !listed.has(role));
  if (absent !== undefined) return `it does not list ${absent}`;
  for (const [role, { version }] of listed) {
    const now = currentVersion(dialect, existing, role);
    if (version !== undefined && version !== now + 1 && (version !== now || now === 0))
      return `it lists version ${version} of ${role}, but the next version is ${now + 1}`;
  }
  return undefined;
}

function withKeysOf(collection: Collection, drafted: Collection, roles: readonly OnlineRole[]): Collection {
  const keys = new Map<string, ListedKey>([...drafted.keys, ...collection.keys]);
  const theirs = Object.fromEntries(roles.map((role) => [role, drafted.roles[role]]));
  return { ...collection, keys, roles: { ...collection.roles, ...theirs } };
}
