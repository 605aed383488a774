import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { ContainerPhase, ContainerRecord } from '../containers/record.ts';
import { ContainerEventType } from '../cri/contract/contract.types.ts';
import type { SandboxPhase, SandboxRecord } from '../pods/record.ts';
import type { Keyed, RecordChange, WatchedRecords } from '../state/records.ts';
import { createClientQueue } from './client-queue.ts';
import { createEventHub } from './hub.ts';
import type { EventHub, LifecycleEvent } from './hub.ts';
import { containerEvents, sandboxEvents } from './transitions.ts';

const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
  ContainerEventType;
const short = new Map<number, string>([
  [CONTAINER_CREATED_EVENT, 'created'],
  [CONTAINER_STARTED_EVENT, 'started'],
  [CONTAINER_STOPPED_EVENT, 'stopped'],
  [CONTAINER_DELETED_EVENT, 'deleted'],
]);
const names = (types: readonly ContainerEventType[]): string =>
  types.map((type) => short.get(type)).join(' ');

const container = (phase: ContainerPhase, startedAt = '0', id = 'c1'): ContainerRecord =>
  ({ id, name: id, sandboxId: 's1', phase, startedAt }) as ContainerRecord;
const sandbox = (phase: SandboxPhase, id = 's1'): SandboxRecord => ({ id, name: id, phase }) as SandboxRecord;

const containerCases: readonly (readonly [
  string,
  ContainerRecord | undefined,
  ContainerRecord | undefined,
  string,
])[] = [
  ['an intent is not a container yet', undefined, container('creating'), ''],
  ['created', container('creating'), container('created'), 'created'],
  ['a start in progress has no event', container('created'), container('starting'), ''],
  ['started', container('starting'), container('running', '5'), 'started'],
  [
    'an answered start and a new limit have no event',
    container('running', '5'),
    container('running', '5'),
    '',
  ],
  ['ended', container('running', '5'), container('exited', '5'), 'stopped'],
  ['ended before its start was recorded', container('starting'), container('exited', '5'), 'started stopped'],
  ['a start that failed', container('starting'), container('exited'), 'stopped'],
  ['killed before it was started', container('created'), container('exited'), 'stopped'],
  ['an exit recorded again', container('exited', '5'), container('exited', '5'), ''],
  ['going away', container('exited', '5'), container('removing', '5'), ''],
  ['gone', container('removing', '5'), undefined, 'deleted'],
  ['the removal after a failed creation has no event', container('creating'), undefined, ''],
];
for (const [what, before, after, expected] of containerCases) {
  test(`container: ${what}`, () => assert.equal(names(containerEvents({ before, after })), expected));
}

const sandboxCases: readonly (readonly [
  string,
  SandboxRecord | undefined,
  SandboxRecord | undefined,
  string,
])[] = [
  ['an intent is not a sandbox yet', undefined, sandbox('creating'), ''],
  ['ready', sandbox('creating'), sandbox('ready'), 'created started'],
  ['stopping', sandbox('ready'), sandbox('stopping'), ''],
  ['stopped', sandbox('stopping'), sandbox('stopped'), 'stopped'],
  ['gone', sandbox('stopped'), undefined, 'deleted'],
  ['the removal after a failed creation has no event', sandbox('creating'), undefined, ''],
];
for (const [what, before, after, expected] of sandboxCases) {
  test(`sandbox: ${what}`, () => assert.equal(names(sandboxEvents({ before, after })), expected));
}

async function codeOf(reading: Promise<unknown>): Promise<string> {
  try {
    await reading;
  } catch (thrown) {
    return isPortcullisError(thrown) ? thrown.code : String(thrown);
  }
  return 'none';
}

test('a queue gives events in order, and waits for the next', async () => {
  const queue = createClientQueue({ events: 10, bytes: 100 }, () => undefined);
  const reader = queue[Symbol.asyncIterator]();
  queue.push(Uint8Array.of(1));
  queue.push(Uint8Array.of(2));
  assert.deepEqual((await reader.next()).value, Uint8Array.of(1));
  assert.deepEqual((await reader.next()).value, Uint8Array.of(2));
  const third = reader.next();
  queue.push(Uint8Array.of(3));
  assert.deepEqual((await third).value, Uint8Array.of(3));
});

test('a full queue, by count or by bytes, reports the number of lost events at its next read, and keeps none', async () => {
  for (const limits of [
    { events: 2, bytes: 100 },
    { events: 100, bytes: 5 },
  ]) {
    let ends = 0;
    const queue = createClientQueue(limits, () => (ends += 1));
    const event = Uint8Array.of(1, 2);
    assert.deepEqual(
      [queue.push(event), queue.push(event), queue.push(event), queue.push(event)],
      [0, 0, 3, 1],
    );
    assert.equal(queue.length, 0);
    const reader = queue[Symbol.asyncIterator]();
    await assert.rejects(reader.next(), /\[RUNTIME_EVENTS_LOST\]/);
    assert.equal(ends, 1);
    assert.equal((await reader.next()).done, true);
  }
  const queue = createClientQueue({ events: 1, bytes: 9 }, () => undefined);
  for (let count = 0; count < 7; count += 1) queue.push(Uint8Array.of(1));
  await assert.rejects(queue[Symbol.asyncIterator]().next(), /missed 7 events/);
});

/** Records that report the changes that the test makes. */
function fakeRecords<T extends Keyed>() {
  const kept = new Map<string, T>();
  const listeners = new Set<(change: RecordChange<T>) => void>();
  const records: Pick<WatchedRecords<T>, 'get' | 'list' | 'onChange'> = {
    get: (id) => kept.get(id),
    list: () => [...kept.values()],
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const change = (id: string, after: T | undefined): void => {
    const before = kept.get(id);
    if (after === undefined) kept.delete(id);
    else kept.set(id, after);
    for (const listener of listeners) listener({ before, after });
  };
  return {
    records,
    put: (record: T) => change(record.id, record),
    drop: (id: string) => change(id, undefined),
    listeners,
  };
}

function open(limits = { events: 1000, bytes: 1_000_000 }) {
  const sandboxes = fakeRecords<SandboxRecord>();
  const containers = fakeRecords<ContainerRecord>();
  let encoded = 0;
  const hub = createEventHub({
    sandboxes: sandboxes.records,
    containers: containers.records,
    encode: (event: LifecycleEvent) => {
      encoded += 1;
      const { id, type, at, sandbox: of, containers: all } = event;
      return Buffer.from(
        JSON.stringify({
          id,
          type,
          at,
          phase: of?.phase,
          containers: all.map((one) => `${one.id} ${one.phase}`),
        }),
      );
    },
    log: createLogger({ level: 'silent' }),
    limits,
  });
  return { hub, sandboxes, containers, encoded: () => encoded };
}

type ReceivedEvent = Readonly<{
  id: string;
  type: ContainerEventType;
  at: string;
  phase?: string;
  containers: string[];
}>;

/** Reads until the stream ends. */
function collect(
  hub: EventHub,
  signal: AbortSignal,
): { readonly reported: ReceivedEvent[]; readonly end: Promise<string> } {
  const reported: ReceivedEvent[] = [];
  const stream = hub.subscribe(signal);
  const reading = (async () => {
    for await (const event of stream)
      reported.push(JSON.parse(Buffer.from(event).toString()) as ReceivedEvent);
  })();
  return { reported, end: codeOf(reading) };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('every client receives all events of a pod, in order, each with the state of the pod at that time', async () => {
  const { hub, sandboxes, containers } = open();
  const abort = new AbortController();
  const clients = [collect(hub, abort.signal), collect(hub, abort.signal)];
  sandboxes.put(sandbox('creating'));
  sandboxes.put(sandbox('ready'));
  containers.put(container('creating'));
  containers.put(container('created'));
  containers.put(container('running', '5'));
  containers.put(container('exited', '5'));
  containers.put(container('removing', '5'));
  containers.drop('c1');
  sandboxes.put(sandbox('stopped'));
  sandboxes.drop('s1');
  await settled();
  for (const { reported } of clients) {
    assert.deepEqual(
      reported.map(({ id, type, phase, containers: all }) => [id, short.get(type), phase, ...all]),
      [
        ['s1', 'created', 'ready'],
        ['s1', 'started', 'ready'],
        ['c1', 'created', 'ready', 'c1 created'],
        ['c1', 'started', 'ready', 'c1 running'],
        ['c1', 'stopped', 'ready', 'c1 exited'],
        ['c1', 'deleted', 'ready'],
        ['s1', 'stopped', 'stopped'],
        ['s1', 'deleted', 'stopped'],
      ],
    );
    const times = reported.map(({ at }) => BigInt(at));
    assert.ok(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0n)));
  }
  abort.abort(new Error('gone'));
  assert.match((await clients[0]?.end) ?? '', /gone/);
  assert.equal(hub.counts().clients, 0);
});

test('without clients, no event is encoded; a client gets only events after its connection', async () => {
  const { hub, sandboxes, encoded } = open();
  sandboxes.put(sandbox('ready'));
  assert.equal(encoded(), 0);
  const abort = new AbortController();
  const { reported } = collect(hub, abort.signal);
  sandboxes.put(sandbox('stopped'));
  await settled();
  assert.deepEqual(
    reported.map(({ type }) => short.get(type)),
    ['stopped'],
  );
  abort.abort();
});

test('a client that does not read does not affect others, and gets the number of events that it missed', async () => {
  const { hub, sandboxes } = open({ events: 100, bytes: 1_000_000 });
  const abort = new AbortController();
  const fast = collect(hub, abort.signal);
  const slow = hub.subscribe(abort.signal);
  for (let pod = 0; pod < 5000; pod += 1) {
    sandboxes.put(sandbox('ready', `p${pod}`));
    sandboxes.drop(`p${pod}`);
    if (pod % 10 === 0) await settled();
    assert.ok(hub.counts().waiting <= 200);
  }
  await settled();
  assert.equal(fast.reported.length, 15_000);
  assert.equal(hub.counts().lost, 15_000);
  await assert.rejects(slow[Symbol.asyncIterator]().next(), /missed 15000 events.*\[RUNTIME_EVENTS_LOST\]/);
  assert.equal(hub.counts().clients, 1);
  abort.abort();
});

test('the close of the hub ends every stream and stops watching the records', async () => {
  const { hub, sandboxes, containers } = open();
  const client = collect(hub, new AbortController().signal);
  hub.close();
  assert.equal(await client.end, 'RUNTIME_EVENTS_CLOSED');
  assert.deepEqual([sandboxes.listeners.size, containers.listeners.size, hub.counts().clients], [0, 0, 0]);
});

test('the number of clients is limited', () => {
  const { hub } = open();
  const abort = new AbortController();
  for (let count = 0; count < 64; count += 1) hub.subscribe(abort.signal);
  assert.throws(() => hub.subscribe(abort.signal), /\[RUNTIME_TOO_MANY_WATCHERS\]/);
  abort.abort();
  hub.subscribe(new AbortController().signal);
});

test('an event that cannot be encoded ends the streams, but does not fail the change that it reports', async () => {
  const sandboxes = fakeRecords<SandboxRecord>();
  const hub = createEventHub({
    sandboxes: sandboxes.records,
    containers: fakeRecords<ContainerRecord>().records,
    encode: () => {
      throw new Error('a bad field');
    },
    log: createLogger({ level: 'silent' }),
  });
  const client = collect(hub, new AbortController().signal);
  sandboxes.put(sandbox('ready'));
  assert.equal(await client.end, 'RUNTIME_EVENTS_LOST');
});
