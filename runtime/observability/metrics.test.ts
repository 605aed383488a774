import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { StartedCall } from '../cri/observe.ts';
import type { ImageStore } from '../images/types.ts';
import { metricCatalogue } from './catalogue.ts';
import { countContainers, countPods } from './facts.ts';
import type { DaemonFacts } from './facts.ts';
import { createHealth } from './health.ts';
import { listenHttp } from './http.ts';
import { openMetrics } from './metrics.ts';
import { watchContainers, watchImages } from './watch-runtime.ts';

let revision: string | undefined = 'sha256:aa';
const facts: DaemonFacts = {
  version: '1.2.3',
  pods: () => ({ ready: 2, notready: 1 }),
  containers: () => ({ created: 0, running: 3, exited: 4 }),
  images: () => ({ true: 5, false: 1 }),
  imageBytes: () => Promise.resolve(1000),
  pulls: () =>
    Promise.resolve([
      { bytes: 100, bytesReceived: 30 },
      { bytes: 50, bytesReceived: 50 },
    ]),
  namespacePool: () => 3,
  namespacePoolTarget: 4,
  networkFigures: () =>
    Promise.resolve({
      attachments: [{ network: 'pods', state: 'ready', count: 2 }],
      leases: [{ network: 'pods', used: 2, size: 253 }],
      repairs: 1,
      linksLost: 2,
      linksAltered: 3,
      policies: { policies: 4, problems: ['a.yaml:1:1: the file is empty'] },
    }),
  nameFigures: () =>
    Promise.resolve({
      queries: { answered: 8, denied: 1, forwarded: 2, failed: 1, refused: 0, malformed: 0, ignored: 0 },
      forwards: { answered: 2, failed: 1, limited: 0 },
      forwardSeconds: { answered: 0.25, failed: 3, limited: 0 },
      listeners: 2,
      closedListeners: 0,
    }),
  serviceFigures: () =>
    Promise.resolve({
      balancer: 'nftables',
      services: { files: 2 },
      refused: 1,
      virtualServers: 3,
      repairs: 4,
      denied: [{ service: 'web', packets: 5 }],
      backends: [
        {
          service: 'web',
          portName: 'tcp-80',
          backend: '10.0.0.2:80',
          weight: 1,
          isWell: false,
          active: 7,
          connections: 9,
        },
      ],
    }),
  networkDenials: () =>
    Promise.resolve([{ direction: 'egress', rule: 'network.egress', packets: 3, bytes: 180 }]),
  networkReady: () => Promise.reject(new Error('no answer')),
  degradedContainers: () => 1,
  unmonitoredContainers: () => 2,
  verifications: () => 5,
  enforcement: () => ({
    result: 'fail',
    since: '2026-01-01T00:00:00.000Z',
    triedAt: '2026-01-01T00:00:00.000Z',
    findings: [{ code: 'REPORT_MODE', effect: 'fail', on: 'rule p.yaml:3', text: '', fix: '' }],
  }),
  outOfPolicy: () => ({ containers: [{ namespace: 'pay', rule: 'policy.yaml:3', count: 2 }], images: 1 }),
  policy: () => ({
    revision,
    failed: false,
    rules: { true: 7, false: 0 },
    exceptions: { 'break-glass': 1, report: 0, logs: 0 },
    loads: { loaded: 2, failed: 1 },
  }),
  renewals: () => ({
    evidence: { renewed: 6, failed: 2, ended: 1 },
    roots: { updated: 1, unchanged: 3, failed: 0, failing: 0 },
  }),
  events: () => ({ clients: 1, waiting: 2, sent: 30, lost: 4 }),
  auditFailures: () => 9,
};
const call = (rpc: string): StartedCall => ({
  rpc,
  service: 's',
  readsOnly: false,
  requestId: 'r',
  peer: undefined,
  header: () => undefined,
});

async function samplesOf(metrics: ReturnType<typeof openMetrics>): Promise<Map<string, number>> {
  const lines = (await metrics.render()).text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}

test('every metric of the catalogue is reported with its type and help, and no other', async () => {
  const metrics = openMetrics(facts);
  const { text: reported } = await metrics.render();
  for (const { name, type, help } of Object.values(metricCatalogue)) {
    assert.ok(reported.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
    assert.match(name, /^portcullis_[a-z_]+$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
  }
  assert.equal(reported.match(/^# TYPE /gm)?.length, Object.keys(metricCatalogue).length);
  metrics.close();
});

test('docs/observability.md lists each metric with its type, labels and meaning', () => {
  const rows = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `portcullis_'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  assert.deepEqual(
    rows.map(([, name, type, labels, help]) => [name, type, labels, help]),
    Object.values(metricCatalogue).map(({ name, type, labels, help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(', '),
      help,
    ]),
  );
});

test('calls are counted by method and status', async () => {
  const metrics = openMetrics(facts);
  const [first, second] = [metrics.calls.begin(call('PullImage')), metrics.calls.begin(call('PullImage'))];
  assert.equal((await samplesOf(metrics)).get('portcullis_rpcs_in_flight{method="PullImage"}'), 2);
  first.end({ code: 0, milliseconds: 20 });
  second.end({ code: 7, milliseconds: 3 });
  const reported = await samplesOf(metrics);
  assert.equal(reported.get('portcullis_rpcs_in_flight{method="PullImage"}'), 0);
  assert.equal(reported.get('portcullis_rpc_duration_seconds_sum{method="PullImage",code="OK"}'), 0.02);
  assert.equal(
    reported.get(
      'portcullis_rpc_duration_seconds_bucket{le="0.01",method="PullImage",code="PERMISSION_DENIED"}',
    ),
    1,
  );
  metrics.close();
});

test('a scrape reports current values: two scrapes are equal, and no earlier revision is reported', async () => {
  const metrics = openMetrics(facts);
  await metrics.render();
  const reported = await samplesOf(metrics);
  assert.equal(reported.get('portcullis_events_lost_total'), 4);
  assert.equal(reported.get('portcullis_audit_failures_total'), 9);
  assert.equal(reported.get('portcullis_pods{state="ready"}'), 2);
  assert.equal(reported.get('portcullis_network_ready'), 0);
  assert.equal(reported.get('portcullis_network_links_lost'), 2);
  assert.equal(reported.get('portcullis_network_links_altered'), 3);
  assert.equal(reported.get('portcullis_policy_info{revision="sha256:aa"}'), 1);
  revision = 'sha256:bb';
  const later = await samplesOf(metrics);
  assert.deepEqual(
    [...later.keys()].filter((key) => key.startsWith('portcullis_policy_info')),
    ['portcullis_policy_info{revision="sha256:bb"}'],
  );
  metrics.close();
});

test('containers are counted as their records change', async () => {
  const metrics = openMetrics(facts);
  let report: (before: object | undefined, after: object | undefined) => void = () => undefined;
  watchContainers(
    {
      onChange: (listener) => (
        (report = (before, after) => listener({ before, after } as never)),
        () => undefined
      ),
    },
    metrics.runtime,
  );
  const starting = { phase: 'starting', startedAt: '0' };
  const running = { phase: 'running', startedAt: '1' };
  report(undefined, starting);
  report(starting, running);
  report(running, running);
  report(running, { ...running, phase: 'exited', reason: 'OOMKilled' });
  report(starting, { ...starting, phase: 'exited', reason: 'StartError' });
  report(running, { ...running, phase: 'exited', reason: 'a reason of a later version' });
  report({ ...running, phase: 'exited' }, undefined);
  const reported = await samplesOf(metrics);
  assert.deepEqual(
    [
      'container_starts_total{outcome="ok"}',
      'container_starts_total{outcome="failed"}',
      'container_ooms_total',
    ].map((name) => reported.get(`portcullis_${name}`)),
    [1, 1, 1],
  );
  assert.equal(reported.get('portcullis_container_exits_total{reason="other"}'), 1);
  metrics.close();
});

test('pulls and verdicts are counted by outcome', async () => {
  const metrics = openMetrics(facts);
  const failure = (code: string, kind: 'denied' | 'undecided' | 'cancelled' | 'internal') =>
    new PortcullisError({ code, kind, attempted: 'a', on: 'b', why: 'c', fix: 'd' });
  const answers: (Error | undefined)[] = [
    undefined,
    failure('IMAGES_DENIED', 'denied'),
    failure('IMAGES_UNDECIDED', 'undecided'),
    failure('IMAGES_CANCELLED', 'cancelled'),
    failure('IMAGES_PULL_FAILED', 'internal'),
  ];
  const answer = (): Promise<never> => {
    const next = answers.shift();
    return next === undefined ? Promise.resolve({} as never) : Promise.reject(next);
  };
  const images = watchImages(
    { pull: answer, decideForRun: answer } as unknown as ImageStore,
    metrics.runtime,
  );
  for (const _ of [...answers]) await images.pull({ reference: 'a', namespace: '' }).catch(() => undefined);
  answers.push(undefined, failure('IMAGES_DENIED', 'denied'), failure('IMAGES_NOT_FOUND', 'denied'));
  for (const _ of [...answers])
    await images.decideForRun({} as never).catch((thrown: unknown) => assert.ok(isPortcullisError(thrown)));
  const reported = await samplesOf(metrics);
  for (const outcome of ['admitted', 'denied', 'undecided', 'cancelled', 'failed'])
    assert.equal(reported.get(`portcullis_image_pulls_total{outcome="${outcome}"}`), 1, outcome);
  const verdicts = (outcome: string, act: string) =>
    reported.get(`portcullis_verdicts_total{outcome="${outcome}",act="${act}"}`);
  assert.deepEqual(
    [
      verdicts('admit', 'pull'),
      verdicts('deny', 'pull'),
      verdicts('undecided', 'pull'),
      verdicts('admit', 'run'),
      verdicts('deny', 'run'),
    ],
    [1, 1, 1, 1, 1],
  );
  metrics.close();
});

test('pods and containers are counted as lists show them', () => {
  const phases = (...all: string[]) => all.map((phase) => ({ phase }) as never);
  assert.deepEqual(countPods(phases('creating', 'ready', 'stopping', 'stopped')), { ready: 1, notready: 2 });
  assert.deepEqual(
    countContainers(
      phases('creating', 'created', 'starting', 'running', 'exited', 'removing') as ContainerRecord[],
    ),
    {
      created: 2,
      running: 1,
      exited: 1,
    },
  );
});

test('health lists each check by name, a failure and a timeout are unhealthy, and checks run at most once a second', async () => {
  let runs = 0;
  const health = createHealth([
    { name: 'good', check: () => Promise.resolve((runs += 1)) },
    { name: 'bad', check: () => Promise.reject(new Error('disk full')) },
    { name: 'silent', check: () => new Promise(() => undefined) },
  ]);
  const [first] = await Promise.all([health(), health()]);
  assert.deepEqual(first, {
    healthy: false,
    checks: { good: 'ok', bad: 'disk full', silent: 'it did not answer within 2000 ms' },
  });
  assert.equal(runs, 1);
  assert.deepEqual(await createHealth([{ name: 'good', check: () => Promise.resolve() }])(), {
    healthy: true,
    checks: { good: 'ok' },
  });
});

test('the listener answers GET and HEAD at two paths, and continues after data that is not HTTP', async () => {
  const render = (): Promise<{ contentType: string; text: string }> =>
    Promise.resolve({ contentType: 'text/plain', text: 'metric 1\n' });
  let healthy = true;
  const listener = await listenHttp('127.0.0.1:0', {
    metrics: { render },
    health: () => Promise.resolve({ healthy, checks: {} }),
  });
  const url = (path: string): string => `http://127.0.0.1:${listener.port}${path}`;
  assert.equal(await (await fetch(url('/metrics?x=1'))).text(), 'metric 1\n');
  assert.equal((await fetch(url('/metrics'), { method: 'HEAD' })).status, 200);
  assert.equal((await fetch(url('/healthz'))).status, 200);
  healthy = false;
  assert.equal((await fetch(url('/healthz'))).status, 503);
  assert.equal((await fetch(url('/'))).status, 404);
  assert.equal((await fetch(url('/metrics'), { method: 'DELETE' })).status, 405);
  const raw = connect(listener.port, '127.0.0.1');
  raw.end('nonsense\r\n\r\n');
  assert.match(await text(raw), /400/);
  await assert.rejects(
    listenHttp(`127.0.0.1:${listener.port}`, {
      metrics: { render },
      health: () => Promise.reject(new Error('x')),
    }),
    /\[RUNTIME_METRICS_LISTEN\]/,
  );
  await listener.close();
  await assert.rejects(fetch(url('/metrics')));
});
