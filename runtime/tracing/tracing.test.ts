import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { StartedCall } from '../cri/observe.ts';
import { traced } from './spans.ts';
import { openTracing } from './tracing.ts';

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly status: { readonly code?: number; readonly message?: string };
  readonly attributes: readonly { readonly key: string; readonly value: object }[];
}

const spans: Span[] = [];
const collector = createHttpServer((request, response) => {
  void json(request).then((body) => {
    const { resourceSpans } = body as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] };
    spans.push(...resourceSpans.flatMap((resource) => resource.scopeSpans.flatMap((scope) => scope.spans)));
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
});
let endpoint = '';
before(async () => {
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/`;
});
after(() => void collector.close().closeAllConnections());

const call = (headers: Readonly<Record<string, string>> = {}): StartedCall => ({
  rpc: 'CreateContainer',
  service: 'runtime.v1.RuntimeService',
  readsOnly: false,
  requestId: 'r1',
  peer: undefined,
  header: (name) => headers[name],
});
const traceId = '0af7651916cd43dd8448eb211c80319c';
const sampled = { traceparent: `00-${traceId}-b7ad6b7169203331-01` };

test('a sampled call is one span in the trace of its caller, with its parts as child spans, and failures only as codes', async () => {
  spans.length = 0;
  const tracing = openTracing({ endpoint, samplingRatePerMillion: 0, version: '1' });
  const failure = new PortcullisError({
    code: 'X_NO',
    kind: 'denied',
    attempted: 'a',
    on: 'hunter2',
    why: 'hunter2',
    fix: 'f',
  });
  const observed = tracing.calls.begin(call(sampled));
  await assert.rejects(
    observed.within?.(async () => {
      await Promise.all([
        traced('decide', () => Promise.resolve(1)),
        traced('prepare', () => traced('rootfs', () => Promise.resolve(2))),
      ]);
      await traced('runtime create', () => Promise.reject(failure));
    }) ?? Promise.resolve(),
  );
  observed.end({ code: 7, milliseconds: 1, failure });
  await tracing.close();
  const by = new Map(spans.map((span) => [span.name, span]));
  assert.deepEqual([...by.keys()].toSorted(), [
    'decide',
    'prepare',
    'rootfs',
    'runtime create',
    'runtime.v1.RuntimeService/CreateContainer',
  ]);
  assert.ok(spans.every((span) => span.traceId === traceId));
  const root = by.get('runtime.v1.RuntimeService/CreateContainer');
  assert.deepEqual(
    [root?.parentSpanId, root?.kind, root?.status],
    ['b7ad6b7169203331', 2, { code: 2, message: 'PERMISSION_DENIED' }],
  );
  assert.deepEqual(
    ['decide', 'prepare', 'runtime create'].map((name) => by.get(name)?.parentSpanId),
    [root?.spanId, root?.spanId, root?.spanId],
  );
  assert.equal(by.get('rootfs')?.parentSpanId, by.get('prepare')?.spanId);
  assert.deepEqual(by.get('runtime create')?.status, { code: 2, message: 'X_NO' });
  assert.ok(!JSON.stringify(spans).includes('hunter2'));
  assert.match(JSON.stringify(root?.attributes), /"portcullis.request_id","value":\{"stringValue":"r1"\}/);
});

test('the caller decides about sampling, or else the configured share; an invalid header is ignored', async () => {
  const cases = [
    { headers: { traceparent: sampled.traceparent.replace(/01$/, '00') }, share: 1_000_000, expected: 0 },
    { headers: {}, share: 0, expected: 0 },
    { headers: {}, share: 1_000_000, expected: 1 },
    { headers: { traceparent: '00-zz-b7ad6b7169203331-01' }, share: 0, expected: 0 },
    { headers: { traceparent: `ff-${traceId}-b7ad6b7169203331-01` }, share: 0, expected: 0 },
    { headers: { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }, share: 0, expected: 0 },
  ];
  for (const { headers, share, expected } of cases) {
    spans.length = 0;
    const tracing = openTracing({ endpoint, samplingRatePerMillion: share, version: '1' });
    const observed = tracing.calls.begin(call(headers));
    await observed.within?.(() => Promise.resolve());
    observed.end({ code: 0, milliseconds: 1 });
    await tracing.close();
    assert.equal(spans.length, expected, JSON.stringify(headers));
  }
});

test('outside of a traced call, a part runs without a span', async () => {
  assert.equal(await traced('part', () => Promise.resolve(7)), 7);
  await assert.rejects(
    traced('part', () => Promise.reject(new Error('no'))),
    /no/,
  );
});

test('a collector that does not answer does not delay calls', async () => {
  const tracing = openTracing({
    endpoint: 'http://127.0.0.1:9',
    samplingRatePerMillion: 1_000_000,
    version: '1',
  });
  for (let count = 0; count < 5000; count += 1) {
    const observed = tracing.calls.begin(call());
    await observed.within?.(() => Promise.resolve());
    observed.end({ code: 0, milliseconds: 1 });
  }
  const started = performance.now();
  await tracing.close();
  assert.ok(performance.now() - started < 10_000);
});
