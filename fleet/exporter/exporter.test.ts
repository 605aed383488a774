import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { createHttpServer } from '../../base/connections/index.ts';
import { openKit } from '../../trust/verdict-log/log.fixture.ts';
import { exportTo, goodState, sourceOf, tokens, until } from '../fleet.fixture.ts';
import { attributeNames, eventNames } from '../records/record-names.ts';
import type { ResourceRecords } from '../records/log-record.ts';
import { mostPolicyLength } from '../records/policy.ts';
import { decodeLogs } from '../records/protobuf.ts';
import { createPauses } from './pauses.ts';

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly resource: ResourceRecords;
}

/** A receiver that returns the given answers. */
async function receive(
  t: TestContext,
  answer: (count: number, received: Received) => { status: number; headers?: Record<string, string> },
): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = [];
  const server = createHttpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const [resource] = decodeLogs(gunzipSync(Buffer.concat(chunks)));
      const one = { headers: request.headers, resource: resource! };
      received.push(one);
      const { status, headers = {} } = answer(received.length, one);
      response.writeHead(status, headers).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => void server.close().closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, received };
}

const rowsOf = ({ resource }: Received): number[] =>
  resource.records
    .filter(({ event }) => event === eventNames.row)
    .map(({ attributes }) => Number(attributes.get(attributeNames.seq)));

test('the exporter continues with the row that the aggregator requests, also if the row is an earlier one', async (t) => {
  const kit = await openKit(t);
  await kit.append(9);
  const wanted = ['4', '4', '11', '2', '11'];
  const { url, received } = await receive(t, (count) => ({
    status: 200,
    headers: { 'portcullis-next-row': wanted[count - 1] ?? '11' },
  }));
  let version = 1;
  // A new state causes each request, also when all rows were sent.
  exportTo(
    t,
    url,
    sourceOf(kit, () => ({ ...goodState, version: String((version += 1)) })),
  );
  await until(() => Promise.resolve(received.length >= 5));
  const [first, ...others] = received;
  assert.deepEqual(rowsOf(first!), []);
  assert.equal(first!.headers.authorization, `Bearer ${tokens.a}`);
  assert.equal(first!.resource.attributes.get('portcullis.label.zone'), 'north');
  assert.deepEqual(
    others.slice(0, 4).map((one) => rowsOf(one)[0]),
    [4, 4, undefined, 2],
  );
});

test('an aggregator that requests the same rows repeatedly gets them only after pauses', async (t) => {
  const kit = await openKit(t);
  await kit.append(3);
  const { url, received } = await receive(t, () => ({
    status: 200,
    headers: { 'portcullis-next-row': '1' },
  }));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const exporter = exportTo(t, url, sourceOf(kit));
  const turn = async (): Promise<void> => {
    t.mock.timers.tick(1);
    await nextTurn();
  };
  while (received.length < 2) await turn();
  assert.deepEqual(rowsOf(received[1]!), [1, 2, 3, 4]);
  for (let turns = 0; turns < 200; turns += 1) await turn();
  assert.equal(received.length, 2);
  while (received.length < 3) await turn();
  await exporter.close();
});

test('another OTLP receiver gets the added rows', async (t) => {
  const kit = await openKit(t);
  await kit.append(3);
  const { url, received } = await receive(t, () => ({ status: 200 }));
  const source = sourceOf(kit);
  let isAsked = false;
  const head = async (): Promise<number> => {
    const last = await source.head();
    isAsked = true;
    return last;
  };
  exportTo(t, url, { ...source, head });
  await until(() => Promise.resolve(isAsked));
  await kit.append(2);
  await until(() => Promise.resolve(received.flatMap(rowsOf).length >= 2));
  assert.deepEqual(received.flatMap(rowsOf), [5, 6]);
});

test('a batch has a limited number of rows', async (t) => {
  const kit = await openKit(t);
  await kit.append(300);
  const { url, received } = await receive(t, (_count, one) => ({
    status: 200,
    headers: { 'portcullis-next-row': String((rowsOf(one).at(-1) ?? 0) + 1) },
  }));
  const exporter = exportTo(t, url, sourceOf(kit));
  await until(() => Promise.resolve(received.flatMap(rowsOf).includes(301)));
  await exporter.close();
  assert.ok(received.every((one) => rowsOf(one).length <= 256));
  assert.deepEqual(
    received.slice(0, 3).flatMap(rowsOf),
    Array.from({ length: 301 }, (_, index) => index + 1),
  );
});

test('pauses grow to five minutes, follow the request of a server, and begin again', () => {
  const pauses = createPauses(() => 1);
  const first = Array.from({ length: 12 }, () => pauses.next(0));
  assert.deepEqual(first.slice(0, 4), [1000, 2000, 4000, 8000]);
  assert.equal(first.at(-1), 300_000);
  pauses.reset();
  assert.equal(pauses.next(60_000), 60_500);
  assert.equal(pauses.next(Number.NaN), 2000);
  const low = createPauses(() => 0);
  assert.deepEqual([low.next(0), low.next(0)], [500, 1000]);
});

test('a policy is sent when it comes into force and after the aggregator lost it, but not if it is too long', async (t) => {
  const kit = await openKit(t);
  await kit.append(2);
  const sent: string[] = [];
  const policiesIn = ({ resource }: Received): string[] =>
    resource.records.filter(({ event }) => event === eventNames.policy).map(({ body }) => body);
  let next = '4';
  const { url, received } = await receive(t, () => ({
    status: 200,
    headers: { 'portcullis-next-row': next },
  }));
  const policyOf = (revision: string, text: string) => ({
    ...{ revision, files: [{ name: 'policy.yaml', text }], keys: [] },
  });
  let policy = policyOf('sha256:1', 'one');
  let version = 0;
  const state = () => ({ ...goodState, version: String((version += 1)) });
  exportTo(
    t,
    url,
    sourceOf(kit, state, () => policy),
  );
  const settle = async (change: () => void): Promise<string[]> => {
    const begun = received.length;
    change();
    await until(() => Promise.resolve(received.length >= begun + 4));
    sent.push(...received.slice(begun).flatMap(policiesIn));
    return sent.splice(0);
  };
  assert.deepEqual(await settle(() => undefined), [JSON.stringify(policy)]);
  assert.deepEqual(await settle(() => (policy = policyOf('sha256:2', 'two'))), [JSON.stringify(policy)]);
  assert.deepEqual(await settle(() => undefined), []);
  const lost = await settle(() => (next = '1'));
  assert.ok(
    lost.includes(JSON.stringify(policy)),
    'an aggregator that starts without data gets the policy again',
  );
  next = '4';
  await settle(() => undefined);
  assert.deepEqual(await settle(() => (policy = policyOf('sha256:3', 'x'.repeat(mostPolicyLength)))), []);
});
