import { readPlainFile } from '../../base/files/index.ts';
import { isHttpError, sharedHttpClient } from '../../base/http/index.ts';
import { filePath } from './lookaside.ts';

/** The result for one address. `unusable`: the store answered, and the answer can never count. */
export type FetchedSignature =
  | { readonly found: 'signature'; readonly bytes: Buffer }
  | { readonly found: 'nothing' }
  | { readonly found: 'unusable'; readonly why: string };

const redirectLimit = 5;
const requestMilliseconds = 10_000;

/**
 * Fetches one signature from a lookaside store. No credentials and no cookies are sent. Redirects follow the
 * rule of base/http.
 * @throws Error when the store is unreachable or does not answer the request
 */
export async function fetchSignature(
  url: string,
  limit: number,
  signal: AbortSignal,
): Promise<FetchedSignature> {
  const file = filePath(url);
  return file === undefined ? fetchHttp(url, limit, signal) : readFileSignature(file, limit);
}

async function readFileSignature(file: string, limit: number): Promise<FetchedSignature> {
  try {
    return { found: 'signature', bytes: await readPlainFile(file, limit) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { found: 'nothing' };
    if (code === undefined) return { found: 'unusable', why: (error as Error).message };
    throw error;
  }
}

async function fetchHttp(url: string, limit: number, outer: AbortSignal): Promise<FetchedSignature> {
  try {
    const answer = await sharedHttpClient().send({
      url: new URL(url),
      totalMs: requestMilliseconds,
      redirects: redirectLimit,
      signal: outer,
    });
    if (answer.status === 200) return { found: 'signature', bytes: await answer.bytes(limit) };
    await answer.discard();
    if (answer.status === 404) return { found: 'nothing' };
    throw new Error(`it answers with HTTP status ${answer.status}`);
  } catch (error) {
    if (outer.aborted && outer.reason instanceof Error) throw outer.reason;
    if (!isHttpError(error)) throw error;
    if (error.code === 'HTTP_TOO_LARGE')
      return { found: 'unusable', why: `it is larger than ${limit} bytes` };
    throw new Error(error.failure.why, { cause: error });
  }
}
