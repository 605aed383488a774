/** Replaces `base/storage` in `database/database.ts`: the database's folder exists. */
export * from '../../../../base/storage/index.ts';

export function makeFolderSync(_path: string): void {
  // The simulated disk has one.
}
