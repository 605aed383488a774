import type { KeyObject } from 'node:crypto';
import type { Json } from './reading.ts';

/**
 * TUF metadata as values, the same for both dialects: the form of the TUF specification (1.0.34), and the
 * older form of Notary v1, which writes keys, signatures, hashes and names differently.
 */
export type Dialect = 'tuf' | 'notary';

export const topRoles = ['root', 'timestamp', 'snapshot', 'targets'] as const;
export type TopRole = (typeof topRoles)[number];

/**
 * A public key as metadata lists it. It is parsed when the first signature is checked against it, because
 * most keys of a large file are never used.
 */
export interface TufKey {
  readonly id: string;
  /**
   * The signature scheme (`ed25519`, `ecdsa-sha2-nistp256`, `rsassa-pss-sha256` …). Undefined for an
   * unsupported scheme, with which the key never verifies.
   */
  readonly scheme: SignatureScheme | undefined;
  readonly key: KeyObject | undefined;
  /** Digest of the key itself: two ids of the same key count as one signer. */
  readonly material: string;
  /** The entry exactly as the metadata lists it. */
  readonly entry: Json;
}

export interface SignatureScheme {
  readonly kind: 'ed25519' | 'ecdsa' | 'rsa-pss' | 'rsa-pkcs1';
  readonly hash: 'sha224' | 'sha256' | 'sha384' | 'sha512';
  /** The encoding of ECDSA signatures: DER, or Notary's r ‖ s (IEEE P1363). */
  readonly form: 'der' | 'ieee-p1363';
}

export interface TufSignature {
  readonly keyid: string;
  readonly bytes: Buffer;
}

/** The keys that may sign for a role, and how many of them must. */
export interface RoleKeys {
  readonly keyids: readonly string[];
  readonly threshold: number;
}

/** The facts that one file states about another. Notary's snapshot and timestamp state no version. */
export interface FileMeta {
  readonly version: number | undefined;
  readonly length: number | undefined;
  /** Hex digests by algorithm; empty when none is given. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface Common {
  readonly dialect: Dialect;
  readonly version: number;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

export interface Root extends Common {
  readonly type: 'root';
  readonly keys: ReadonlyMap<string, TufKey>;
  readonly roles: Readonly<Record<TopRole, RoleKeys>>;
  readonly consistentSnapshot: boolean;
}

export interface Timestamp extends Common {
  readonly type: 'timestamp';
  readonly snapshot: FileMeta;
}

export interface Snapshot extends Common {
  readonly type: 'snapshot';
  /** By role name, without `.json`. */
  readonly meta: ReadonlyMap<string, FileMeta>;
}

export interface TargetFile {
  readonly length: number;
  /** Hex digests by algorithm, at least one. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly custom: unknown;
}

export interface DelegatedRole extends RoleKeys {
  readonly name: string;
  readonly terminating: boolean;
  readonly scope: DelegationScope;
}

/**
 * The target paths that a delegation covers. `prefixes` is Notary's form; an empty prefix covers every path.
 */
export type DelegationScope =
  | { readonly kind: 'patterns'; readonly patterns: readonly string[] }
  | { readonly kind: 'hash-prefixes'; readonly prefixes: readonly string[] }
  | { readonly kind: 'prefixes'; readonly prefixes: readonly string[] };

export interface Delegations {
  readonly keys: ReadonlyMap<string, TufKey>;
  /** In order of appearance. */
  readonly roles: readonly DelegatedRole[];
  /** The same roles by name; each name is unique. */
  readonly byName: ReadonlyMap<string, DelegatedRole>;
  /** 2^bits roles with the same keys, one for each value of the first bits of a path's sha256 (TAP 15). */
  readonly succinct: (RoleKeys & { readonly bits: number; readonly namePrefix: string }) | undefined;
}

export interface Targets extends Common {
  readonly type: 'targets';
  readonly targets: ReadonlyMap<string, TargetFile>;
  readonly delegations: Delegations | undefined;
}

export type Signed = Root | Timestamp | Snapshot | Targets;

/**
 * A file as it was read: its content, its signatures, the bytes that are signed, and the file's own bytes.
 */
export interface Metadata<S extends Signed = Signed> {
  readonly signed: S;
  readonly signatures: readonly TufSignature[];
  /** Canonical JSON of `signed`. */
  readonly message: Buffer;
  readonly bytes: Buffer;
}
