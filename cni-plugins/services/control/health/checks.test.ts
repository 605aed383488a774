import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Service } from '../../model/model.ts';
import { createHealthChecks, healthIdOf } from './checks.ts';
import type { HealthChecks } from './checks.ts';
import { notRun } from './probe.ts';

const port = { name: 'main', protocol: 'tcp', port: 80, targetPort: 8080 } as const;
const web = (backends: Service['backends'], more: Partial<Service> = {}): Service => ({
  name: 'web',
  addresses: ['10.96.0.1'],
  externalAddresses: [],
  ports: [port],
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  drainGraceSeconds: 30,
  healthCheck: { kind: 'tcp', intervalSeconds: 0.002, timeoutSeconds: 1, failures: 3, successes: 2 },
  backends,
  ...more,
});
const one = { address: '10.0.0.2' };
const two = { address: '10.0.0.3', ports: { main: 9090 } };
const [idOfOne, idOfTwo] = [healthIdOf(one, port), healthIdOf(two, port)];

/**
 * Checks with outcomes that the test sets, by backend. `next` waits until that many further checks of a
 * backend have run.
 */
function scripted(context: TestContext): {
  readonly checks: HealthChecks;
  readonly said: Map<string, boolean>;
  readonly judged: string[];
  next(id: string, more: number): Promise<void>;
} {
  const said = new Map<string, boolean>();
  const judged: string[] = [];
  const taken = new Map<string, number>();
  const unhealthy = new Set<string>();
  const checks = createHealthChecks({
    random: () => 0,
    isWell: (_, id) => !unhealthy.has(id),
    onJudged(name, id, isWell) {
      judged.push(`${name} ${id} ${isWell ? 'well' : 'unhealthy'} after ${taken.get(id)}`);
      if (isWell) unhealthy.delete(id);
      else unhealthy.add(id);
    },
    async probe(_, { address, port: at }) {
      const id = `${address} ${at}`;
      taken.set(id, (taken.get(id) ?? 0) + 1);
      return said.get(id) === false ? 'nobody there' : undefined;
    },
  });
  context.after(() => checks.close());
  return {
    checks,
    said,
    judged,
    async next(id, more) {
      for (const end = (taken.get(id) ?? 0) + more; (taken.get(id) ?? 0) < end;)
        await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('a backend is unhealthy after the configured consecutive failures, and healthy again after the configured successes', async (context) => {
  const { checks, said, judged, next } = scripted(context);
  checks.follow(web([one, two]));
  await next(idOfOne, 1);
  assert.ok(checks.isChecked('web', idOfOne));
  said.set(idOfTwo, false);
  await next(idOfTwo, 6);
  assert.match(judged.join(), /^web 10\.0\.0\.3 9090 unhealthy after \d+$/u);
  assert.equal(checks.why('web', idOfTwo), 'nobody there');
  said.set(idOfTwo, true);
  await next(idOfTwo, 5);
  assert.match(judged.slice(1).join(), /^web 10\.0\.0\.3 9090 well after \d+$/u);
  assert.equal(checks.why('web', idOfTwo), undefined);
  const [unhealthyAt = 0, wellAt = 0] = judged.map((line) => Number(line.split(' ').at(-1)));
  assert.ok(unhealthyAt >= 3 && wellAt >= unhealthyAt + 2, judged.join());
});

test('failures that are not consecutive do not add up', async (context) => {
  const judged: string[] = [];
  let probes = 0;
  // Two failures, then a success, forever.
  const checks = createHealthChecks({
    random: () => 0,
    isWell: () => true,
    onJudged: (_, id) => void judged.push(id),
    async probe() {
      probes += 1;
      return probes % 3 === 0 ? undefined : 'nobody there';
    },
  });
  context.after(() => checks.close());
  checks.follow(web([one]));
  while (probes < 30) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(judged, []);
});

test('a check that could not run is not a failure, and ends no series of failures', async (context) => {
  const judged: string[] = [];
  const failed = 'nobody there';
  const results: readonly (string | typeof notRun | undefined)[] = [
    notRun,
    notRun,
    notRun,
    failed,
    notRun,
    failed,
    notRun,
    undefined,
  ];
  let probes = 0;
  const checks = createHealthChecks({
    random: () => 0,
    isWell: () => true,
    onJudged: () => void judged.push(`after ${probes}`),
    async probe(): Promise<string | typeof notRun | undefined> {
      probes += 1;
      return results[(probes - 1) % results.length];
    },
  });
  context.after(() => checks.close());
  const check = {
    kind: 'tcp',
    intervalSeconds: 0.002,
    timeoutSeconds: 1,
    failures: 2,
    successes: 2,
  } as const;
  checks.follow(web([one], { healthCheck: check }));
  while (probes < 8) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(judged, ['after 6']);
});

test('a removed backend is no longer checked; a backend that stays keeps its results; without a health check, no backend is checked', async (context) => {
  const { checks, said, judged, next } = scripted(context);
  said.set(idOfOne, false);
  said.set(idOfTwo, false);
  checks.follow(web([one, two]));
  await next(idOfOne, 1);
  checks.follow(web([one, { ...two, draining: true }]));
  await next(idOfOne, 4);
  assert.deepEqual(
    judged.map((line) => line.split(' ')[1]),
    ['10.0.0.2'],
  );
  assert.equal(checks.isChecked('web', idOfTwo), false, 'a draining backend is not checked');
  const { healthCheck: _, ...without } = web([one]);
  checks.follow(without);
  assert.equal(checks.isChecked('web', idOfOne), false);
});

test('no more than 128 checks run at once', async (context) => {
  let [underWay, most, ended] = [0, 0, 0];
  const checks = createHealthChecks({
    random: () => 0,
    isWell: () => true,
    onJudged: () => undefined,
    async probe() {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay -= 1;
      ended += 1;
      return undefined;
    },
  });
  context.after(() => checks.close());
  checks.follow(
    web(Array.from({ length: 600 }, (_, index) => ({ address: `10.1.${index >> 8}.${index & 255}` }))),
  );
  while (ended < 600) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(most, 128);
});
