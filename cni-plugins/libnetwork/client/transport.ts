import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { httpRequest } from '../../../base/connections/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { readPlainFileSync } from '../../../base/files/index.ts';
import { O_RDONLY, openFile, peerCredentials } from '../../../base/kernel/index.ts';
import { pluginContentType } from '../protocol/protocol.ts';
import type { DriverPlace, DriverTls } from './discover.ts';
import { driverProtocol, driverRefused, driverUnreachable, verbUnknown } from './failures.ts';

/**
 * Sends one `POST /VERB` to a remote driver (moby pkg/plugins/client.go), with a JSON object in each
 * direction. It is never sent twice.
 */
export interface Exchange {
  readonly place: DriverPlace;
  readonly verb: string;
  readonly body: object;
  readonly timeoutMs: number;
  /**
   * Receives the network namespace of the process that listens at a unix socket. The receiver must close the
   * descriptor.
   */
  readonly onNamespace?: (fd: number) => void;
}

/** Much more than any answer of the protocol. */
const maxReply = 1024 * 1024;

/**
 * Sends a request.
 * @throws NETWORK_CNM_DRIVER_UNREACHABLE (`details.sent`: the driver may have acted) ·
 * NETWORK_CNM_DRIVER_REFUSED · NETWORK_CNM_VERB_UNKNOWN · NETWORK_CNM_PROTOCOL
 */
export async function exchange({
  place,
  verb,
  body,
  timeoutMs,
  onNamespace,
}: Exchange): Promise<Readonly<Record<string, unknown>>> {
  const { driver } = place;
  const text = JSON.stringify(body);
  let connected = false;
  const { status, reply } = await new Promise<{ status: number; reply: string }>((resolve, reject) => {
    let sent: ClientRequest | undefined;
    const fail = (why: string): void => {
      clearTimeout(limit);
      sent?.destroy();
      reject(driverUnreachable(driver, verb, why, connected));
    };
    const limit = setTimeout(() => fail(`no answer within ${timeoutMs / 1000} s`), timeoutMs);
    try {
      sent = open(place, verb, Buffer.byteLength(text));
    } catch (thrown) {
      return fail(reasonOf(thrown));
    }
    sent.on('socket', (socket) => {
      socket.once('connect', () => {
        connected = true;
        const namespace = onNamespace === undefined ? undefined : namespaceOf(socket);
        if (namespace !== undefined) onNamespace?.(namespace);
      });
    });
    sent.on('error', (error: NodeJS.ErrnoException) => fail(`${place.found}: ${error.message}`));
    sent.on('response', (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > maxReply)
          return response.destroy(new Error(`the answer is longer than ${maxReply} bytes`));
        chunks.push(chunk);
      });
      response.on('error', (error) => fail(error.message));
      response.on('end', () => {
        clearTimeout(limit);
        resolve({ status: response.statusCode ?? 0, reply: Buffer.concat(chunks).toString('utf8') });
      });
    });
    sent.end(text);
  });
  return replyOf(driver, verb, status, reply);
}

function open({ at }: DriverPlace, verb: string, length: number): ClientRequest {
  const options: RequestOptions = {
    method: 'POST',
    path: `/${verb}`,
    agent: false,
    headers: {
      Accept: pluginContentType,
      'Content-Type': pluginContentType,
      'Content-Length': length,
      Host: 'socket' in at ? 'plugin' : at.host,
    },
  };
  if ('socket' in at) return httpRequest({ ...options, socketPath: at.socket });
  const { host, port, tls } = at;
  return tls === undefined
    ? httpRequest({ ...options, host, port })
    : httpsRequest({ ...options, host, port, ...tlsOptions(tls) });
}

/** More than any bundle of certificates has. */
const mostPemBytes = 4 * 2 ** 20;

function tlsOptions({ insecureSkipVerify, caFile, certFile, keyFile }: DriverTls): object {
  return {
    rejectUnauthorized: !insecureSkipVerify,
    ...(caFile !== undefined && { ca: readPlainFileSync(caFile, mostPemBytes) }),
    ...(certFile !== undefined && { cert: readPlainFileSync(certFile, mostPemBytes) }),
    ...(keyFile !== undefined && { key: readPlainFileSync(keyFile, mostPemBytes) }),
  };
}

/**
 * Returns the namespace of the process that called listen(2). Undefined if the process is gone, or is in a
 * PID namespace that is not visible here.
 */
function namespaceOf(socket: Socket): number | undefined {
  // Node has no API for SO_PEERCRED; the descriptor is on the handle.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  try {
    const { pid } = peerCredentials(fd);
    return pid > 0 ? openFile(`/proc/${pid}/ns/net`, O_RDONLY) : undefined;
  } catch {
    return undefined;
  }
}

function replyOf(
  driver: string,
  verb: string,
  status: number,
  text: string,
): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = text.trim() === '' ? {} : parseJson(text);
  } catch {
    value = undefined;
  }
  const object =
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  const reported = object?.['Err'];
  // The status decides, even if the body contains an error of its own.
  if (status === 404) throw verbUnknown(driver, verb);
  if (typeof reported === 'string' && reported !== '')
    throw driverRefused(driver, verb, reported.slice(0, 2000));
  if (status !== 200)
    throw driverRefused(driver, verb, `HTTP ${status}: ${JSON.stringify(text.slice(0, 200))}`);
  if (object === undefined)
    throw driverProtocol(driver, verb, `it is not a JSON object: ${JSON.stringify(text.slice(0, 200))}`);
  return object;
}
