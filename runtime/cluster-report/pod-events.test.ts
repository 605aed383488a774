import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ApiChange } from '../../base/kubernetes/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { eventually } from '../../test/webhook/test-cluster.ts';
import { createPodEvents, usualEventTiming } from './pod-events.ts';
import type { EventTiming, PodEvents } from './pod-events.ts';
import type { PodOutOfPolicy } from './pod-facts.ts';

interface Sent extends Pick<ApiChange, 'method' | 'path'> {
  readonly body: Readonly<Record<string, unknown>>;
}

/** Opens events, and an API server that answers with a status. */
function open(t: TestContext, timing: Partial<EventTiming> = {}) {
  const sent: Sent[] = [];
  const answer: { of: (change: ApiChange) => number | undefined } = { of: () => undefined };
  const events = createPodEvents(
    {
      async send(change) {
        await Promise.resolve();
        sent.push(change as Sent);
        const status = answer.of(change);
        if (status === undefined) return {};
        throw new PortcullisError({
          ...{ code: 'KUBERNETES_API_REFUSED', kind: 'unavailable', attempted: 'write', on: 'the server' },
          ...{ why: `it answered ${status}`, fix: 'wait', details: { status } },
        });
      },
    },
    {
      nodeName: 'node-1',
      log: createLogger({ level: 'silent' }),
      timing: { ...usualEventTiming, firstWaitMs: 20, longestWaitMs: 40, ...timing },
    },
  );
  t.after(() => events.close());
  return { events, sent, answer };
}

const podOf = (name: string, more: Partial<PodOutOfPolicy['containers'][number]> = {}): PodOutOfPolicy => ({
  ...{ namespace: 'shop', name, uid: `uid-${name}` },
  containers: [
    {
      ...{
        name: 'main',
        reference: 'r/a:1',
        outcome: 'deny',
        rule: 'p.yaml:3',
        verdict: 'v1',
        reasons: ['no'],
      },
      ...more,
    },
  ],
});
function report(
  events: PodEvents,
  pods: readonly PodOutOfPolicy[],
  alive = pods.map(({ uid }) => uid),
): void {
  events.report(new Map(pods.map((pod) => [pod.uid, pod])), new Set(alive));
}
const methods = (sent: readonly Sent[]): readonly string[] => sent.map(({ method }) => method);
/** Waits until the server got this many requests. */
const until = (sent: readonly Sent[], count: number): Promise<void> =>
  eventually(30_000, async () => {
    await Promise.resolve();
    assert.ok(sent.length >= count, JSON.stringify(sent));
  });

test('one event for one pod, however often the node decides', async (t) => {
  const { events, sent } = open(t);
  report(events, [podOf('web')]);
  await until(sent, 1);
  for (const verdict of ['v2', 'v3']) report(events, [podOf('web', { verdict, rule: 'p.yaml:9' })]);
  // The next event of all shows that there was none before it.
  report(events, [podOf('web', { verdict: 'v4' }), podOf('db')]);
  await until(sent, 2);
  report(events, [podOf('web', { reference: 'r/b:1' }), podOf('db')]);
  await until(sent, 3);
  assert.deepEqual(
    sent.map(({ method, path, body }) => [method, path, (body['involvedObject'] as { name: string }).name]),
    ['web', 'db', 'web'].map((name) => ['POST', '/api/v1/namespaces/shop/events', name]),
    'another image is another event',
  );
});

test('an event is repeated while its reason holds, and made again when it has expired', async (t) => {
  const { events, sent, answer } = open(t, { repeatMs: 50, everyMs: 1 });
  report(events, [podOf('web')]);
  await until(sent, 2);
  assert.deepEqual(methods(sent).slice(0, 2), ['POST', 'PATCH']);
  assert.equal(sent[1]?.body['count'], 2);
  answer.of = ({ method }) => (method === 'PATCH' ? 404 : undefined);
  const before = sent.length;
  await eventually(30_000, async () => {
    await Promise.resolve();
    assert.ok(methods(sent.slice(before)).includes('POST'));
  });
});

test('a pod that is in policy again gets one event, and a pod that is gone gets none', async (t) => {
  const { events, sent } = open(t);
  report(events, [podOf('web'), podOf('gone')]);
  await until(sent, 2);
  report(events, [], ['uid-web']);
  report(events, [], ['uid-web']);
  await until(sent, 3);
  report(events, [podOf('last')], ['uid-web', 'uid-last']);
  await until(sent, 4);
  assert.equal(sent.length, 4);
  assert.equal(sent[2]?.body['reason'], 'ImageInPolicy');
  assert.deepEqual(sent[2]?.body['involvedObject'], {
    ...{ apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'web', uid: 'uid-web' },
    fieldPath: 'spec.containers{main}',
  });
});

test('a pod that is in policy again while its event is being written gets the other event too', async (t) => {
  const { events, sent } = open(t);
  report(events, [podOf('web')]);
  report(events, [], ['uid-web']);
  await until(sent, 2);
  assert.deepEqual(
    sent.map(({ body }) => body['reason']),
    ['ImageOutOfPolicy', 'ImageInPolicy'],
  );
});

test('no more than the burst is written at once, and the others follow one by one', async (t) => {
  const pods = Array.from({ length: 20 }, (_, at) => podOf(`p${at}`));
  const slow = open(t, { burst: 3, everyMs: 3_600_000 });
  report(slow.events, pods);
  await until(slow.sent, 3);
  report(slow.events, pods);
  await sleep(50);
  assert.equal(slow.sent.length, 3);
  const quick = open(t, { burst: 3, everyMs: 5 });
  report(quick.events, pods);
  await until(quick.sent, 20);
});

test('an event that an earlier run has written is renewed', async (t) => {
  const { events, sent, answer } = open(t);
  answer.of = ({ method }) => (method === 'POST' ? 409 : undefined);
  report(events, [podOf('web')]);
  await until(sent, 2);
  assert.deepEqual(methods(sent), ['POST', 'PATCH']);
  assert.equal(sent[1]?.body['count'], undefined, 'its count stays');
});

test('what the server refuses is not tried again, and what it cannot answer is', async (t) => {
  const { events, sent, answer } = open(t, { everyMs: 1 });
  answer.of = () => 403;
  report(events, [podOf('web')]);
  await until(sent, 1);
  answer.of = () => 503;
  report(events, [podOf('web'), podOf('db')]);
  await until(sent, 4);
  answer.of = () => undefined;
  report(events, [podOf('web'), podOf('db'), podOf('last')]);
  const names = (): readonly unknown[] =>
    sent.map(({ body }) => (body['involvedObject'] as { readonly name: string }).name);
  await eventually(30_000, async () => {
    await Promise.resolve();
    assert.ok(names().includes('last'));
  });
  assert.equal(names().filter((name) => name === 'web').length, 1);
});

test('a namespace whose events the server limits does not delay the events of others', async (t) => {
  const { events, sent, answer } = open(t, { everyMs: 1 });
  answer.of = ({ path }) => (path.includes('/noisy/') ? 429 : undefined);
  report(events, [{ ...podOf('first'), namespace: 'noisy' }, podOf('second')]);
  await eventually(5_000, async () => {
    await Promise.resolve();
    assert.ok(
      sent.some(({ path }) => path.includes('/shop/')),
      JSON.stringify(sent.map(({ path }) => path)),
    );
  });
  const before = sent.length;
  answer.of = () => undefined;
  await until(sent, before + 1);
  assert.match(sent.at(-1)?.path ?? '', /noisy/u);
});

test('a name that is no name of an object never gets into a path', async (t) => {
  const { events, sent } = open(t);
  report(events, [
    { ...podOf('web'), namespace: '../../nodes' },
    { ...podOf('x'), name: 'a/b', uid: 'y' },
  ]);
  report(events, [podOf('n'.repeat(253))]);
  await until(sent, 1);
  const { name } = sent[0]?.body['metadata'] as { readonly name: string };
  assert.ok(name.length <= 253);
  assert.match(sent[0]?.path ?? '', /shop/u);
});
