import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { Verdict } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { createRedecision } from '../redecision/redecision.ts';
import { eventually } from '../../test/webhook/test-cluster.ts';
import { openClusterReport, usualReportTiming } from './cluster-report.ts';

/** An API server that accepts everything, and records the reasons of the events that it gets. */
async function serve(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-report-'));
  const reasons: string[] = [];
  const server = createHttpServer((request, response) => {
    void text(request).then((body) => {
      if (request.method === 'POST') reasons.push((JSON.parse(body) as { reason: string }).reason);
      response.writeHead(request.url?.includes('watch') === true ? 503 : 200).end('{"items":[]}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const kubeconfig = join(folder, 'kubeconfig');
  const named = { clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }] };
  const context = {
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
    users: [{ name: 'c', user: {} }],
  };
  writeFileSync(kubeconfig, JSON.stringify({ ...named, ...context, 'current-context': 'c' }));
  t.after(() => {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true });
  });
  return { reasons, kubeconfig };
}

/** The decisions of a restarted daemon about one container. */
function decisions(log: ReturnType<typeof createLogger>) {
  const config = { mounts: [], metadata: { name: 'main' } };
  const container = { id: 'c', phase: 'running', sandboxId: 'pod', imageId: 'i', verdictId: 'v', config };
  const metadata = { name: 'web', namespace: 'shop', uid: 'uid-web' };
  const records = [container as unknown as ContainerRecord];
  const sandbox = { id: 'pod', config: { metadata } } as unknown as SandboxRecord;
  const current = { outcome: 'deny' as Verdict['outcome'] };
  const redecision = createRedecision({
    policy: { current: () => ({}) as never, onChange: () => () => undefined },
    images: {
      list: () => [],
      find: () => undefined,
      judge: () =>
        Promise.resolve([
          { ...current, id: current.outcome, reference: 'r', reasons: { text: '' } } as never,
        ]),
    },
    containers: { get: () => records[0], list: () => records, onChange: () => () => undefined },
    sandbox: () => sandbox,
    act: 'report',
    stop: () => Promise.resolve(),
    onChange: () => undefined,
    log,
  });
  const sandboxes = { get: () => sandbox, list: () => [sandbox] };
  return { redecision, containers: { list: () => records }, sandboxes, current };
}

test('a pod that is in policy again before the first look gets an event, though the daemon was restarted', async (t) => {
  const { reasons, kubeconfig } = await serve(t);
  const log = createLogger({ level: 'silent' });
  const { redecision, current, ...records } = decisions(log);
  const report = openClusterReport({
    ...{ place: { kubeconfig }, nodeName: 'node-1', source: 'objects of the cluster' },
    ...{ policy: { current: () => undefined, problem: () => undefined }, redecision, ...records },
    ...{ handlers: new Set<string>(), defaultHandler: '', log },
    timing: { ...usualReportTiming, lookMs: 3_600_000 },
  });
  t.after(async () => Promise.all([report.close(), redecision.close()]));
  for (const [outcome, count] of [
    ['deny', 1],
    ['admit', 2],
  ] as const) {
    current.outcome = outcome;
    redecision.request();
    await eventually(30_000, async () => {
      await Promise.resolve();
      assert.equal(reasons.length, count, String(reasons));
    });
  }
  assert.deepEqual(reasons, ['ImageOutOfPolicy', 'ImageInPolicy']);
});
