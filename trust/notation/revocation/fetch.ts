import { request } from 'node:http';
import { reasonOf } from '../../../base/errors/index.ts';

export interface RevocationQuestion {
  readonly url: string;
  /** An OCSP request to post; absent: the document itself is fetched. */
  readonly body?: Uint8Array;
  readonly maximumBytes: number;
  readonly milliseconds: number;
}

/**
 * Asks an OCSP responder or fetches a revocation list. Plain HTTP only (trust-store-trust-policy.md, "CRLs"): what comes is signed, and
 * asking over TLS would need an answer about its certificates first. Redirects are not followed.
 * @returns the bytes, or a sentence that says why there are none
 */
export async function askRevocation(question: RevocationQuestion, signal: AbortSignal): Promise<Uint8Array | string> {
  const { url, body, maximumBytes, milliseconds } = question;
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return 'its address can not be read';
  }
  if (parsed.protocol !== 'http:' || parsed.username !== '' || parsed.password !== '') return 'its address is not plain http://';
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(milliseconds)]);
  try {
    return await new Promise<Uint8Array | string>((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/ocsp-request', 'content-length': body.byteLength };
      const asked = request(parsed, { method: body === undefined ? 'GET' : 'POST', headers, agent: false, signal: timeout }, (answer) => {
        if (answer.statusCode !== 200) {
          answer.destroy();
          resolve(`it answered with HTTP status ${answer.statusCode}`);
          return;
        }
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          chunks.push(chunk);
          if (size <= maximumBytes) return;
          answer.destroy();
          resolve(`its answer is larger than ${maximumBytes} bytes`);
        });
        answer.on('end', () => resolve(Buffer.concat(chunks)));
        answer.on('error', reject);
      });
      asked.on('error', reject);
      asked.end(body);
    });
  } catch (error) {
    return timeout.aborted && !signal.aborted ? `it did not answer within ${milliseconds} ms` : `it could not be asked: ${reasonOf(error)}`;
  }
}
