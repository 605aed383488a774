import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { RecordChange } from '../state/records.ts';
import type { OutOfPolicy } from './container-decisions.ts';
import { createRedecision } from './redecision.ts';

const container = (id: string, phase: ContainerRecord['phase'] = 'running'): ContainerRecord =>
  ({
    id,
    phase,
    sandboxId: 'pod',
    imageId: `image-${id}`,
    verdictId: 'v',
    config: { mounts: [] },
  }) as unknown as ContainerRecord;

function verdictOf(outcome: Verdict['outcome'], validUntil?: string): Verdict {
  const reasons = {
    counted: outcome === 'admit',
    text: `it is ${outcome}`,
    children: [
      {
        counted: outcome === 'admit',
        text: 'rule p.yaml:4 (x) is not satisfied',
        code: 'TRUST_RULE_UNSATISFIED',
      },
    ],
  };
  return {
    outcome,
    id: `id-${outcome}`,
    reference: 'r',
    reasons,
    policyRevision: 'p',
    ...(validUntil !== undefined && { validUntil }),
  } as unknown as Verdict;
}

/** Creates the environment in memory: the decisions come from `answer`. */
function world(
  answer: (imageId: string) => Verdict | undefined,
  act: 'report' | 'stop' = 'report',
  now = () => new Date(),
) {
  const records = new Map<string, ContainerRecord>();
  const reported: [string, OutOfPolicy | undefined][] = [];
  const stopped: string[] = [];
  let changed: () => void = () => undefined;
  let put: (change: RecordChange<ContainerRecord>) => void = () => undefined;
  let policy: TrustPolicy | undefined = {} as TrustPolicy;
  const decided: string[] = [];
  const redecision = createRedecision({
    policy: { current: () => policy, onChange: (listener) => ((changed = listener), () => undefined) },
    images: {
      list: () => [],
      find: () => undefined,
      judge: ({ imageId }) => {
        decided.push(imageId);
        const verdict = answer(imageId);
        return Promise.resolve(verdict === undefined ? [] : [verdict]);
      },
    },
    containers: {
      get: (id) => records.get(id),
      list: () => [...records.values()],
      onChange: (listener) => ((put = listener), () => undefined),
    },
    sandbox: () => ({ config: { metadata: { namespace: 'shop' } } }) as unknown as SandboxRecord,
    ...{ act, now },
    stop: (id) => Promise.resolve(void stopped.push(id)),
    onChange: ({ id }, found) => reported.push([id, found]),
    log: createLogger({ level: 'silent' }),
  });
  const set = (record: ContainerRecord): void => {
    const before = records.get(record.id);
    records.set(record.id, record);
    put({ before, after: record });
  };
  return {
    redecision,
    records,
    reported,
    stopped,
    decided,
    set,
    change: () => changed(),
    setPolicy: (next: TrustPolicy | undefined) => (policy = next),
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; waited < 60_000 && !condition(); waited += 5) await pause(5);
  assert.ok(condition());
}

test('each container out of policy is reported once, with its rule, and again when it is in policy', async (t) => {
  let outcome: Verdict['outcome'] = 'deny';
  const all = world(() => verdictOf(outcome));
  t.after(() => all.redecision.close());
  for (const id of ['a', 'b']) all.records.set(id, container(id));
  all.records.set('gone', container('gone', 'exited'));
  all.redecision.request();
  await until(() => all.reported.length === 2);
  assert.deepEqual(all.redecision.counts(), [{ namespace: 'shop', rule: 'p.yaml:4', count: 2 }]);
  all.change();
  await until(() => all.decided.length === 4);
  assert.equal(all.reported.length, 2, 'an unchanged verdict is not reported');
  outcome = 'admit';
  all.change();
  await until(() => all.reported.length === 4);
  assert.deepEqual(all.redecision.counts(), []);
  assert.equal(all.redecision.of('a'), undefined);
});

test('a container whose image has no record is out of policy, but is not stopped', async (t) => {
  let known = false;
  const all = world(() => (known ? verdictOf('admit') : undefined), 'stop');
  t.after(() => all.redecision.close());
  all.records.set('a', container('a'));
  all.redecision.request();
  await until(() => all.reported.length === 1);
  const found = all.redecision.of('a');
  assert.equal(found?.outcome, 'undecided');
  assert.match(found?.reasons.join() ?? '', /image-a: neither the image nor a verdict on it is recorded/);
  assert.deepEqual(all.stopped, []);
  known = true;
  all.change();
  await until(() => all.reported.length === 2);
  assert.equal(all.redecision.of('a'), undefined);
});

test('a decision is repeated when its verdict has expired, without any other cause', async (t) => {
  let first = true;
  const all = world(() => {
    const verdict = first ? verdictOf('admit', new Date(Date.now() + 80).toISOString()) : verdictOf('deny');
    first = false;
    return verdict;
  });
  t.after(() => all.redecision.close());
  all.records.set('a', container('a'));
  all.redecision.request();
  await until(() => all.reported.length === 1);
  assert.equal(all.decided.length, 2);
});

test('a container is decided about again when the clock was set back, and not while the clock runs', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let aheadMs = 365 * 86_400_000;
  const all = world(
    () => verdictOf(aheadMs > 0 ? 'deny' : 'admit'),
    'report',
    () => new Date(Date.now() + aheadMs),
  );
  t.after(() => all.redecision.close());
  all.records.set('a', container('a'));
  all.redecision.request();
  await until(() => all.reported.length === 1);
  t.mock.timers.tick(60_000);
  await until(() => all.redecision.isDecided());
  assert.equal(all.decided.length, 1);
  aheadMs = 0;
  t.mock.timers.tick(60_000);
  await until(() => all.reported.length === 2);
  assert.equal(all.redecision.of('a'), undefined);
});

test('with `stop`, denied containers are stopped, and undecided containers are not', async (t) => {
  const all = world((imageId) => verdictOf(imageId === 'image-a' ? 'deny' : 'undecided'), 'stop');
  t.after(() => all.redecision.close());
  for (const id of ['a', 'b']) all.records.set(id, container(id));
  all.redecision.request();
  await until(() => all.reported.length === 2);
  assert.deepEqual(all.stopped, ['a']);
  assert.equal(all.redecision.of('b')?.outcome, 'undecided');
});

test('a container that was created while the policy changed is checked, and a container that ended is forgotten', async (t) => {
  const all = world(() => verdictOf('deny'));
  t.after(() => all.redecision.close());
  all.set(container('a', 'creating'));
  assert.equal(all.decided.length, 0);
  all.set(container('a', 'created'));
  await until(() => all.reported.length === 1);
  all.set(container('a', 'exited'));
  assert.equal(all.redecision.of('a'), undefined);
});

test('without a policy, no decision is made, and with many containers, other work is not blocked', async (t) => {
  const all = world(() => verdictOf('admit'));
  t.after(() => all.redecision.close());
  for (let index = 0; index < 30; index += 1) all.records.set(String(index), container(String(index)));
  all.setPolicy(undefined);
  all.redecision.request();
  await pause(20);
  assert.equal(all.decided.length, 0);
  all.setPolicy({} as TrustPolicy);
  all.change();
  let turns = 0;
  let ticking = setImmediate(function tick() {
    turns += 1;
    ticking = setImmediate(tick);
  });
  await until(() => all.decided.length === 30);
  clearImmediate(ticking);
  assert.ok(turns > 10);
});
