import { Agent } from 'undici';
import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { tufFailure } from '../failure.ts';
import type { TufSource } from './source.ts';

export interface HttpSourceOptions {
  /** How long one file may take in all, and how long the server may be silent; milliseconds. */
  readonly deadlineMs?: number;
  readonly silenceMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends everything that is fetched. */
  readonly signal?: AbortSignal;
  /** Whose connections are used. */
  readonly agent?: Agent;
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
 * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_TOO_LARGE · TRUST_TUF_TOO_SLOW
 */
export async function download(url: string, mostBytes: number, options: HttpSourceOptions = {}): Promise<Buffer | undefined> {
  const { deadlineMs = 60_000, silenceMs = 10_000, headers, signal, agent = ownAgent } = options;
  const own = AbortSignal.timeout(deadlineMs);
  const late = signal === undefined ? own : AbortSignal.any([own, signal]);
  try {
    const { origin, pathname, search } = new URL(url);
    const { statusCode, body } = await agent.request({
      origin,
      path: `${pathname}${search}`,
      method: 'GET',
      ...(headers === undefined ? {} : { headers }),
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
      signal: late,
    });
    if (statusCode !== 200) {
      await body.dump({ limit: 64 * 1024 });
      if (statusCode === 404 || statusCode === 403) return undefined;
      throw tufFailure('TRUST_TUF_UNREACHABLE', url, `the server answered ${statusCode}`);
    }
    return await readBounded(url, body, mostBytes);
  } catch (thrown) {
    if (isPortcullisError(thrown)) throw thrown;
    if (late.aborted || /Timeout/u.test(thrown instanceof Error ? thrown.name : ''))
      throw tufFailure('TRUST_TUF_TOO_SLOW', url, `it did not come within ${deadlineMs} ms, or stopped for ${silenceMs} ms`, thrown);
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, reasonOf(thrown), thrown);
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
