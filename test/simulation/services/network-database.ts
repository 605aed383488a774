import { DatabaseSync } from 'node:sqlite';
import { storageFailure } from '../../../base/storage/index.ts';
import type { SqlRow } from '../../../base/storage/index.ts';
import type { NetworkDatabase } from '../../../cni-plugins/database/database.ts';
import { migrations } from '../../../cni-plugins/database/migrations.ts';
import type { Decisions } from '../engine/decisions.ts';

/**
 * The network's database on the simulated disk: SQLite itself, in memory. It keeps exactly SQLite's promises:
 * a transaction is kept completely or not; with `synchronous = FULL` it survives a loss of power, with all
 * transactions before it; without, any number of the latest may be lost.
 */
export interface StoredNetwork {
  /** @param effect runs one effect of the daemon on the disk, which may fail */
  open(effect: Effect): NetworkDatabase;
  losePower(decisions: Decisions): void;
  read(sql: string): readonly SqlRow[];
  close(): void;
}

export type Effect = <T>(kind: 'read' | 'write', name: string, body: () => T) => T;

const full = 2;
const errcodes: Readonly<Record<string, number>> = { ENOSPC: 13, EMFILE: 14, ENOMEM: 14 };
let empty: Uint8Array | undefined;

/** Returns the bytes of a newly created database. */
function emptyFile(): Uint8Array {
  if (empty !== undefined) return empty;
  const db = new DatabaseSync(':memory:');
  for (const sql of migrations) db.exec(sql);
  empty = db.serialize();
  db.close();
  return empty;
}

function opened(file: Uint8Array): DatabaseSync {
  const db = new DatabaseSync(':memory:');
  db.deserialize(file);
  return db;
}

/** Returns the error with which SQLite reports a failure of the disk. */
export function asStorageFailure(errno: string, attempted: string): Error {
  const error = Object.assign(new Error(`simulated: ${errno}`), { errcode: errcodes[errno] ?? 10 });
  return storageFailure(error, attempted, 'the network database');
}

export function createStoredNetwork(): StoredNetwork {
  let db = opened(emptyFile());
  /** States before each transaction that a loss of power may undo, the first one first. */
  let unsafe: Uint8Array[] = [];
  const commit = <T>(body: () => T): T => {
    const isSafe = db.prepare('PRAGMA synchronous').get()?.['synchronous'] === full;
    const before = isSafe ? undefined : db.serialize();
    db.exec('BEGIN IMMEDIATE');
    let result: T;
    try {
      result = body();
    } catch (thrown) {
      db.exec('ROLLBACK');
      throw thrown;
    }
    db.exec('COMMIT');
    unsafe = before === undefined ? [] : [...unsafe, before];
    return result;
  };
  return {
    open: (effect) => {
      effect('read', 'opening of the network database', () =>
        db.exec('PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON'),
      );
      return {
        db,
        transaction: (body) => effect('write', 'transaction', () => commit(body)),
        exclusively: (body) => body(),
        checkpoint: () => undefined,
        close: () => undefined,
      };
    },
    losePower: (decisions) => {
      const lost = decisions.choose('transactions lost', unsafe.length + 1);
      const left = unsafe[unsafe.length - lost];
      if (left !== undefined) {
        db.close();
        db = opened(left);
      }
      unsafe = [];
    },
    read: (sql) => db.prepare(sql).all(),
    close: () => db.close(),
  };
}
