export {
  PortcullisError,
  asPortcullisError,
  isPortcullisError,
  reasonOf,
  fileReason,
  errorToJson,
  errorFromJson,
  failure,
} from './portcullis-error.ts';
export type { ErrorKind, Failure, SerialisedError } from './portcullis-error.ts';
export { kindOfStatus, statusCodes, statusName } from './status-code.ts';
