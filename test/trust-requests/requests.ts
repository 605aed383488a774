import { createRandom } from '../fixtures/random.ts';

/** One request as it is sent, and the expected answer. */
export interface GeneratedRequest {
  readonly bytes: Buffer;
  /**
   * `status`: the request is valid HTTP, and each such request gets a status. `any`: it is not valid; an
   * answer must be a status, but no answer is allowed, too. `gone`: the client leaves before its request is
   * complete, or before it has read the answer.
   */
  readonly expect: 'status' | 'any' | 'gone';
  /** For the message of a failure. */
  readonly about: string;
}

export interface RequestSources {
  /** Bodies that a publisher could post: valid multipart, as its content type and bytes. */
  readonly uploads: readonly { readonly type: string; readonly bytes: Buffer }[];
  /** Values of `Authorization`, valid ones among them; empty when the service requires no tokens. */
  readonly authorizations: readonly string[];
}

/** Random choices of one request. */
interface Dice {
  chance(of: number): boolean;
  below(limit: number): number;
  pick<T>(list: readonly T[]): T;
}

/** Returns the request of that number: the same seed and number give the same bytes. */
export function generateRequest(seed: number, number: number, sources: RequestSources): GeneratedRequest {
  const random = createRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  const below = (limit: number): number => Math.floor(random() * limit);
  const dice: Dice = {
    below,
    chance: (of) => random() < of,
    pick: <T>(list: readonly T[]): T => list[below(list.length)] as T,
  };
  const request = dice.chance(0.06) ? malformed(dice) : wellFormed(dice, sources);
  return { ...request, about: `seed ${seed}, request ${number}: ${request.about}` };
}

export const collections = [
  'docker.io/a',
  'registry.example.com/pay/app',
  'a',
  'x/_trust/tuf/y',
  '_trust',
  'a b',
  'a"b',
  'a\\b',
  "a'b,c=d",
];

/** Characters that a name may not contain, and others that only look odd. */
const oddities = [
  ...[
    '%0a',
    '%0d%0a',
    '%00',
    '%7f',
    '%c2%80',
    '%E2%82%AC',
    '%f0%9f%98%80',
    '%ff',
    '%',
    '%2',
    '%zz',
    '%c3',
    '%2f',
    '%2e%2e/',
    '../',
  ],
  ...[
    '"',
    '\\',
    '%22',
    '%5c',
    ';',
    ',',
    '=',
    '*',
    '?',
    '#',
    '%20',
    '%09',
    '//',
    '\xe9',
    '\xff',
    '__proto__',
    'constructor',
    '%u0041',
  ],
];

const versionRoles = ['root', 'targets', 'snapshot', 'timestamp', 'targets/releases', 'targets/a/b'];

function name(dice: Dice): string {
  let text = encodeURI(dice.pick(collections));
  if (dice.chance(0.5)) text = `${text}${dice.pick(oddities)}${dice.pick(['', 'c', '/d'])}`;
  if (dice.chance(0.02))
    text = dice.pick(['a', '%61', '%e2%82%ac', '"']).repeat(dice.pick([255, 256, 1000, 3000]));
  return text;
}

function role(dice: Dice): string {
  const plain = dice.pick(versionRoles);
  return dice.chance(0.3) ? `${plain}${dice.pick(oddities)}` : plain;
}

const number = (dice: Dice): string =>
  dice.pick(['0', '1', '2', '007', '999999999999999', '9999999999999999', '-1', '1e3', '']);

const digest = (dice: Dice): string => dice.pick(['a', 'F', '0']).repeat(dice.pick([64, 96, 128, 63, 65]));

const query = (dice: Dice): string =>
  dice.pick([
    '',
    '',
    '?',
    '?records=5',
    '?records=-1&change_id=-1',
    '?records=2147483648',
    '?records=%E2%82%AC',
    '?change_id=%ff&records=0',
    '?a=%',
  ]);

const paths: readonly ((dice: Dice) => string)[] = [
  () => '/v2/',
  () => '/metrics',
  () => '/_notary_server/health',
  (dice) => `/v2/_trust/changefeed${query(dice)}`,
  (dice) => `/v2/${name(dice)}/_trust/changefeed${query(dice)}`,
  (dice) => `/v2/${name(dice)}/_trust/tuf/`,
  (dice) => `/v2/${name(dice)}/_trust/tuf/${role(dice)}.json${query(dice)}`,
  (dice) => `/v2/${name(dice)}/_trust/tuf/${number(dice)}.${role(dice)}.json`,
  (dice) => `/v2/${name(dice)}/_trust/tuf/${role(dice)}.${digest(dice)}.json`,
  (dice) => `/v2/${name(dice)}/_trust/tuf/${dice.pick(['snapshot', 'timestamp', 'root', role(dice)])}.key`,
  (dice) => `/tuf/${name(dice)}/`,
  (dice) => `/tuf/${name(dice)}/${encodeURIComponent(dice.pick(versionRoles))}.json`,
  (dice) => `/tuf/${name(dice)}/${role(dice)}.json${query(dice)}`,
  (dice) =>
    `/tuf/${name(dice)}/${number(dice)}.${encodeURIComponent(dice.pick(versionRoles))}${dice.pick(['', ...oddities])}.json`,
  (dice) => `/tuf/${name(dice)}/${dice.pick(['snapshot', 'timestamp', 'root'])}.key`,
  (dice) => `/${name(dice)}`,
  (dice) => `/${dice.pick(oddities)}`,
  () => '*',
  (dice) => `http://127.0.0.1/v2/${name(dice)}/_trust/tuf/root.json`,
  (dice) => `/${'a'.repeat(dice.pick([4000, 4096, 4097, 12_000]))}`,
];

const methods = [
  'GET',
  'GET',
  'GET',
  'GET',
  'POST',
  'POST',
  'DELETE',
  'PUT',
  'HEAD',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'PROPFIND',
  'CONNECT',
];

/** Headers that a server or a library behind it may act upon. */
const headers: readonly ((dice: Dice) => string)[] = [
  () => 'Accept: */*',
  () => 'Expect: 100-continue',
  () => 'Expect: something-else',
  () => 'Upgrade: websocket\r\nConnection: Upgrade',
  () => 'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__',
  () => 'If-None-Match: "x"\r\nRange: bytes=0-1',
  () => 'Accept-Encoding: gzip, br',
  () => 'Origin: http://evil.example\r\nAccess-Control-Request-Method: PUT',
  () => 'Cookie: \xe9=\xff',
  () => 'X-Forwarded-For: 10.0.0.1, "\\',
  () => 'Trailer: X\r\nTE: trailers',
  (dice) => `X-Long: ${'a'.repeat(dice.pick([100, 4000, 8000]))}`,
  (dice) => `X-Many: ${dice.below(1000)}\r\n`.repeat(100).trimEnd(),
];

function authorization(dice: Dice, { authorizations }: RequestSources): string[] {
  if (authorizations.length === 0 || dice.chance(0.1))
    return dice.chance(0.9) ? [] : ['Authorization: Basic YTpi'];
  return [`Authorization: ${dice.pick(authorizations)}`];
}

function wellFormed(dice: Dice, sources: RequestSources): GeneratedRequest {
  const method = dice.pick(methods);
  const target = method === 'CONNECT' ? 'example.com:443' : dice.pick(paths)(dice).replaceAll(' ', '%20');
  const own = [...authorization(dice, sources), ...(dice.chance(0.3) ? [dice.pick(headers)(dice)] : [])];
  const body =
    method === 'POST' || method === 'PUT' || dice.chance(0.05)
      ? bodyOf(dice, sources)
      : { headers: [], bytes: Buffer.alloc(0), whole: true };
  const head = [
    `${method} ${target} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Connection: close',
    ...own,
    ...body.headers,
  ].join('\r\n');
  const bytes = Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), body.bytes]);
  const about = `${method} ${target}`.slice(0, 200);
  if (!body.whole) return { bytes, expect: 'any', about: `${about}, an incomplete body` };
  if (dice.chance(0.02))
    return { bytes: bytes.subarray(0, dice.below(bytes.length)), expect: 'gone', about: `${about}, cut off` };
  // Node's limit of a head is 16 KiB; beyond it the answer is 431.
  return { bytes, expect: dice.chance(0.02) ? 'gone' : 'status', about };
}

interface Body {
  readonly headers: readonly string[];
  readonly bytes: Buffer;
  /** Whether its framing is valid and all of it is sent. */
  readonly whole: boolean;
}

function bodyOf(dice: Dice, { uploads }: RequestSources): Body {
  const upload = dice.pick(uploads);
  let bytes = Buffer.from(upload.bytes);
  if (dice.chance(0.5))
    for (let times = dice.below(8); times >= 0; times -= 1) bytes[dice.below(bytes.length)] = dice.below(256);
  if (dice.chance(0.2)) bytes = bytes.subarray(0, dice.below(bytes.length));
  const type = dice.chance(0.8)
    ? upload.type
    : dice.pick([
        ...[
          'application/json',
          'multipart/form-data',
          'multipart/form-data; boundary=',
          'multipart/form-data; boundary="',
          'multipart/form-data;',
        ],
        ...[
          'multipart/mixed; boundary=x',
          'multipart/form-data; boundary=\xff',
          `multipart/form-data; boundary=${'-'.repeat(300)}`,
          '\xe9',
        ],
      ]);
  const typed = `Content-Type: ${type}`;
  if (dice.chance(0.2))
    return { headers: [typed, 'Transfer-Encoding: chunked'], bytes: chunked(dice, bytes), whole: true };
  if (dice.chance(0.03))
    return { headers: [typed, `Content-Length: ${bytes.length + 1 + dice.below(100)}`], bytes, whole: false };
  if (dice.chance(0.03)) return { headers: [typed, 'Content-Length: 104857601'], bytes, whole: false };
  if (dice.chance(0.03)) return { headers: [typed, 'Transfer-Encoding: chunked'], bytes, whole: false };
  return { headers: [typed, `Content-Length: ${bytes.length}`], bytes, whole: true };
}

function chunked(dice: Dice, bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const part = bytes.subarray(at, at + 1 + dice.below(2000));
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
    at += part.length;
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

function malformed(dice: Dice): GeneratedRequest {
  const random = Buffer.from(Array.from({ length: 1 + dice.below(200) }, () => dice.below(256)));
  const text = dice.pick([
    'GET /v2/ HTTP/1.1\r\n\r\n',
    'GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    'GET /v2/\x00 HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /v2/ HTTP/9.9\r\nHost: a\r\n\r\n',
    'GET  HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /v2/\r\n\r\n',
    'GARBAGE / HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /v2/ HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n',
    'GET /v2/ HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n',
    'POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n',
    'POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n',
    'POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    '\r\n\r\n\r\n',
    `GET /v2/ HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(3000)}\r\n`,
    `GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
  ]);
  const bytes = dice.chance(0.3) ? random : Buffer.from(text, 'latin1');
  if (dice.chance(0.2)) bytes[dice.below(bytes.length)] = dice.below(256);
  return {
    bytes,
    expect: 'any',
    about: `malformed ${JSON.stringify(bytes.subarray(0, 60).toString('latin1'))}`,
  };
}
