import type { KeyObject } from 'node:crypto';
import type { Dialect } from '../metadata/model.ts';
import type { TufSource } from '../client/source.ts';

/** Files as a repository names them: `3.root.json`, `targets/releases` … with the role that each is of. */
export interface PublishedFile {
  readonly role: string;
  readonly version: number;
  readonly bytes: Buffer;
}

/** What a service may sign by itself. */
export type OnlineRole = 'snapshot' | 'timestamp';

/** A publish in one dialect. */
export interface Publication {
  readonly dialect: Dialect;
  /** What is not there yet, in order: roots, targets, snapshot, timestamp. */
  readonly lacking: readonly PublishedFile[];
  /** Everything that is to be there: every root, and the files of now. */
  readonly all: readonly PublishedFile[];
}

/** A place where a collection is published and read. */
export interface Destination {
  readonly address: string;
  readonly dialects: readonly Dialect[];
  source(dialect: Dialect): TufSource;
  /** All dialects at once, all or nothing for its readers. @throws TRUST_AUTHOR_REFUSED, and those of the network */
  publish(publications: readonly Publication[]): Promise<void>;
  /** A key that the place signs a role with; a new one when `fresh`. Absent: it signs nothing. */
  readonly serverKey?: (dialect: Dialect, role: OnlineRole, fresh: boolean) => Promise<KeyObject>;
  close(): Promise<void>;
}

/** As the TUF specification names it under consistent snapshots (1.0.34, section 6.2); roles are not encoded. */
export function consistentName({ role, version }: PublishedFile): string {
  return role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`;
}
