import type { IncomingMessage, ServerResponse } from 'node:http';
import { PortcullisError, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { Engine } from '../endpoints/endpoints.types.ts';
import { pluginContentType } from '../protocol/protocol.ts';
import type { DriverError } from '../protocol/protocol.ts';
import { NotJson } from '../protocol/requests.ts';
import type { Verbs } from './docker-requests.ts';

export interface AnswerDeps {
  readonly verbs: Verbs;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
}

/** Larger than any request of an engine. */
const maxBody = 1024 * 1024;
/** Reads one request, runs its verb and answers. Errors of the verb are answered too. */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  by: Engine,
  { verbs, log }: AnswerDeps,
): Promise<void> {
  const name = (request.url ?? '').split('?')[0]?.slice(1) ?? '';
  const verb = Object.hasOwn(verbs, name) ? verbs[name as keyof Verbs] : undefined;
  if (verb === undefined) return reply(response, 404, '404 page not found\n');
  const started = performance.now();
  try {
    const body = await bodyOf(request);
    if (body === undefined)
      return reply(response, 413, `${name}: the request is larger than ${maxBody} bytes\n`);
    const value: object = await verb(body, by);
    log.debug({ verb: name, ms: performance.now() - started }, 'remote driver');
    reply(response, 200, value);
  } catch (thrown) {
    // The engine is gone: there is no client to answer, and nothing was begun.
    if (request.destroyed && !request.complete) return void response.destroy();
    if (thrown instanceof NotJson) return reply(response, 400, `${thrown.message}\n`);
    const { message } = isPortcullisError(thrown) ? thrown : internal(name, thrown);
    log.warn({ verb: name, why: message }, 'the remote driver refuses a request');
    const refusal: DriverError = { Err: message };
    reply(response, 500, refusal);
  }
}

function reply(response: ServerResponse, status: number, content: object | string): void {
  const isText = typeof content === 'string';
  const body = isText ? content : `${JSON.stringify(content)}\n`;
  response.writeHead(status, {
    'content-type': isText ? 'text/plain; charset=utf-8' : pluginContentType,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

/** Returns undefined if the body is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= maxBody) chunks.push(chunk);
  }
  return length > maxBody ? undefined : Buffer.concat(chunks).toString('utf8');
}

function internal(verb: string, thrown: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INTERNAL',
    kind: 'internal',
    attempted: `answer ${verb}`,
    on: '',
    why: reasonOf(thrown),
    fix: 'report this with the log',
  });
}
