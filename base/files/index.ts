export {
  isOwnDescriptor,
  readFilePart,
  readGivenFile,
  readGivenFileSync,
  readPlainFile,
  readPlainFileSync,
  tryPlainFile,
} from './plain-file.ts';
export type { FilePart, PlainFile } from './plain-file.ts';
