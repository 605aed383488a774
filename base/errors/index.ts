export { attempt, orThrow, tolerate } from './attempt.ts';
export {
  PortcullisError,
  asPortcullisError,
  codeIs,
  isPortcullisError,
  reasonOf,
  reasonAndFix,
  fileReason,
  folderReason,
  connectReason,
  errorToJson,
  errorFromJson,
  failure,
} from './portcullis-error.ts';
export type { ErrorKind, Failure, SerialisedError } from './portcullis-error.ts';
export {
  errnoIs,
  errnoOf,
  leavesUnknown,
  meaningOfErrno,
  meansDamagedFileSystem,
  meansDiskFull,
  meansGone,
  meansNoSuchPath,
  meansShortage,
} from './errno.ts';
export type { ErrnoMeaning } from './errno.ts';
export { textOfErrno } from './unnamed-errno.ts';
export { kindOfStatus, statusCodes, statusName } from './status-code.ts';
