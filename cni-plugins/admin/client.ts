import { httpRequest } from '../../base/connections/index.ts';
import { PortcullisError, connectReason, errorFromJson } from '../../base/errors/index.ts';
import type { SerialisedError } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { pathOf } from './operations.ts';
import type { AdminApi, AdminOperation, AdminResponse } from './operation-types.ts';

/** `failure`: the daemon answered with this error. */
export type AdminAnswer<Value> =
  | { readonly value: Value }
  | { readonly why: string; readonly failure?: PortcullisError };

/** Thousands of denials fit. */
const mostBytes = 256 * 1024 * 1024;

/**
 * Sends one request of the admin API to the daemon. Never throws: if there is no answer, `why` is a sentence.
 * @param socket path of the daemon's admin socket
 * @param timeoutMs time until the complete answer, in ms
 */
export async function callAdmin<Name extends AdminOperation>(
  socket: string,
  operation: Name,
  fields: AdminApi[Name]['request'],
  timeoutMs = 120_000,
): Promise<AdminAnswer<AdminResponse<Name>>> {
  // Node would connect to TCP.
  if (socket === '') return { why: 'the path of the admin socket is empty' };
  let reply: { readonly status: number; readonly text: string };
  try {
    reply = await post(socket, pathOf(operation), JSON.stringify(fields), timeoutMs);
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code !== 'EACCES')
      return {
        why:
          code === undefined
            ? message
            : `the daemon does not answer at ${socket}: ${connectReason(code) ?? message}`,
      };
    const failure = notRoot(socket, thrown as Error);
    return { why: failure.failure.why, failure };
  }
  const foreign = { why: `the process that listens at ${socket} speaks another protocol` };
  let value: unknown;
  try {
    value = parseJson(reply.text);
  } catch {
    return foreign;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return foreign;
  if (reply.status === 200) return { value: value as AdminResponse<Name> };
  const { error } = value as { readonly error?: SerialisedError | null };
  if (!isSerialisedError(error)) return foreign;
  return { why: error.why, failure: errorFromJson(error) };
}

function isSerialisedError(error: SerialisedError | null | undefined): error is SerialisedError {
  return (['code', 'kind', 'attempted', 'on', 'why', 'fix'] as const).every(
    (key) => typeof error?.[key] === 'string',
  );
}

async function post(
  socket: string,
  path: string,
  body: string,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
      Host: 'portcullis',
    };
    const sent = httpRequest({ socketPath: socket, method: 'POST', path, agent: false, headers });
    const fail = (error: Error): void => {
      clearTimeout(limit);
      sent.destroy();
      reject(error);
    };
    const limit = setTimeout(
      () => fail(new Error(`the daemon at ${socket} did not answer within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    sent.on('error', fail);
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('error', fail);
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length > mostBytes) fail(new Error('the answer is too long'));
      });
      response.on('end', () => {
        clearTimeout(limit);
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    sent.end(body);
  });
}

function notRoot(socket: string, cause: Error): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_ROOT',
    kind: 'denied',
    attempted: 'ask the daemon',
    on: socket,
    why: `only root may call it: ${cause.message}`,
    fix: 'run the command as root',
    cause,
  });
}
