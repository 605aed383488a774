/** In the place of `base/storage` of `attach/database.ts`: the database's folder stands. */
export * from '../../../../base/storage/index.ts';

export function makeFolderSync(_path: string): void {
  // There is one on the simulated disk.
}
