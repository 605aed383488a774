import { randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { parseJson } from '../../base/json/index.ts';
import { isHttpError, isLoopback, sharedHttpClient } from '../../base/http/index.ts';
import { attempt, reasonOf } from '../../base/errors/index.ts';
import type { FindCredentials } from '../credentials/find-credentials.ts';
import { recordOf } from '../json/strict-json.ts';
import { httpSource } from '../tuf-client/http-source.ts';
import type { HttpAccess } from '../tuf-client/http-source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { tufFailure } from '../tuf/failure.ts';
import { notaryKeyId, readNotaryKey, readTufKey } from '../tuf-metadata/keys.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { objectAt, textAt } from '../tuf-metadata/reading.ts';
import { authorFailure } from './failure.ts';
import type { Destination } from './destination.ts';

const deadlineMs = 120_000;
const mostAnswerBytes = 256 * 1024;
/** Answers that say "later": Request Timeout, Too Early, Too Many Requests. */
const passing: readonly number[] = [408, 425, 429];

interface Answer {
  readonly status: number;
  readonly challenge: string;
  readonly text: string;
}

/**
 * Publishes to a trust service (trust/notary): Notary's dialect under `/v2/<name>/_trust/tuf/`, the TUF
 * dialect under `/tuf/<name>/`. A publish is one POST of `multipart/form-data` whose parts are the files. The
 * service accepts it completely or not at all.
 * @param base such as `https://trust.example.com`
 * @param find logins, for services that require a token
 */
export function serviceDestination(base: string, name: string, find: FindCredentials): Destination {
  const root = base.replace(/\/+$/u, '');
  const address: Readonly<Record<Dialect, string>> = {
    notary: `${root}/v2/${name}/_trust/tuf`,
    tuf: `${root}/tuf/${name.split('/').map(encodeURIComponent).join('/')}`,
  };
  const tokens = new Map<string, string>();

  const ask = async (
    method: 'GET' | 'POST',
    url: string,
    actions: string,
    content?: { type: string; body: Buffer },
  ): Promise<Answer> => {
    const token = tokens.get(actions);
    const answer = await request(method, url, token, content);
    if (answer.status !== 401 || token !== undefined) return answer;
    const fresh = await fetchToken(root, answer.challenge, find);
    if (fresh === undefined) return answer;
    tokens.set(actions, fresh);
    return request(method, url, fresh, content);
  };

  const refused = (url: string, { status, text }: Answer): Error => {
    const why = `the service answered ${status}: ${messageOf(text)}`;
    if (status >= 500 || passing.includes(status)) return tufFailure('TRUST_TUF_UNREACHABLE', url, why);
    const isOvertaken = errorIn(text)?.code === 'VERSION';
    return authorFailure(isOvertaken ? 'TRUST_AUTHOR_BEHIND' : 'TRUST_AUTHOR_REFUSED', url, why);
  };

  const access: HttpAccess = {
    known: () => (tokens.has('pull') ? `Bearer ${tokens.get('pull') ?? ''}` : undefined),
    async answer(refusal) {
      await refusal.discard();
      const fresh = await fetchToken(root, refusal.header('www-authenticate') ?? '', find);
      if (fresh === undefined)
        throw tufFailure(
          'TRUST_TUF_UNAUTHORIZED',
          refusal.url.href,
          'it requires a token, and none is available',
        );
      tokens.set('pull', fresh);
      return `Bearer ${fresh}`;
    },
  };
  const sourceOf = (dialect: Dialect): TufSource => httpSource(address[dialect], { access });

  return {
    address: root,
    dialects: ['tuf', 'notary'],
    source: sourceOf,
    async publish(publications) {
      const both = publications.some(({ dialect }) => dialect === 'tuf');
      const url = `${address[both ? 'tuf' : 'notary']}/`;
      const parts = publications.flatMap(({ dialect, lacking }) =>
        lacking.map(({ role, bytes }) => ({
          field: both && dialect === 'notary' ? 'notary' : 'files',
          role,
          bytes,
        })),
      );
      const answer = await ask('POST', url, 'push', multipart(parts));
      if (answer.status >= 300) throw refused(url, answer);
    },
    async serverKey(dialect, role, fresh) {
      const url = `${address[dialect]}/${role}.key`;
      const answer = await ask(fresh ? 'POST' : 'GET', url, fresh ? 'rotate' : 'push');
      if (answer.status >= 300) throw refused(url, answer);
      const key = keyIn(dialect, url, answer.text);
      if (key === undefined)
        throw authorFailure('TRUST_AUTHOR_REFUSED', url, 'the service’s key has an unsupported type');
      return key;
    },
    close: () => Promise.resolve(),
  };
}

function keyIn(dialect: Dialect, url: string, text: string): KeyObject | undefined {
  try {
    const entry = objectAt(parseJson(text), 'the key');
    if (dialect === 'tuf') return readTufKey('', entry).key;
    const listed = textAt(objectAt(entry['keyval'], 'keyval')['public'], 'public');
    return readNotaryKey(notaryKeyId(textAt(entry['keytype'], 'keytype'), listed), entry).key;
  } catch (error) {
    throw authorFailure(
      'TRUST_AUTHOR_REFUSED',
      url,
      `the answer of the service contains no key: ${reasonOf(error)}`,
      error,
    );
  }
}

async function request(
  method: 'GET' | 'POST',
  url: string,
  token: string | undefined,
  content?: { readonly type: string; readonly body: Buffer },
  ledBy?: URL,
): Promise<Answer> {
  try {
    const answer = await sharedHttpClient().send({
      url: new URL(url),
      method,
      ledBy,
      headers: {
        ...(token === undefined
          ? {}
          : { authorization: token.startsWith('Basic ') ? token : `Bearer ${token}` }),
        ...(content === undefined ? {} : { 'content-type': content.type }),
      },
      ...(content === undefined ? {} : { body: content.body }),
      totalMs: deadlineMs,
    });
    const text = (await answer.bytes(mostAnswerBytes)).toString('utf8');
    return { status: answer.status, challenge: answer.header('www-authenticate') ?? '', text };
  } catch (thrown) {
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, reasonOf(thrown), thrown);
  }
}

/** Returns the first error of a refusal: `{"errors":[{"code","message","detail"}]}`. */
function errorIn(text: string): Readonly<Record<string, unknown>> | undefined {
  const errors = attempt(() => recordOf(parseJson(text)))?.['errors'];
  return Array.isArray(errors) ? recordOf(errors[0]) : undefined;
}

/** Returns the service's own message for a refusal. */
function messageOf(text: string): string {
  const { code, message, detail } = errorIn(text) ?? {};
  const words = [code, message].filter((word) => typeof word === 'string');
  if (words.length === 0) return plain(text);
  const more = detail === undefined || detail === null ? '' : ` ${JSON.stringify(detail)}`;
  return `${words.join(': ')}${more}`.slice(0, 1000);
}

function plain(text: string): string {
  return text.trim().slice(0, 200) || 'nothing more';
}

/**
 * Encodes the files as the `notary` command posts them: every part is named `files` (`notary` for the other
 * dialect), and its file name is the role.
 */
function multipart(
  files: readonly { readonly field: string; readonly role: string; readonly bytes: Buffer }[],
): {
  type: string;
  body: Buffer;
} {
  const boundary = randomBytes(30).toString('hex');
  const parts = files.flatMap(({ field, role, bytes }) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${role}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
    ),
    bytes,
    Buffer.from('\r\n'),
  ]);
  return {
    type: `multipart/form-data; boundary=${boundary}`,
    body: Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]),
  };
}

/**
 * Returns whether a login may be sent to a token service. Without TLS, a login goes only to the host of the
 * service that requires it, or to a loopback address of this machine.
 */
function mayLogin(realm: URL, service: URL): boolean {
  if (realm.protocol === 'https:') return true;
  const near = realm.hostname === service.hostname || isLoopback(realm.hostname);
  return realm.protocol === 'http:' && service.protocol === 'http:' && near;
}

/**
 * Fetches a token by the token protocol of registries (distribution, token/specification). The challenge
 * names the token service; the login is docker's.
 */
async function fetchToken(
  root: string,
  challenge: string,
  find: FindCredentials,
): Promise<string | undefined> {
  if (!/^bearer /iu.test(challenge)) return undefined;
  const fields = new Map(
    [...challenge.matchAll(/([a-z]+)="([^"]*)"/giu)].map(([, key = '', value = '']) => [
      key.toLowerCase(),
      value,
    ]),
  );
  const realm = fields.get('realm');
  if (realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  if (!mayLogin(url, new URL(root))) return undefined;
  for (const field of ['service', 'scope']) {
    const value = fields.get(field);
    if (value !== undefined) url.searchParams.set(field, value);
  }
  const login = await find({ registry: new URL(root).host, repository: '' });
  const basic =
    login?.username === undefined || login.password === undefined
      ? undefined
      : `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
  try {
    const { status, text } = await request('GET', url.href, basic, undefined, new URL(root));
    return status === 200 ? tokenIn(text) : undefined;
  } catch (thrown) {
    // Treated as a token service to which no login may be sent.
    if (thrown instanceof Error && isHttpError(thrown.cause) && thrown.cause.code === 'HTTP_ADDRESS_REFUSED')
      return undefined;
    throw thrown;
  }
}

function tokenIn(text: string): string | undefined {
  try {
    const answer = objectAt(parseJson(text), 'the token');
    const token = answer['token'] ?? answer['access_token'];
    return typeof token === 'string' ? token : undefined;
  } catch {
    // Treated as a service without a token: the service's answer to the request remains the result.
    return undefined;
  }
}
