import type { KeyObject } from 'node:crypto';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { TufSource } from '../tuf-client/source.ts';

/**
 * Files under the names that a repository gives them (`3.root.json`, `targets/releases` …), each with its
 * role.
 */
export interface PublishedFile {
  readonly role: string;
  readonly version: number;
  readonly bytes: Buffer;
}

/** A role that a service may sign by itself. */
export type OnlineRole = 'snapshot' | 'timestamp';

/** A publish in one dialect. */
export interface Publication {
  readonly dialect: Dialect;
  /** Files that the destination lacks, in order: roots, targets, snapshot, timestamp. */
  readonly lacking: readonly PublishedFile[];
  /** Every file that the destination must have: every root, and the current files. */
  readonly all: readonly PublishedFile[];
}

/** A place where a collection is published and read. */
export interface Destination {
  readonly address: string;
  readonly dialects: readonly Dialect[];
  source(dialect: Dialect): TufSource;
  /**
   * Publishes all dialects at once. Readers see all of it or nothing.
   * @throws TRUST_AUTHOR_REFUSED; TRUST_AUTHOR_BEHIND if another publisher came first; network errors
   */
  publish(publications: readonly Publication[]): Promise<void>;
  /**
   * Returns the key that the destination signs a role with, or a new key when `fresh` is set. The method is
   * absent when the destination signs nothing.
   */
  readonly serverKey?: (dialect: Dialect, role: OnlineRole, fresh: boolean) => Promise<KeyObject>;
  close(): Promise<void>;
}

/**
 * Returns the name that the TUF specification gives the file under consistent snapshots (1.0.34, section
 * 6.2). Role names are not encoded.
 */
export function consistentName({ role, version }: PublishedFile): string {
  return role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`;
}
