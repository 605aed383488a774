/**
 * The client of TUF repositories, and its store in a folder: for programs that fetch targets or releases of
 * policies.
 */
export { downloadTargets, initialiseTuf, refreshTuf } from './folder-client.ts';
export { folderStore } from './folder-store.ts';
export type { TufStore } from './source.ts';
