import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../../base/json/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { sharedHttpClient } from '../../base/http/index.ts';
import type { HttpAnswer } from '../../base/http/index.ts';
import { recordOf } from '../json/strict-json.ts';

const patienceMs = 30_000;
const attempts = 3;
const maximumBytes = 1024 * 1024;

/**
 * Posts JSON to a service of sigstore. A busy service is asked again. A redirect is not followed, because the
 * request is intended only for this service. When the service reports that the entry exists already (409),
 * the existing entry is requested.
 * @returns the service's JSON answer
 * @throws Error with a sentence that quotes nothing of the request
 */
export async function postJson(url: string, request: unknown): Promise<unknown> {
  const bytes = await postForBytes(url, request);
  try {
    return parseJson(bytes.toString('utf8'));
  } catch {
    throw new Error('its answer is not JSON');
  }
}

/** Posts as {@link postJson} does, for an answer that is not JSON. */
export async function postForBytes(url: string, request: unknown): Promise<Buffer> {
  const tried = await repeatedly(url, { method: 'POST', body: JSON.stringify(request) });
  if ('bytes' in tried) return tried.bytes;
  const found = await repeatedly(tried.present, { method: 'GET' });
  if ('bytes' in found) return found.bytes;
  throw new Error('it answers 409 repeatedly');
}

type Request = { readonly method: 'POST'; readonly body: string } | { readonly method: 'GET' };
type Answered = { readonly bytes: Buffer } | { readonly present: string };

async function repeatedly(url: string, request: Request): Promise<Answered> {
  for (let attempt = 1; ; attempt += 1) {
    const tried = await once(url, request);
    if (!('problem' in tried)) return tried;
    if (!tried.again || attempt >= attempts) throw new Error(tried.problem);
    await sleep(250 * 2 ** attempt);
  }
}

async function once(
  url: string,
  request: Request,
): Promise<Answered | { readonly problem: string; readonly again: boolean }> {
  let answer: HttpAnswer;
  let bytes: Buffer;
  try {
    answer = await sharedHttpClient().send({
      url: new URL(url),
      method: request.method,
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, application/timestamp-reply',
      },
      ...(request.method === 'POST' ? { body: Buffer.from(request.body) } : {}),
      totalMs: patienceMs,
    });
    bytes = await answer.bytes(maximumBytes);
  } catch (error) {
    return { problem: reasonOf(error), again: true };
  }
  const location = answer.status === 409 ? URL.parse(answer.header('location') ?? '', url) : null;
  if (location !== null && location.origin === new URL(url).origin) return { present: location.href };
  if (answer.status < 200 || answer.status > 299)
    return {
      problem: `it answers ${answer.status}${messageIn(bytes)}`,
      again: answer.status >= 500 || [408, 429].includes(answer.status),
    };
  return { bytes };
}

/**
 * Returns the message of a refusal (google.rpc.Status) in full. The caller shortens it once it can no longer
 * contain a secret.
 */
function messageIn(bytes: Buffer): string {
  try {
    const message = recordOf(parseJson(bytes.toString('utf8')))?.['message'];
    return typeof message === 'string' ? `: ${message}` : '';
  } catch {
    return '';
  }
}
