import { createPublicKey } from 'node:crypto';
import type { DelegationScope, Dialect, TopRole } from '../tuf-metadata/model.ts';
import { addTargets, delegate, removeTarget, rotateKeys, undelegate } from './changes.ts';
import type { Addition, KeyChange } from './changes.ts';
import type { Collection } from './collection.ts';
import type { OnlineRole } from './destination.ts';
import { listedKey } from '../tuf-metadata/listed-key.ts';

/** A key as it is recorded until it is published. */
export interface StagedKey {
  /** Base64 DER. */
  readonly spki: string;
  /** PEM; for Notary's dialect. */
  readonly certificate?: string;
}

export interface StagedKeys {
  readonly keys: readonly StagedKey[];
  readonly threshold: number;
}

/**
 * A change that waits for the next publish. It applies to `dialect` only, or to every dialect when that is
 * absent. Plain JSON.
 */
export type StagedChange = { readonly dialect?: Dialect } & (
  | ({ readonly kind: 'add'; readonly role: string } & Addition)
  | { readonly kind: 'remove'; readonly role: string; readonly path: string }
  | ({ readonly kind: 'rotate'; readonly role: TopRole } & StagedKeys)
  | ({
      readonly kind: 'delegate';
      readonly delegator: string;
      readonly name: string;
      readonly terminating: boolean;
      readonly scope: DelegationScope;
    } & StagedKeys)
  | { readonly kind: 'undelegate'; readonly delegator: string; readonly name: string }
  | { readonly kind: 'witness'; readonly role: string }
  /** The service creates a key and signs with it from now on. */
  | { readonly kind: 'server-key'; readonly role: OnlineRole }
);

/**
 * Applies changes in order; changes of another dialect are skipped.
 * @param options.nothingToRemove a change that removes what the collection does not contain. By default it
 * counts as done: another publisher may have removed the same meanwhile, and an earlier publish, whose answer
 * was lost.
 * @throws the errors of changes.ts
 */
export function applyStaged(
  collection: Collection,
  changes: readonly StagedChange[],
  { nothingToRemove = 'done' }: { readonly nothingToRemove?: 'done' | 'refused' } = {},
): Collection {
  const own = changes.filter(({ dialect }) => dialect === undefined || dialect === collection.dialect);
  let changed = collection;
  for (let at = 0; at < own.length;) {
    const [change, additions] = [own[at], additionsFrom(own, at)];
    // Thousands of targets may be added at once. One by one, each addition would copy all existing targets.
    if (change?.kind === 'add') changed = addTargets(changed, change.role, additions);
    else if (change !== undefined && (nothingToRemove === 'refused' || !isRemoved(changed, change)))
      changed = applyOne(changed, change);
    at += Math.max(1, additions.length);
  }
  return changed;
}

/** Returns the consecutive additions to one role from an index on. */
function additionsFrom(
  changes: readonly StagedChange[],
  from: number,
): Extract<StagedChange, { kind: 'add' }>[] {
  const found: Extract<StagedChange, { kind: 'add' }>[] = [];
  for (let at = from; at < changes.length; at += 1) {
    const change = changes[at];
    if (change?.kind !== 'add' || (found[0] ?? change).role !== change.role) break;
    found.push(change);
  }
  return found;
}

/** Returns whether a change removes what the collection does not contain any more. */
function isRemoved({ targets }: Collection, change: StagedChange): boolean {
  if (change.kind === 'remove') return targets.get(change.role)?.targets.has(change.path) !== true;
  if (change.kind !== 'undelegate') return false;
  return targets.get(change.delegator)?.delegations.some(({ name }) => name === change.name) !== true;
}

function applyOne(collection: Collection, change: StagedChange): Collection {
  switch (change.kind) {
    case 'add':
      return addTargets(collection, change.role, [change]);
    case 'remove':
      return removeTarget(collection, change.role, change.path);
    case 'rotate':
      return rotateKeys(collection, change.role, keysIn(collection.dialect, change));
    case 'delegate':
      return delegate(collection, change.delegator, { ...change, ...keysIn(collection.dialect, change) });
    case 'undelegate':
      return undelegate(collection, change.delegator, change.name);
    // The service is asked for the key at the next publish.
    case 'server-key':
    case 'witness':
      return collection;
  }
}

/** Returns staged keys in the form of a dialect. @throws Error for keys that cannot be read */
export function keysIn(dialect: Dialect, { keys, threshold }: StagedKeys): KeyChange {
  return {
    threshold,
    keys: keys.map(({ spki, certificate }) =>
      listedKey(
        dialect,
        createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }),
        certificate,
      ),
    ),
  };
}
