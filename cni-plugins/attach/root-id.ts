import { randomBytes } from 'node:crypto';
import type { NetworkDatabase } from './database.ts';

/**
 * Tells this database from those of other roots: links carry it. Made once, and kept with the records that it stands for. Its table is no
 * step of the schema: the version before does not look at it, and goes on with the database after a downgrade.
 * @throws what {@link NetworkDatabase} does where it cannot be written
 */
export function rootIdOf({ db, transaction }: NetworkDatabase): string {
  return transaction(() => {
    db.exec('CREATE TABLE IF NOT EXISTS root (id TEXT NOT NULL) STRICT');
    const standing = db.prepare('SELECT id FROM root').get() as { id: string } | undefined;
    if (standing !== undefined) return standing.id;
    const id = randomBytes(8).toString('hex');
    db.prepare('INSERT INTO root (id) VALUES (?)').run(id);
    return id;
  });
}
