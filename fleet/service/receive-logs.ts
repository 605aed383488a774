import type { IncomingMessage } from 'node:http';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Intake, Received } from '../intake/intake.ts';
import { decodeJsonLogs } from '../records/json.ts';
import type { ResourceRecords } from '../records/log-record.ts';
import { attributeNames, namePattern, nextRowHeader } from '../records/record-names.ts';
import { decodeLogs, encodeLogsResponse, encodeStatus } from '../records/protobuf.ts';
import type { Caller } from './access.ts';
import type { Answer } from './answer.ts';
import { readBody } from '../../base/connections/index.ts';
import type { BodyLimits } from '../../base/connections/index.ts';

/** The parts of the service that the reception of log records needs. */
export interface ReceiveContext {
  readonly intake: Intake;
  readonly limits: BodyLimits;
  /** Nodes whose request is being answered. A node can have one request at a time. */
  readonly busy: Set<string>;
  readonly onReceived: (received: Received) => void;
  /** Called when records could not be stored, for example on a full disk. */
  readonly onUnstored: (error: PortcullisError) => void;
}

type Format = 'json' | 'protobuf';

/** Seconds after which a client should repeat a request. */
const retryAfter = '5';

/** Status codes of gRPC, for the body of a refused OTLP request. */
const grpcCodes: Readonly<Record<number, number>> = {
  400: 3,
  401: 16,
  403: 7,
  404: 12,
  405: 12,
  413: 3,
  415: 3,
  429: 8,
  503: 14,
};

/**
 * Answers `POST /v1/logs` (OTLP/HTTP, protobuf or JSON): 200 with partial success for refused records, 429
 * and 503 with Retry-After for requests that may be repeated, and another status for requests that must not
 * be repeated.
 */
export async function receiveLogs(
  context: ReceiveContext,
  caller: Caller | undefined,
  request: IncomingMessage,
): Promise<Answer> {
  const { limits, busy } = context;
  const format = formatOf(request);
  if (caller === undefined)
    return refuse(401, 'the request has no valid token or certificate', format ?? 'json');
  if (caller.role === 'reader') return refuse(403, 'a reader may not write', format ?? 'json');
  if (format === undefined)
    return refuse(415, 'the content type is neither application/x-protobuf nor application/json', 'json');
  const place = caller.role === 'node' ? caller.name : '';
  if (caller.role === 'node') {
    if (busy.has(place)) return refuse(429, 'another request of this node is being answered', format);
    busy.add(place);
  }
  try {
    const body = await readBody(request, limits);
    if ('status' in body) return refuse(body.status, body.why, format);
    try {
      return await store(context, caller, body.bytes, format);
    } finally {
      body.release();
    }
  } finally {
    busy.delete(place);
  }
}

async function store(
  { intake, onReceived, onUnstored }: ReceiveContext,
  caller: Caller,
  bytes: Buffer,
  format: Format,
): Promise<Answer> {
  let resources: readonly ResourceRecords[];
  try {
    resources = format === 'json' ? decodeJsonLogs(bytes.toString('utf8')) : decodeLogs(bytes);
  } catch (thrown) {
    return refuse(400, `the body is not an ExportLogsServiceRequest: ${reasonOf(thrown)}`, format);
  }
  const names = new Set(resources.map(({ attributes }) => attributes.get(attributeNames.node)));
  const [name] = names;
  if (names.size === 0) return succeed({ rejected: 0, message: '', next: 0 }, format);
  if (names.size > 1 || typeof name !== 'string' || !namePattern.test(name))
    return refuse(400, `the resources do not name exactly one node with ${attributeNames.node}`, format);
  if (caller.role === 'node' && caller.name !== name)
    return refuse(403, `this token or certificate belongs to ${caller.name}, not to ${name}`, format);
  try {
    const received = await intake.receive(name, resources);
    onReceived(received);
    return succeed(received, format);
  } catch (thrown) {
    if (!isPortcullisError(thrown) || !thrown.code.startsWith('STORAGE_')) throw thrown;
    onUnstored(thrown);
    return refuse(503, 'the records could not be stored; see the output of the aggregator', format);
  }
}

function formatOf({ headers }: IncomingMessage): Format | undefined {
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  const name = type.trim().toLowerCase();
  return name === 'application/json' ? 'json' : name === 'application/x-protobuf' ? 'protobuf' : undefined;
}

const typeOf = (format: Format): string =>
  format === 'json' ? 'application/json' : 'application/x-protobuf';

function succeed(
  { rejected, message, next }: Pick<Received, 'rejected' | 'message' | 'next'>,
  format: Format,
): Answer {
  const partial = rejected === 0 ? {} : { rejectedLogRecords: String(rejected), errorMessage: message };
  return {
    status: 200,
    headers: { 'Content-Type': typeOf(format), ...(next > 0 && { [nextRowHeader]: String(next) }) },
    body:
      format === 'json'
        ? JSON.stringify(rejected === 0 ? {} : { partialSuccess: partial })
        : encodeLogsResponse({ rejected, message }),
  };
}

/** Returns a refusal with a google.rpc.Status. */
export function refuse(status: number, message: string, format: Format): Answer {
  const code = grpcCodes[status] ?? 2;
  return {
    status,
    headers: {
      'Content-Type': typeOf(format),
      ...((status === 429 || status === 503) && { 'Retry-After': retryAfter }),
      ...(status === 401 && { 'WWW-Authenticate': 'Bearer realm="portcullis-fleet"' }),
    },
    body: format === 'json' ? JSON.stringify({ code, message }) : encodeStatus(code, message),
  };
}
