import { readBounded } from '../policy/documents.ts';
import { filePath } from './lookaside.ts';

/** What stands at one address. `unusable`: the store answered, and the answer can never count. */
export type FetchedSignature =
  | { readonly found: 'signature'; readonly bytes: Buffer }
  | { readonly found: 'nothing' }
  | { readonly found: 'unusable'; readonly why: string };

const redirectLimit = 5;
const requestMilliseconds = 10_000;

/**
 * One signature of a lookaside store. Nothing is sent along: no credentials, no cookies. Redirects never lead from https to plain
 * http, nor from elsewhere to this machine.
 * @throws Error when the store can not be asked or does not answer the question
 */
export async function fetchSignature(url: string, limit: number, signal: AbortSignal): Promise<FetchedSignature> {
  const file = filePath(url);
  return file === undefined ? fetchHttp(url, limit, signal) : readFileSignature(file, limit);
}

async function readFileSignature(file: string, limit: number): Promise<FetchedSignature> {
  try {
    return { found: 'signature', bytes: await readBounded(file, limit) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { found: 'nothing' };
    if (code === undefined) return { found: 'unusable', why: (error as Error).message };
    throw error;
  }
}

async function fetchHttp(url: string, limit: number, outer: AbortSignal): Promise<FetchedSignature> {
  const signal = AbortSignal.any([outer, AbortSignal.timeout(requestMilliseconds)]);
  let address = new URL(url);
  for (let hop = 0; ; hop += 1) {
    const answer = await fetch(address, { redirect: 'manual', signal, credentials: 'omit', headers: { 'user-agent': 'portcullis' } }).catch(
      (error: unknown) => Promise.reject(networkFailure(error, outer)),
    );
    if (answer.status === 200) return readBody(answer, limit, outer);
    await answer.body?.cancel();
    if (answer.status === 404) return { found: 'nothing' };
    if (![301, 302, 303, 307, 308].includes(answer.status)) throw new Error(`it answers with HTTP status ${answer.status}`);
    if (hop >= redirectLimit) throw new Error(`it redirects more than ${redirectLimit} times`);
    address = redirected(address, answer.headers.get('location'));
  }
}

async function readBody(answer: Response, limit: number, outer: AbortSignal): Promise<FetchedSignature> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      size += part.byteLength;
      if (size > limit) return { found: 'unusable', why: `it is larger than ${limit} bytes` };
      parts.push(part);
    }
  } catch (error) {
    throw networkFailure(error, outer);
  }
  return { found: 'signature', bytes: Buffer.concat(parts) };
}

function redirected(from: URL, location: string | null): URL {
  const to = location === null ? null : URL.parse(location, from.href);
  if (to === null || !['http:', 'https:'].includes(to.protocol)) throw new Error('it redirects to no web address');
  if (from.protocol === 'https:' && to.protocol === 'http:') throw new Error(`it redirects from https to plain http at ${to.host}`);
  if (isLoopback(to.hostname) && !isLoopback(from.hostname)) throw new Error(`it redirects to a loopback address, ${to.host}`);
  to.username = '';
  to.password = '';
  return to;
}

function isLoopback(host: string): boolean {
  return (
    host === 'localhost' || host.endsWith('.localhost') || /^127\./.test(host) || host === '[::1]' || host === '0.0.0.0' || host === '[::]'
  );
}

/** fetch says only "fetch failed"; its cause knows more. */
function networkFailure(error: unknown, outer: AbortSignal): Error {
  if (outer.aborted && outer.reason instanceof Error) return outer.reason;
  const { cause } = error as { cause?: unknown };
  return cause instanceof Error ? cause : (error as Error);
}
