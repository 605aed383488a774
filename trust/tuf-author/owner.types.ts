import type { PassphraseSource } from '../keys/passphrase.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { DelegationScope, Dialect, TargetFile, TopRole } from '../tuf-metadata/model.ts';
import type { OnlineRole } from './destination.ts';
import type { Published } from './session.ts';
import type { StagedChange } from './staged.ts';
import type { Settings } from './working-folder.ts';

/**
 * The keys of a role as the user names them (files, URIs, or no entry for a new key), and how many must sign.
 */
export interface KeysNamed {
  readonly files: readonly string[];
  readonly threshold: number;
}

export interface OpenOwnerInput {
  /** The folder of keys and collections. */
  readonly folder: string;
  readonly name: string;
  readonly passphrase: PassphraseSource;
  /** Private keys that sign in this run, in addition to those in the folder. */
  readonly signers: readonly string[];
  readonly registries: RegistryAccess;
  readonly now: Date;
}

export interface InitInput {
  readonly dialects: readonly Dialect[];
  readonly destinations: readonly string[];
  readonly keys: Readonly<Partial<Record<TopRole, KeysNamed>>>;
  readonly expiry: Readonly<Record<string, number>>;
  /** Snapshot and timestamp are signed here, even where a service could sign them. */
  readonly localKeys: boolean;
  /**
   * The Notary root that the owner knows. Set when the collection already exists in Notary's dialect and is
   * to be signed in the TUF dialect too.
   */
  readonly notaryRoot?: Buffer;
}

/** A role as it is now and as it will be after the next publish. */
export interface RoleView {
  readonly dialect: Dialect;
  readonly role: string;
  readonly version?: number;
  readonly expires?: string;
  readonly keyids: readonly string[];
  readonly threshold: number;
  readonly by: string;
  readonly managed: boolean;
  readonly scope?: DelegationScope;
  readonly terminating?: boolean;
}

/** The content of a draft, and how many signatures it has so far. */
export interface Waiting {
  readonly dialect: Dialect;
  readonly version: number;
  /** ISO 8601. */
  readonly expires: string;
  readonly have: number;
  readonly threshold: number;
}

export interface TargetView extends TargetFile {
  readonly path: string;
  readonly role: string;
}

/** A collection as its owner, or a user to whom a role was delegated, works with it. */
export interface Owner {
  init(input: InitInput): Promise<Settings>;
  settings(): Promise<Settings>;
  staged(): Promise<readonly StagedChange[]>;
  /**
   * Stages changes for the next publish: all of them or none. They must be possible in every dialect.
   * @throws the errors of changes.ts
   */
  stage(...changes: readonly StagedChange[]): Promise<void>;
  /** Takes back staged changes. */
  unstage(which: (change: StagedChange) => boolean): Promise<void>;
  /**
   * Runs steps that belong together: no other change of this working folder comes in between.
   * @throws STORAGE_IN_USE when another process still holds the folder after ten seconds
   */
  exclusively<T>(act: (owner: Owner) => Promise<T>): Promise<T>;
  /**
   * Returns the current image as a target: the digest and size of its index or manifest.
   * @throws the errors of base/distribution
   */
  imageTarget(reference: string): Promise<TargetFile>;
  /** Stages new keys for a top-level role: the named keys, or one that is created here. */
  rotate(role: TopRole, keys: KeysNamed): Promise<void>;
  /**
   * Stages new keys that the service makes and signs with.
   * @throws TRUST_AUTHOR_NOT_IN_DIALECT for snapshots whose timestamps are signed here
   */
  rotateToServer(role: OnlineRole): Promise<void>;
  delegate(
    delegation: {
      readonly delegator: string;
      readonly name: string;
      readonly terminating: boolean;
      readonly scope: DelegationScope;
    } & KeysNamed,
  ): Promise<void>;
  publish(options: {
    readonly to: readonly string[];
    readonly countersign: boolean;
    readonly expiry: Readonly<Record<string, number>>;
  }): Promise<Published>;
  /**
   * Signs the drafts of a role that wait for signatures, with the keys that are available here. Returns
   * undefined when no draft waits; the role is then staged to be signed again.
   * @throws TRUST_AUTHOR_OTHER_DRAFT when a draft differs from the collection with its staged changes
   */
  witness(role: string): Promise<readonly Waiting[] | undefined>;
  /** Returns the targets of every role after the next publish, in the first dialect. */
  targets(): Promise<readonly TargetView[]>;
  roles(): Promise<readonly RoleView[]>;
  /** Returns the first root in the TUF dialect, which clients pin; undefined before the first publish. */
  firstRoot(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}
