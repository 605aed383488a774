import { Agent } from 'undici';
import type { HttpAnswer } from '../../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { tufFailure } from '../failure.ts';
import type { TufSource } from './source.ts';

export interface HttpSourceOptions {
  /** How long one file may take in all, and how long the server may be silent; milliseconds. */
  readonly deadlineMs?: number;
  readonly silenceMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Answers a service that demands authentication. */
  readonly access?: HttpAccess;
  /** Ends everything that is fetched. */
  readonly signal?: AbortSignal;
  /** Whose connections are used. */
  readonly agent?: Agent;
}

/** What `Authorization` a service is sent. */
export interface HttpAccess {
  /** The header known to work. */
  known(): string | undefined;
  /** The header that answers a 401. @throws PortcullisError when there is none */
  answer(refused: HttpAnswer, used: string | undefined): Promise<string>;
}

/** One of its own: the bundle has only this part of undici. */
const ownAgent = new Agent();

/** @param base address of the metadata, such as `https://tuf.example.com/metadata` */
export function httpSource(base: string, options: HttpSourceOptions = {}): TufSource {
  const root = base.replace(/\/+$/u, '');
  return { fetch: (name, mostBytes) => download(`${root}/${name}`, mostBytes, options) };
}

/**
 * One file, no longer than `mostBytes` and no slower than the deadline.
 * @returns undefined for 403 and 404: stores such as S3 answer 403 for what is not there
 * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_UNAUTHORIZED · TRUST_TUF_TOO_LARGE · TRUST_TUF_TOO_SLOW
 */
export async function download(url: string, mostBytes: number, options: HttpSourceOptions = {}): Promise<Buffer | undefined> {
  const { deadlineMs = 60_000, silenceMs = 10_000, signal, access } = options;
  const own = AbortSignal.timeout(deadlineMs);
  const late = signal === undefined ? own : AbortSignal.any([own, signal]);
  try {
    const used = access?.known();
    let answer = await request(new URL(url), used, silenceMs, late, options);
    if (answer.status === 401 && access !== undefined) {
      const header = await authorised(url, access.answer(answer, used));
      answer = await request(new URL(url), header, silenceMs, late, options);
    }
    const { status, body } = answer;
    if (status === 200) return await readBounded(url, body, mostBytes);
    await body.dump({ limit: 64 * 1024 });
    if (status === 404 || status === 403) return undefined;
    if (status === 401)
      throw tufFailure('TRUST_TUF_UNAUTHORIZED', url, 'the service demands authentication, and what it was given is not enough');
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, `the server answered ${status}`);
  } catch (thrown) {
    if (isPortcullisError(thrown)) throw thrown;
    if (late.aborted || /Timeout/u.test(thrown instanceof Error ? thrown.name : ''))
      throw tufFailure('TRUST_TUF_TOO_SLOW', url, `it did not come within ${deadlineMs} ms, or stopped for ${silenceMs} ms`, thrown);
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, reasonOf(thrown), thrown);
  }
}

async function request(
  url: URL,
  authorization: string | undefined,
  silenceMs: number,
  signal: AbortSignal,
  { agent = ownAgent, headers = {} }: HttpSourceOptions,
): Promise<HttpAnswer> {
  const answer = await agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: 'GET',
    headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    headersTimeout: silenceMs,
    bodyTimeout: silenceMs,
    signal,
  });
  const header = (name: string): string | undefined => {
    const value = answer.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  return { status: answer.statusCode, header, body: answer.body, url };
}

/** A token service that says no is the service's no; one that can not be reached leaves open what it would have said. */
async function authorised(url: string, header: Promise<string>): Promise<string> {
  try {
    return await header;
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.code.startsWith('TRUST_TUF_')) throw thrown;
    const code = thrown.kind === 'denied' ? 'TRUST_TUF_UNAUTHORIZED' : 'TRUST_TUF_UNREACHABLE';
    throw tufFailure(code, url, thrown.failure.why, thrown);
  }
}

async function readBounded(url: string, body: AsyncIterable<unknown>, mostBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    // Leaving the loop destroys the body, and with it the connection.
    if (length > mostBytes) throw tufFailure('TRUST_TUF_TOO_LARGE', url, `it is larger than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
