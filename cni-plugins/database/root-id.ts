import { randomBytes } from 'node:crypto';
import type { NetworkDatabase } from './database.ts';

/**
 * Returns an id that distinguishes this database from those of other roots; links carry it. It is created
 * once and stored with the records. Its table is not a step of the schema: the previous version ignores it,
 * and can use the database after a downgrade.
 * @throws the errors of {@link NetworkDatabase} if the database cannot be written
 */
export function rootIdOf({ db, transaction }: NetworkDatabase): string {
  return transaction(() => {
    db.exec('CREATE TABLE IF NOT EXISTS root (id TEXT NOT NULL) STRICT');
    const existing = db.prepare('SELECT id FROM root').get() as { id: string } | undefined;
    if (existing !== undefined) return existing.id;
    const id = randomBytes(8).toString('hex');
    db.prepare('INSERT INTO root (id) VALUES (?)').run(id);
    return id;
  });
}
