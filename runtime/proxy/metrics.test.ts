import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createBackendProbe } from './backend-probe.ts';
import { proxyCatalogue } from './catalogue.ts';
import { openProxyMetrics } from './metrics.ts';
import type { ProxyFacts } from './metrics.ts';

const facts: ProxyFacts = {
  version: '1.2.3',
  policy: () => ({ revision: 'sha256:1', failed: false, loads: { loaded: 2, failed: 1 } }),
  images: () => 3,
  containers: () => 4,
  backendConnections: () => 5,
  backendAnswers: () => Promise.resolve(false),
};

async function linesOf(metrics: ReturnType<typeof openProxyMetrics>): Promise<string[]> {
  return (await metrics.render()).text.split('\n');
}

test('every metric of the proxy is reported, and docs/proxy.md lists it', async () => {
  const reported = (await linesOf(openProxyMetrics(facts))).join('\n');
  const all = Object.values(proxyCatalogue);
  for (const { name, type, help } of all)
    assert.ok(reported.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
  assert.equal(reported.match(/^# TYPE /gmu)?.length, all.length);
  const rows = readFileSync(new URL('../../docs/proxy.md', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `portcullis_'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  assert.deepEqual(
    rows.map(([, name, type, labels, help]) => [name, type, labels, help]),
    all.map(({ name, type, labels, help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(', '),
      help,
    ]),
  );
});

test('a backend that does not answer is reported as down, and a scrape does not increase totals', async () => {
  const metrics = openProxyMetrics(facts);
  for (let scrape = 0; scrape < 2; scrape += 1) {
    const lines = await linesOf(metrics);
    for (const line of [
      'portcullis_proxy_backend_up 0',
      'portcullis_policy_loads_total{outcome="loaded"} 2',
      'portcullis_proxy_images 3',
      'portcullis_proxy_containers 4',
      'portcullis_proxy_backend_connections 5',
    ])
      assert.ok(lines.includes(line), line);
  }
});

test('methods that the CRI does not have share one label', async () => {
  const metrics = openProxyMetrics(facts);
  metrics.begins('PullImage')(0);
  for (const name of ['Made', 'Up', 'constructor']) metrics.begins(name)(12);
  const lines = await linesOf(metrics);
  const counts = lines.filter((line) => line.startsWith('portcullis_rpc_duration_seconds_count'));
  assert.deepEqual(counts, [
    'portcullis_rpc_duration_seconds_count{method="PullImage",code="OK"} 1',
    'portcullis_rpc_duration_seconds_count{method="other",code="UNIMPLEMENTED"} 3',
  ]);
});

test('the probe of a backend that accepts a connection and never answers ends, and leaves no connection', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-probe-'));
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer((socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'backend.sock');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const probe = createBackendProbe(path);
  const answers = [probe.answers(), probe.answers()];
  assert.equal(probe.connections(), 1);
  assert.deepEqual(await Promise.all(answers), [false, false]);
  assert.equal(probe.connections(), 0);
  assert.equal(accepted, 1, 'concurrent callers share one probe');
  const missing = createBackendProbe(join(folder, 'none.sock'));
  assert.equal(await missing.answers(), false);
  while (sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
});
