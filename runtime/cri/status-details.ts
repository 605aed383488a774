import { PortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind, Failure } from '../../base/errors/index.ts';
import { createCodecs, parseDeclaration } from '../../base/protobuf/index.ts';
import { shorten } from './shorten.ts';

/** The trailer that carries structured details (gRPC, "Richer error model"). */
export const detailsKey = 'grpc-status-details-bin';

const errorDomain = 'portcullis.dev';
const errorInfoType = 'type.googleapis.com/google.rpc.ErrorInfo';
const longestValue = 2 * 1024;
/**
 * In a header the message takes up to three bytes per byte. Both together must fit into the 64 KiB that
 * nghttp2 allows.
 */
const largestMetadata = 16 * 1024;

interface Status {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[];
}
interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
}

const codec = createCodecs(
  parseDeclaration({
    package: 'google.rpc',
    messages: {
      Status: { code: '1 int32', message: '2 string', details: '3 repeated Any' },
      Any: { typeUrl: '1 string', value: '2 bytes' },
      ErrorInfo: { reason: '1 string', domain: '2 string', metadata: '3 map<string,string>' },
    },
  }),
);
const statusCodec = codec<Status>('Status');
const errorInfoCodec = codec<ErrorInfo>('ErrorInfo');

/**
 * Encodes `google.rpc.Status` with one ErrorInfo: the reason is the stable code, and metadata contains the
 * failure's parts, the id of the request and the details. Go clients show this message instead of
 * grpc-message, and ignore all of it when `code` is not the status code.
 */
export function encodeDetails(
  code: number,
  message: string,
  error: PortcullisError,
  requestId: string,
): Buffer {
  const { kind, attempted, on, why, fix, prefix, details } = error.failure;
  const metadata: Record<string, string> = {};
  let room = largestMetadata;
  const put = (key: string, value: unknown): void => {
    if (value === undefined || Object.hasOwn(metadata, key)) return;
    const text = shorten(typeof value === 'string' ? value : JSON.stringify(value), longestValue);
    room -= Buffer.byteLength(key) + Buffer.byteLength(text);
    if (room >= 0) metadata[key] = text;
  };
  for (const [key, value] of Object.entries({ kind, prefix, attempted, on, why, fix, requestId }))
    put(key, value);
  for (const [key, value] of Object.entries(details ?? {})) put(key, value);
  const info = errorInfoCodec.encode({ reason: error.code, domain: errorDomain, metadata });
  return statusCodec.encode({ code, message, details: [{ typeUrl: errorInfoType, value: info }] });
}

/**
 * Returns the failure that {@link encodeDetails} wrote, with its details as strings. Undefined for details
 * from other servers.
 */
export function decodeDetails(bytes: Uint8Array): PortcullisError | undefined {
  let info: ErrorInfo | undefined;
  try {
    const found = statusCodec.decode(bytes).details.find((detail) => detail.typeUrl === errorInfoType);
    if (found !== undefined) info = errorInfoCodec.decode(found.value);
  } catch {
    return undefined;
  }
  if (info === undefined || info.domain !== errorDomain) return undefined;
  const {
    kind = 'internal',
    attempted = '',
    on = '',
    why = '',
    fix = '',
    prefix,
    ...details
  } = info.metadata;
  const failure: Failure = { code: info.reason, kind: kind as ErrorKind, attempted, on, why, fix, details };
  return new PortcullisError(prefix === undefined ? failure : { ...failure, prefix });
}
