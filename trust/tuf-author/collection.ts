import type {
  DelegatedRole,
  Dialect,
  FileMeta,
  RoleKeys,
  TargetFile,
  TopRole,
  TufKey,
} from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';

/**
 * The content that an owner intends to sign, in one dialect: which keys may sign for which role, and which
 * files are signed. Values only: issue.ts adds versions, expiries and signatures.
 */
export interface Collection {
  readonly dialect: Dialect;
  /** Keys of the top-level roles, by id. */
  readonly keys: ReadonlyMap<string, ListedKey>;
  readonly roles: Readonly<Record<TopRole, RoleKeys>>;
  /** `targets` and the delegated roles, by name. */
  readonly targets: ReadonlyMap<string, AuthoredRole>;
}

export interface AuthoredRole {
  readonly targets: ReadonlyMap<string, TargetFile>;
  /** Keys of the roles that it delegates to, by id. */
  readonly keys: ReadonlyMap<string, ListedKey>;
  readonly delegations: readonly DelegatedRole[];
}

/** The current files: role name (`root`, `timestamp`, `snapshot`, `targets`, delegated roles) → bytes. */
export type Standing = ReadonlyMap<string, Buffer>;

export const emptyRole: AuthoredRole = { targets: new Map(), keys: new Map(), delegations: [] };

const ownTop: ReadonlySet<string> = new Set(['root', 'timestamp', 'snapshot']);

/**
 * Returns the content of a dialect's files. Signatures are not checked here: the caller has verified the
 * files. A role that no role delegates to any more is not part of the content, although its file is kept: it
 * is not read, because nobody may have signed it for this collection.
 * @throws Error with a sentence when a file has the wrong form, or uses succinct delegations, which this
 * writer does not preserve
 */
export function collectionOf(dialect: Dialect, existing: Standing): Collection {
  const root = existing.get('root');
  if (root === undefined) throw new Error('there is no root');
  const { signed } = readMetadata(dialect, 'root', root);
  const reached = new Map<string, AuthoredRole>();
  const names = new Set(['targets']);
  for (const name of names) {
    const bytes = existing.get(name);
    if (bytes === undefined || ownTop.has(name)) continue;
    const authored = authoredRole(dialect, name, bytes);
    reached.set(name, authored);
    for (const role of authored.delegations) names.add(role.name);
  }
  const collection = { dialect, keys: listedKeys(signed.keys), roles: signed.roles, targets: reached };
  return dialect === 'notary' ? withUnborn(collection, existing) : collection;
}

/**
 * Adds the roles that have published nothing yet: in Notary's dialect they have no file. A role that the
 * snapshot names has published something, which is not available here.
 */
function withUnborn(collection: Collection, existing: Standing): Collection {
  const targets = new Map(collection.targets);
  const named = namedIn(collection.dialect, existing);
  for (const { delegations } of collection.targets.values())
    for (const { name } of delegations)
      if (!targets.has(name) && !named.has(name)) targets.set(name, emptyRole);
  return { ...collection, targets };
}

/** Returns what the current snapshot states about files, by role. */
export function namedIn(dialect: Dialect, existing: Standing): ReadonlyMap<string, FileMeta> {
  const snapshot = existing.get('snapshot');
  return snapshot === undefined ? new Map() : readMetadata(dialect, 'snapshot', snapshot).signed.meta;
}

/** Drops roles that no role delegates to. */
export function onlyDelegated(collection: Collection): Collection {
  const reached = new Set(['targets']);
  for (const name of reached)
    for (const role of collection.targets.get(name)?.delegations ?? []) reached.add(role.name);
  return { ...collection, targets: new Map([...collection.targets].filter(([name]) => reached.has(name))) };
}

function authoredRole(dialect: Dialect, name: string, bytes: Buffer): AuthoredRole {
  const { targets, delegations } = readMetadata(dialect, 'targets', bytes).signed;
  if (delegations?.succinct !== undefined)
    throw new Error(`${name} has succinct delegations, which are read and not written`);
  return {
    targets,
    keys: listedKeys(delegations?.keys ?? new Map<string, TufKey>()),
    delegations: delegations?.roles ?? [],
  };
}

function listedKeys(keys: ReadonlyMap<string, TufKey>): Map<string, ListedKey> {
  return new Map(
    [...keys].map(([id, { entry, material }]): [string, ListedKey] => [id, { id, entry, material }]),
  );
}
