export { isWithin } from './is-within.ts';
export { namingFile, writeNewFile } from './new-file.ts';
export { mayAllWrite, otherWriters } from './other-writers.ts';
export {
  isOwnDescriptor,
  readFilePart,
  readGivenFile,
  readGivenFileSync,
  readPlainFile,
  readPlainFileSync,
  readPlainFileWithMode,
  tryPlainFile,
} from './plain-file.ts';
export type { FilePart, PlainFile } from './plain-file.ts';
