export { readGivenFile, readPlainFile, readPlainFileSync, tryPlainFile } from './plain-file.ts';
export type { PlainFile } from './plain-file.ts';
