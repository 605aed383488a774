import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { createHttpServer } from '../connections/index.ts';
import { reasonOf } from '../errors/index.ts';
import { createApiClient } from './api-client.ts';
import { follow } from './follow.ts';
import type { FollowTiming, Follower } from './follow.ts';

/**
 * Tests the reaction to an API server that misbehaves, with a script of answers over a real connection.
 * test/services-watch tests the real one, healthy and killed.
 */

type Answer = (response: ServerResponse, url: URL, request: IncomingMessage) => void;

const object = (name: string, version: string): object => ({
  metadata: { name, namespace: 'n', resourceVersion: version },
});
const event = (type: string, name: string, version: string): string =>
  `${JSON.stringify({ type, object: object(name, version) })}\n`;
const page = (names: readonly string[], version: string, next = ''): string =>
  JSON.stringify({
    kind: 'List',
    metadata: { resourceVersion: version, continue: next },
    items: names.map((name) => object(name, '1')),
  });
const status = (code: number, message: string): string => JSON.stringify({ kind: 'Status', code, message });

const give =
  (code: number, body: string, headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(code, headers).end(body);
const stream =
  (...lines: readonly string[]): Answer =>
  (response) => {
    response.writeHead(200);
    response.write(lines.join(''));
  };

const timing: FollowTiming = {
  ...{ page: 2, streamSeconds: 300, silence: 100_000 },
  ...{ firstWait: 2, longestWait: 10, startUp: 100_000 },
};

/** Answers as scripted, one request each. Records the requests and the follower's events, in order. */
async function scripted(
  t: TestContext,
  script: readonly Answer[],
  { since, ...more }: Partial<FollowTiming> & { readonly since?: string } = {},
) {
  const asked: string[] = [];
  const reported: string[] = [];
  const rest = [...script];
  const server = createHttpServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://server');
    const { searchParams: query } = url;
    const what =
      query.get('watch') === 'true'
        ? `watch ${query.get('resourceVersion') ?? ''}`
        : `list ${query.get('limit') ?? 'all'} ${query.get('continue') ?? ''}`;
    asked.push(what.trim());
    const answer = rest.shift();
    // The script is over: a stream without events.
    if (answer === undefined) response.writeHead(200).flushHeaders();
    else answer(response, url, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ended = new AbortController();
  const name = (one: unknown): string => (one as { metadata: { name: string } }).metadata.name;
  const follower: Follower = {
    begin: () => void reported.push('begin'),
    listed: (one) => void reported.push(name(one)),
    paged: () => undefined,
    complete: () => void reported.push('complete'),
    reached: () => void reported.push('reached'),
    changed: (one) => void reported.push(`+${name(one)}`),
    removed: (one) => void reported.push(`-${name(one)}`),
    failed: (thrown, listing) =>
      void reported.push(`failed: ${reasonOf(thrown)}${listing ? ', listing' : ''}`),
  };
  const access = {
    server: new URL(`http://127.0.0.1:${port}/prefix/`),
    tls: {},
    id: 'one',
    authorization: 'Bearer of-the-test',
  };
  const client = createApiClient(() => Promise.resolve(access), {
    userAgent: 'portcullis',
    rights: 'list and watch services',
    meanwhile: 'services stay as they are',
  });
  const following = follow(
    client,
    { path: '/api/v1/things', query: { labelSelector: '!a' }, ...(since !== undefined && { since }) },
    follower,
    ended.signal,
    {
      ...timing,
      ...more,
    },
  );
  t.after(async () => {
    ended.abort();
    await following;
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return {
    asked,
    reported,
    /** Waits until this many requests were made and the script is over. */
    async over(requests: number): Promise<void> {
      while (asked.length < requests) await sleep(2);
    },
  };
}

const limits = { timeout: 60_000 };

test(
  'pages form one list, the stream begins at its version, and the next stream begins where that stream ended',
  limits,
  async (t) => {
    const paths: string[] = [];
    const { asked, reported, over } = await scripted(t, [
      (response, url, request) => {
        paths.push(
          url.pathname,
          url.searchParams.get('labelSelector') ?? '',
          request.headers.authorization ?? '',
        );
        give(200, page(['a', 'b'], '7', 'next'))(response, url, request);
      },
      (response) =>
        void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(page(['c'], '7'))),
      (response) => {
        response.writeHead(200);
        // An event in pieces that are cut in the middle of a character.
        const bytes = Buffer.from(
          event('ADDED', 'd-é', '8') + event('DELETED', 'a', '9') + event('BOOKMARK', '', '12'),
        );
        const cut = bytes.indexOf(0xc3) + 1;
        response.write(bytes.subarray(0, cut));
        setTimeout(() => response.end(bytes.subarray(cut)), 20);
      },
    ]);
    await over(4);
    assert.deepEqual(asked, ['list 2', 'list 2 next', 'watch 7', 'watch 12']);
    assert.deepEqual(paths, ['/prefix/api/v1/things', '!a', 'Bearer of-the-test']);
    while (reported.length < 9) await sleep(2);
    assert.deepEqual(
      reported.filter((one) => !one.startsWith('failed')),
      ['begin', 'a', 'b', 'c', 'complete', 'reached', '+d-é', '-a', 'reached'],
    );
  },
);

test(
  'the first list is at least as new as the known version, and need not be the newest',
  limits,
  async (t) => {
    const queries: string[] = [];
    const noted =
      (answer: Answer): Answer =>
      (response, url, request) => {
        const { searchParams: query } = url;
        queries.push(
          `${query.get('resourceVersion') ?? 'newest'} ${query.get('resourceVersionMatch') ?? ''}`,
        );
        answer(response, url, request);
      };
    const { over } = await scripted(
      t,
      [noted(give(200, page(['a'], '80', 'next'))), noted(give(200, page(['b'], '80'))), noted(stream())],
      { since: '77' },
    );
    await over(3);
    assert.deepEqual(queries, ['77 NotOlderThan', 'newest ', '80 ']);
  },
);

test('if the server never reaches a version, the newest version is requested', limits, async (t) => {
  const queries: string[] = [];
  const noted =
    (answer: Answer): Answer =>
    (response, url, request) => {
      queries.push(url.searchParams.get('resourceVersion') ?? 'newest');
      answer(response, url, request);
    };
  const { over, reported } = await scripted(
    t,
    [
      noted(give(504, status(504, 'Timeout: Too large resource version: 77, current: 5'))),
      noted(give(200, page(['a'], '5'))),
    ],
    { since: '77' },
  );
  await over(3);
  assert.deepEqual(queries, ['77', 'newest']);
  assert.deepEqual(reported.slice(0, 4), ['begin', 'begin', 'a', 'complete']);
});

test('after a page has expired, the whole list is read in one answer', limits, async (t) => {
  const { asked, reported, over } = await scripted(t, [
    give(200, page(['a'], '7', 'next')),
    give(410, status(410, 'the continue token is too old')),
    give(200, page(['a', 'b'], '9')),
  ]);
  await over(4);
  assert.deepEqual(asked, ['list 2', 'list 2 next', 'list all', 'watch 9']);
  assert.deepEqual(reported.slice(0, 6), ['begin', 'a', 'begin', 'a', 'b', 'complete']);
});

test(
  'lists again if an answer or the stream says that the server no longer has the version',
  limits,
  async (t) => {
    const gone = `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } })}\n`;
    const { asked, reported, over } = await scripted(t, [
      give(200, page(['a'], '7')),
      stream(event('MODIFIED', 'a', '8'), gone),
      give(200, page(['b'], '20')),
      give(410, status(410, 'too old')),
      give(200, page(['c'], '30')),
    ]);
    await over(6);
    assert.deepEqual(asked, ['list 2', 'watch 7', 'list 2', 'watch 20', 'list 2', 'watch 30']);
    assert.deepEqual(reported.slice(0, 7), [
      'begin',
      'a',
      'complete',
      'reached',
      '+a',
      'failed: it answered 410: too old, listing',
      'begin',
    ]);
  },
);

test(
  'if the version is too old after an outage, the list is requested at once',
  { timeout: 30_000 },
  async (t) => {
    const { asked, over } = await scripted(t, [
      give(200, page(['a'], '7')),
      give(500, status(500, 'it starts')),
      give(200, page([], '8')),
      // A follower that waited would wait at least this long.
      give(410, status(410, 'too old'), { 'retry-after': '3600' }),
      give(200, page(['b'], '9')),
    ]);
    await over(6);
    assert.deepEqual(asked, ['list 2', 'watch 7', 'list 1', 'watch 7', 'list 2', 'watch 9']);
  },
);

test(
  'a server whose lists have expired as soon as they arrive is not asked all the time',
  limits,
  async (t) => {
    const old = give(410, status(410, 'too old'));
    const lists = [1, 2, 3, 4].flatMap((version) => [give(200, page(['a'], String(version))), old]);
    const { asked, over } = await scripted(t, lists, { firstWait: 3_600_000, longestWait: 3_600_000 });
    await over(4);
    await sleep(200);
    assert.deepEqual(asked, ['list 2', 'watch 1', 'list 2', 'watch 2']);
  },
);

test('a stream that breaks or is silent is opened again from the last version', limits, async (t) => {
  const { asked, reported, over } = await scripted(
    t,
    [
      give(200, page([], '7')),
      (response) => {
        response.writeHead(200);
        response.write(event('ADDED', 'a', '8') + event('ADDED', 'b', '9').slice(0, 20), () =>
          response.destroy(),
        );
      },
      stream(event('ADDED', 'b', '9')),
      give(500, 'a proxy says no'),
      give(200, page(['b'], '9')),
      give(429, status(429, 'too many'), { 'retry-after': '1' }),
      stream(event('ADDED', 'c', '10')),
    ],
    { silence: 1500 },
  );
  await over(8);
  assert.deepEqual(asked.slice(0, 8), [
    'list 2',
    'watch 7',
    'watch 8',
    'watch 9',
    'list 1',
    'watch 9',
    'watch 9',
    'watch 10',
  ]);
  const failed = reported.filter((one) => one.startsWith('failed'));
  assert.match(failed[0]!, /closed the connection unexpectedly/u);
  assert.deepEqual(failed.slice(1, 4), [
    'failed: no data arrived for 1.5 s',
    'failed: it answered 500',
    'failed: it answered 429: too many',
  ]);
});

test('lists again if the server comes back with an earlier version than before', limits, async (t) => {
  const { asked, reported, over } = await scripted(t, [
    give(200, page(['a'], '1000')),
    (response) => {
      response.writeHead(200);
      response.write('\n', () => response.destroy());
    },
    give(503, 'no server behind this proxy'),
    // etcd was restored from a backup, and `b` was created since then.
    give(200, page(['b'], '21')),
    give(200, page(['b'], '21')),
    stream(event('ADDED', 'c', '22')),
  ]);
  await over(6);
  while (reported.at(-1) !== '+c') await sleep(2);
  assert.deepEqual(asked, ['list 2', 'watch 1000', 'watch 1000', 'list 1', 'list 2', 'watch 21']);
  assert.deepEqual(reported.slice(-5), ['begin', 'b', 'complete', 'reached', '+c']);
});

const refusal = give(403, status(403, 'things is forbidden'));
const endedStream: Answer = (response) => {
  response.writeHead(200);
  response.write('\n', () => response.destroy());
};

test(
  'refusals of a server that comes back are not reported while it may read its roles',
  limits,
  async (t) => {
    const script = [give(200, page(['a'], '7')), endedStream, refusal, refusal, give(200, page([], '9'))];
    const { reported, over } = await scripted(t, [...script, stream(event('ADDED', 'b', '9'))]);
    await over(6);
    while (reported.at(-1) !== '+b') await sleep(2);
    assert.deepEqual(
      reported.filter((one) => /\b403\b/u.test(one)),
      [],
    );
  },
);

test('refusals that last are reported', limits, async (t) => {
  const script = [give(200, page(['a'], '7')), endedStream, ...Array<Answer>(20).fill(refusal)];
  const { reported } = await scripted(t, script, { startUp: 20 });
  while (!reported.some((one) => /\b403\b/u.test(one))) await sleep(2);
});

test('a refusal of the first list is reported at once', limits, async (t) => {
  const { reported, over } = await scripted(t, [refusal, give(200, page(['a'], '7'))]);
  await over(2);
  while (!reported.includes('complete')) await sleep(2);
  assert.equal(reported.filter((one) => /\b403\b/u.test(one)).length, 1);
});

test('a version that fails repeatedly is given up', limits, async (t) => {
  const broken = stream('{"type":\n');
  const { asked, over } = await scripted(t, [
    give(200, page([], '7')),
    broken,
    broken,
    broken,
    broken,
    broken,
    broken,
    give(200, page([], '8')),
  ]);
  await over(9);
  assert.deepEqual(asked.slice(1), [
    'watch 7',
    'watch 7',
    'watch 7',
    'watch 7',
    'watch 7',
    'watch 7',
    'list 2',
    'watch 8',
  ]);
});

test('an answer that is not a list is not taken for an empty list', limits, async (t) => {
  const { reported, over } = await scripted(t, [
    give(200, '{}'),
    give(200, '[1'),
    give(200, JSON.stringify({ metadata: { resourceVersion: '5' }, items: 'none' })),
    give(403, status(403, 'forbidden')),
    give(301, '', { location: 'http://192.0.2.1/' }),
    give(200, page(['a'], '7')),
  ]);
  await over(7);
  assert.equal(reported.filter((one) => one === 'complete').length, 1);
  assert.equal(reported.indexOf('complete'), reported.indexOf('a') + 1);
  assert.match(reported.join('\n'), /not a list of Kubernetes objects[\s\S]*403: forbidden[\s\S]*301/u);
});

test('the first list comes from the cache of the server, a list after 410 does not, and no further page names a version', async (t) => {
  const queries: string[] = [];
  const noting =
    (answer: Answer): Answer =>
    (response, url, request) => {
      const { searchParams: query } = url;
      queries.push(
        ['limit', 'continue', 'resourceVersion', 'watch'].map((name) => query.get(name) ?? '-').join(' '),
      );
      answer(response, url, request);
    };
  await scripted(t, [
    noting(give(200, page(['a', 'b'], '10', 'more'))),
    noting(give(200, page(['c'], '10'))),
    noting(give(410, status(410, 'too old'))),
    noting(give(200, page(['a'], '12'))),
    noting(stream(event('ADDED', 'd', '13'))),
  ]);
  while (queries.length < 5) await sleep(5);
  assert.deepEqual(queries, ['2 - 0 -', '2 more - -', '- - 10 true', '2 - - -', '- - 12 true']);
});

test('an object that is nested too deep stops neither its list nor the stream', limits, async (t) => {
  // As anyone may write it who may create an object.
  const deep = `{"f:a":`.repeat(500) + '{}' + '}'.repeat(500);
  const managed = (name: string): string =>
    `{"metadata":{"name":"${name}","resourceVersion":"8","managedFields":[{"fieldsV1":${deep}}]}}`;
  const { reported, over } = await scripted(t, [
    give(200, `{"metadata":{"resourceVersion":"7"},"items":[${managed('a')},${managed('b')}]}`),
    stream(`{"type":"ADDED","object":${managed('c')}}\n`, event('ADDED', 'd', '9')),
  ]);
  await over(2);
  while (reported.length < 7 && !reported.some((one) => one.startsWith('failed'))) await sleep(2);
  assert.deepEqual(reported, ['begin', 'a', 'b', 'complete', 'reached', '+c', '+d']);
});
