import type { PassphraseSource } from '../../keys/passphrase.ts';
import type { RegistryAccess } from '../../registry-access.ts';
import type { DelegationScope, Dialect, TargetFile, TopRole } from '../metadata/model.ts';
import type { OnlineRole } from './destination.ts';
import type { Published } from './session.ts';
import type { StagedChange } from './staged.ts';
import type { Settings } from './working-folder.ts';

/** How keys of a role are named: files, URIs, or none for a new one; and how many must sign. */
export interface KeysNamed {
  readonly files: readonly string[];
  readonly threshold: number;
}

export interface OpenOwnerInput {
  /** Of keys and collections. */
  readonly folder: string;
  readonly name: string;
  readonly passphrase: PassphraseSource;
  /** Private keys that sign in this run, beside those of the folder. */
  readonly signers: readonly string[];
  readonly registries: RegistryAccess;
  readonly now: Date;
}

export interface InitInput {
  readonly dialects: readonly Dialect[];
  readonly destinations: readonly string[];
  readonly keys: Readonly<Partial<Record<TopRole, KeysNamed>>>;
  readonly expiry: Readonly<Record<string, number>>;
  /** Snapshot and timestamp are signed here, also where a service could. */
  readonly localKeys: boolean;
  /** Notary's root as its owner knows it: the collection exists already in Notary's dialect, and is to be signed in TUF's too. */
  readonly notaryRoot?: Buffer;
}

/** A role as it stands and will stand. */
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

/** What a draft is, and how many signatures it has by now. */
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

/** A collection in the hands of its owner, or of somebody to whom a role was delegated. */
export interface Owner {
  init(input: InitInput): Promise<Settings>;
  settings(): Promise<Settings>;
  staged(): Promise<readonly StagedChange[]>;
  /** Remembers changes for the next publish: all of them or none. They must be possible in every dialect. @throws those of changes.ts */
  stage(...changes: readonly StagedChange[]): Promise<void>;
  /** What an image is now, as a target: the digest and size of its index or manifest. @throws those of base/distribution */
  imageTarget(reference: string): Promise<TargetFile>;
  /** New keys for a top role: those named, or one that is made here. */
  rotate(role: TopRole, keys: KeysNamed): Promise<void>;
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
   * Signs what waits for signatures of a role with the keys that are here; undefined: nothing waits, and the role is staged to be signed anew.
   * @throws TRUST_AUTHOR_OTHER_DRAFT when it says something else than the collection with what is staged
   */
  witness(role: string): Promise<readonly Waiting[] | undefined>;
  /** Targets after the next publish, of every role, in the first dialect. */
  targets(): Promise<readonly TargetView[]>;
  roles(): Promise<readonly RoleView[]>;
  close(): Promise<void>;
}
