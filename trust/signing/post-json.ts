import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { recordOf } from '../strict-json.ts';
import { boundedBytes } from './bounded-bytes.ts';

const patienceMs = 30_000;
const attempts = 3;
const maximumBytes = 1024 * 1024;

/**
 * Asks a service of sigstore. One that is busy is asked again; a redirect is not followed, for what is sent is meant for this one.
 * @returns what it answers in JSON
 * @throws Error with a sentence that quotes nothing of the request
 */
export async function postJson(url: string, request: unknown): Promise<unknown> {
  const body = JSON.stringify(request);
  for (let attempt = 1; ; attempt += 1) {
    const tried = await once(url, body);
    if (!('problem' in tried)) return tried.answer;
    if (!tried.again || attempt >= attempts) throw new Error(tried.problem);
    await sleep(250 * 2 ** attempt);
  }
}

async function once(
  url: string,
  body: string,
): Promise<{ readonly answer: unknown } | { readonly problem: string; readonly again: boolean }> {
  let answer: Response;
  let bytes: Buffer;
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'user-agent': 'portcullis' },
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(patienceMs),
    });
    bytes = await boundedBytes(answer, maximumBytes);
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
    return { problem: `${reasonOf(error)}${cause}`, again: true };
  }
  if (!answer.ok)
    return {
      problem: `it answers ${answer.status}${messageIn(bytes)}`,
      again: answer.status >= 500 || [408, 429].includes(answer.status),
    };
  try {
    return { answer: JSON.parse(bytes.toString('utf8')) };
  } catch {
    return { problem: 'it does not answer in JSON', again: false };
  }
}

/** What a service says of a refusal (google.rpc.Status). */
function messageIn(bytes: Buffer): string {
  try {
    const message = recordOf(JSON.parse(bytes.toString('utf8')))?.['message'];
    return typeof message === 'string' ? `: ${message.slice(0, 300)}` : '';
  } catch {
    return '';
  }
}
