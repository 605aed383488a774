import { createPublicKey } from 'node:crypto';
import type { DelegationScope, Dialect, TargetFile, TopRole } from '../metadata/model.ts';
import { addTarget, delegate, removeTarget, rotateKeys, undelegate } from './changes.ts';
import type { KeyChange } from './changes.ts';
import type { Collection } from './collection.ts';
import type { OnlineRole } from './destination.ts';
import { listedKey } from './keys.ts';

/** A key as it is written down until it is published. */
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

/** A change that waits for the next publish. `dialect`: only there; everywhere unless given. Plain JSON. */
export type StagedChange = { readonly dialect?: Dialect } & (
  | { readonly kind: 'add'; readonly role: string; readonly path: string; readonly file: TargetFile }
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
  /** The service makes a key and signs with it from now on. */
  | { readonly kind: 'server-key'; readonly role: OnlineRole }
);

/** Applies changes in order; those of another dialect are passed over. @throws those of changes.ts */
export function applyStaged(collection: Collection, changes: readonly StagedChange[]): Collection {
  return changes
    .filter(({ dialect }) => dialect === undefined || dialect === collection.dialect)
    .reduce((before, change) => applyOne(before, change), collection);
}

function applyOne(collection: Collection, change: StagedChange): Collection {
  switch (change.kind) {
    case 'add':
      return addTarget(collection, change.role, change.path, change.file);
    case 'remove':
      return removeTarget(collection, change.role, change.path);
    case 'rotate':
      return rotateKeys(collection, change.role, keysIn(collection.dialect, change));
    case 'delegate':
      return delegate(collection, change.delegator, { ...change, ...keysIn(collection.dialect, change) });
    case 'undelegate':
      return undelegate(collection, change.delegator, change.name);
    // The key is asked for when it is published.
    case 'server-key':
    case 'witness':
      return collection;
  }
}

/** Staged keys as a dialect lists them. @throws Error for keys that can not be read */
export function keysIn(dialect: Dialect, { keys, threshold }: StagedKeys): KeyChange {
  return {
    threshold,
    keys: keys.map(({ spki, certificate }) =>
      listedKey(dialect, createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }), certificate),
    ),
  };
}
