import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpServer } from '../connections/index.ts';
import { isPortcullisError } from '../errors/index.ts';
import { createApiClient } from './api-client.ts';
import { followOptional } from './optional.ts';

const version = '/apis/things.example/v1';
const nextVersion = '/apis/things.example/v2';
const timing = {
  ...{ page: 10, streamSeconds: 300, silence: 100_000 },
  ...{ firstWait: 2, longestWait: 10, startUp: 100_000 },
  ...{ again: 20, absentFor: 60 },
};

/** An API server whose collection can be installed, and what a follower was given. */
async function open(
  t: TestContext,
  options: { readonly since?: string; readonly status?: number; readonly both?: boolean } = {},
) {
  const state = { isInstalled: false, isMoved: false, status: options.status ?? 404 };
  const streams = new Set<ServerResponse>();
  const server = createHttpServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://server');
    const answer = (status: number, body: object): void =>
      void response.writeHead(status).end(JSON.stringify(body));
    if (state.isMoved && url.pathname === '/apis/things.example')
      return answer(200, { versions: [{ version: 'v2' }, { version: '../v3' }] });
    if (state.isMoved && url.pathname === '/apis/things.example/v2')
      return answer(200, { resources: [{ name: 'things' }] });
    if (!state.isInstalled && !(state.isMoved && url.pathname.startsWith(nextVersion)))
      return answer(state.status, { kind: 'Status', code: state.status, message: 'no' });
    if (url.pathname === version) return answer(200, { resources: [{ name: 'things' }] });
    if (url.searchParams.get('watch') !== 'true')
      return answer(200, {
        metadata: { resourceVersion: '7' },
        items: [{ metadata: { name: 'a', resourceVersion: '7' } }],
      });
    response.writeHead(200).flushHeaders();
    streams.add(response);
    response.once('close', () => streams.delete(response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = createApiClient(
    () =>
      Promise.resolve({
        ...{ server: new URL(`http://127.0.0.1:${port}/`), tls: {}, id: 'one', authorization: '' },
      }),
    { userAgent: 'test', rights: 'list and watch things', meanwhile: 'things stay' },
  );
  const events: string[] = [];
  const codes = new Set<string>();
  const ended = new AbortController();
  const following = followOptional(
    client,
    {
      versions: options.both === true ? [nextVersion, version] : [version],
      resource: 'things',
      ...(options.since !== undefined && { since: options.since }),
    },
    {
      begin: () => void events.push('begin'),
      listed: () => void events.push('a'),
      paged: () => undefined,
      complete: () => void events.push('complete'),
      reached: () => void events.push('reached'),
      changed: () => undefined,
      removed: () => undefined,
      failed(thrown) {
        events.push('failed');
        codes.add(isPortcullisError(thrown) ? thrown.code : '');
      },
    },
    ended.signal,
    timing,
  );
  t.after(async () => {
    ended.abort();
    await following;
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return {
    events,
    codes,
    /** The server has the collection in another version only. */
    move(): void {
      state.isMoved = true;
    },
    install(isInstalled: boolean): void {
      state.isInstalled = isInstalled;
      for (const stream of streams) stream.end();
    },
    async until(text: string): Promise<void> {
      for (const end = Date.now() + 60_000; !events.join(' ').endsWith(text);) {
        assert.ok(Date.now() < end, `${events.join(' ')}, not ${text}`);
        await sleep(5);
      }
    },
  };
}

test('an absent collection is empty, its objects appear when it is installed, and disappear when it is removed', async (t) => {
  const { until, install, events } = await open(t);
  await until('begin complete reached');
  install(true);
  await until('begin a complete reached');
  events.length = 0;
  const begun = performance.now();
  install(false);
  await until('begin complete reached');
  assert.ok(performance.now() - begun >= timing.absentFor, 'a server that starts may lack it for a moment');
  assert.ok(!events.includes('a'));
});

test('a known collection does not become empty as soon as the server lacks it', async (t) => {
  const { until, events } = await open(t, { since: '5' });
  await sleep(20);
  assert.deepEqual(events, []);
  await until('begin complete reached');
});

test('it is a failure, not an empty list, if the server does not say whether it has the collection', async (t) => {
  const { until, events, install } = await open(t, { status: 503 });
  await until('failed failed');
  assert.ok(!events.includes('complete'));
  install(true);
  await until('begin a complete reached');
});

test('a collection that moved to another version is not absent: its objects stay, and the failure says why', async (t) => {
  const { until, events, codes, install, move } = await open(t);
  await until('begin complete reached');
  install(true);
  await until('begin a complete reached');
  events.length = 0;
  move();
  install(false);
  await until('failed');
  await sleep(timing.absentFor * 3);
  assert.ok(!events.includes('complete'), events.join(' '));
  assert.ok(codes.has('KUBERNETES_VERSION_NOT_SERVED'), [...codes].join(' '));
});

test('a collection that moved to another version that is read is followed there', async (t) => {
  const { until, events, codes, install, move } = await open(t, { both: true });
  await until('begin complete reached');
  install(true);
  await until('begin a complete reached');
  events.length = 0;
  move();
  install(false);
  await until('begin a complete reached');
  assert.deepEqual([...codes], []);
});
