import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Server } from 'node:http';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { createHttpServer } from '../../base/connections/index.ts';
import { exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** A span in the JSON of OTLP/HTTP (opentelemetry-proto, trace.proto). */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly status?: { readonly code?: number; readonly message?: string };
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}

/** The requests that an OpenTelemetry collector receives. */
async function startCollector() {
  const spans: Span[] = [];
  const services = new Set<unknown>();
  const server: Server = createHttpServer((request, response) => {
    void json(request).then((body) => {
      const { resourceSpans } = body as {
        resourceSpans: { resource: { attributes: Span['attributes'] }; scopeSpans: { spans: Span[] }[] }[];
      };
      for (const { resource, scopeSpans } of resourceSpans) {
        services.add(resource.attributes.find(({ key }) => key === 'service.name')?.value['stringValue']);
        spans.push(...scopeSpans.flatMap((scope) => scope.spans));
      }
      response
        .writeHead(request.url === '/v1/traces' ? 200 : 404, { 'content-type': 'application/json' })
        .end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    spans,
    services,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => server.close().closeAllConnections(),
  };
}

interface AuditLine {
  readonly request: string;
  readonly method: string;
  readonly phase: string;
  readonly status?: string;
  readonly code?: string;
  readonly verdictId?: string;
  readonly subject: Readonly<Record<string, unknown>>;
  readonly peer: { readonly pid: number; readonly uid: number };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 50) {
    if (holds()) return;
    await pause(50);
  }
  assert.fail(`not met within a minute: ${what}`);
}

describe('metrics, health, logs, audit and traces of the daemon', () => {
  let stage: Stage;
  let image = '';
  let folder = '';
  let collector: Awaited<ReturnType<typeof startCollector>>;
  const address = '127.0.0.1:19464';
  const auditFile = (): string => join(folder, 'audit', 'audit.log');
  const audited = (): AuditLine[] =>
    readFileSync(auditFile(), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AuditLine);
  const configure = (more = ''): void =>
    writeFileSync(
      join(folder, 'config.yaml'),
      `metrics: { address: "${address}" }
tracing: { endpoint: "${collector.url}" }
audit: { path: audit/audit.log${more} }
`,
    );

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-observe-'));
    collector = await startCollector();
    configure();
    stage = await openStage({ flags: ['--config', join(folder, 'config.yaml')] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    try {
      await stage.close();
    } finally {
      collector.close();
      rmSync(folder, { recursive: true });
    }
  });

  /** Returns the samples of /metrics by name and labels. */
  const samples = async (): Promise<Map<string, number>> => {
    const response = await fetch(`http://${address}/metrics`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
    const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [
        line.slice(0, line.lastIndexOf(' ')),
        Number(line.slice(line.lastIndexOf(' ') + 1)),
      ]),
    );
  };

  it('/metrics counts calls, pods, containers, pulls and verdicts, and names neither image nor id', async () => {
    const pod = await runPod(stage, 'counted');
    const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'exit 3'] });
    await exitOf(stage, id);
    const { reference } = await stage.publish('app/unsigned:1', {}, { sign: false });
    await failureOf(stage.pull(reference));
    const reported = await samples();
    const expected: readonly (readonly [string, number])[] = [
      ['portcullis_pods{state="ready"}', 1],
      ['portcullis_containers{state="exited"}', 1],
      ['portcullis_containers{state="running"}', 0],
      ['portcullis_container_starts_total{outcome="ok"}', 1],
      ['portcullis_container_exits_total{reason="Error"}', 1],
      ['portcullis_container_ooms_total', 0],
      ['portcullis_images{verified="true"}', 1],
      ['portcullis_image_pulls_total{outcome="admitted"}', 1],
      ['portcullis_image_pulls_total{outcome="denied"}', 1],
      ['portcullis_verdicts_total{outcome="admit",act="pull"}', 1],
      ['portcullis_verdicts_total{outcome="deny",act="pull"}', 1],
      ['portcullis_verdicts_total{outcome="admit",act="run"}', 1],
      ['portcullis_rpc_duration_seconds_count{method="RunPodSandbox",code="OK"}', 1],
      ['portcullis_rpcs_in_flight{method="RunPodSandbox"}', 0],
      ['portcullis_network_ready', 1],
      ['portcullis_policy_in_force', 1],
      ['portcullis_policy_rules{verified="true"}', 1],
      ['portcullis_namespace_pool_target', 4],
      ['portcullis_audit_failures_total', 0],
    ];
    assert.deepEqual(
      expected.map(([name]) => [name, reported.get(name)]),
      expected,
    );
    assert.ok((reported.get('portcullis_image_fetched_bytes_total') ?? 0) > 100_000);
    assert.ok((reported.get('portcullis_process_resident_memory_bytes') ?? 0) > 10_000_000);
    assert.ok([...reported].every(([, value]) => Number.isFinite(value)));
    const names = [...reported.keys()].join('\n');
    for (const secret of [pod.id, id, image, 'app/a', 'counted']) assert.ok(!names.includes(secret), secret);
    assert.ok(reported.size < 1000);
    await removePod(stage, pod);
    assert.equal((await samples()).get('portcullis_pods{state="ready"}'), 0);
  });

  it('/healthz checks the database and the Workers; a broken policy does not make the daemon unhealthy', async () => {
    const health = async () => {
      const response = await fetch(`http://${address}/healthz`);
      return {
        status: response.status,
        body: (await response.json()) as { healthy: boolean; checks: Record<string, string> },
      };
    };
    assert.deepEqual(await health(), {
      status: 200,
      body: {
        healthy: true,
        checks: {
          files: 'ok',
          database: 'ok',
          reactor: 'ok',
          namespaces: 'ok',
          mounts: 'ok',
          programs: 'ok',
        },
      },
    });
    stage.writePolicy('nonsense: [');
    await stage.daemon.reload();
    assert.equal((await health()).status, 200);
    assert.equal((await samples()).get('portcullis_policy_reload_failed'), 1);
    const { plainPolicy } = await import('../fixtures/stage.ts');
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    assert.equal((await fetch(`http://${address}/other`)).status, 404);
    assert.equal((await fetch(`http://${address}/metrics`, { method: 'POST' })).status, 405);
  });

  it('a request has one id in the log, in its error and in the audit log', async () => {
    const raw = new Client(`unix:${stage.folders.socket}`, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set('x-request-id', 'my-own.request:7');
    const same = (bytes: Buffer): Buffer => bytes;
    await new Promise((resolve) =>
      raw.makeUnaryRequest(
        '/runtime.v1.RuntimeService/StartContainer',
        same,
        same,
        Buffer.from('0a016e', 'hex'),
        metadata,
        resolve,
      ),
    );
    raw.close();
    const failure = await failureOf(stage.daemon.cri.runtime.startContainer({ containerId: 'nothing' }));
    const { requestId } = failure.failure.details as { requestId: string };
    await until('both are in the audit log', () => audited().some(({ request }) => request === requestId));
    const [line] = audited().filter(({ request }) => request === requestId);
    assert.deepEqual(
      [line?.method, line?.status, line?.code, line?.subject, line?.peer],
      [
        'StartContainer',
        'NOT_FOUND',
        'RUNTIME_CONTAINER_NOT_FOUND',
        { containerId: 'nothing' },
        { pid: process.pid, uid: 0, gid: 0 },
      ],
    );
    for (const id of [requestId, 'my-own.request:7']) {
      await stage.daemon.logged(new RegExp(`"request":"${id}"[^\\n]*"rpc":"StartContainer"`));
      assert.ok(audited().some(({ request }) => request === id));
    }
  });

  it('the log line of a pull has the id of the request', async () => {
    const { reference } = await stage.publish('app/logged:1');
    await stage.pull(reference);
    await stage.daemon.logged(/app\/logged:1.*image pulled/);
    const found = stage.daemon
      .log()
      .split('\n')
      .find((line) => line.includes('app/logged:1') && line.includes('image pulled'));
    assert.match(found ?? '', /"request":"[0-9a-f]{16}"/);
  });

  it('the audit log records who did what to which object, without secrets and without reads', async () => {
    const secret = 'hunter2-hunter2';
    const { reference } = await stage.publish('app/private:1');
    const pod = await runPod(stage, 'audited', { annotations: { note: secret } });
    await stage.daemon.cri.image.pullImage({
      image: { image: reference, annotations: { a: secret } },
      auth: { username: 'me', password: secret },
      sandboxConfig: pod.config,
    });
    const id = await runContainer(stage, pod, {
      image,
      more: { envs: [{ key: 'TOKEN', value: Buffer.from(secret) }] },
    });
    await stage.daemon.cri.runtime.execSync({ containerId: id, cmd: ['echo', secret], timeout: 5 });
    await stage.daemon.cri.runtime.listContainers({});
    await removePod(stage, pod);
    await until('the removal is audited', () =>
      audited().some(
        ({ method, subject }) => method === 'RemovePodSandbox' && JSON.stringify(subject).includes(pod.id),
      ),
    );
    const text = readFileSync(auditFile(), 'utf8');
    assert.ok(!text.includes(secret));
    assert.ok(!text.includes('List'));
    const mine = audited().slice(-6);
    assert.deepEqual(
      mine.map(({ method, status }) => [method, status]),
      ['RunPodSandbox', 'PullImage', 'CreateContainer', 'StartContainer', 'ExecSync', 'RemovePodSandbox'].map(
        (method) => [method, 'OK'],
      ),
    );
    assert.deepEqual(mine[1]?.subject['image'], reference);
    assert.partialDeepStrictEqual(mine[2]?.subject, {
      sandboxId: pod.id,
      pod: 'audited',
      namespace: 'shop',
      container: 'main',
      containerId: id,
    });
    assert.deepEqual(mine[4]?.subject, { containerId: id, program: 'echo', arguments: 1, timeout: 5 });
  });

  it('the audit log continues in a new file after a rotation', async () => {
    renameSync(auditFile(), `${auditFile()}.1`);
    await stage.daemon.reload();
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: 'none' });
    await until(
      'the new file exists',
      () => readFileSync(auditFile(), { encoding: 'utf8', flag: 'a+' }) !== '',
    );
    assert.equal(audited()[0]?.method, 'StopPodSandbox');
  });

  it('a call is a span of its caller’s trace, with child spans for the steps of a pull and of a container', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const parent = '00f067aa0ba902b7';
    const { reference } = await stage.publish('app/traced:1', { config: { Labels: { traced: 'yes' } } });
    const raw = new Client(`unix:${stage.folders.socket}`, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set('traceparent', `00-${traceId}-${parent}-01`);
    const same = (bytes: Buffer): Buffer => bytes;
    // PullImageRequest.image.image
    const name = Buffer.from(reference);
    const spec = Buffer.concat([Buffer.from([0x0a, name.length]), name]);
    await new Promise<void>((resolve, reject) =>
      raw.makeUnaryRequest(
        '/runtime.v1.ImageService/PullImage',
        same,
        same,
        Buffer.concat([Buffer.from([0x0a, spec.length]), spec]),
        metadata,
        (error) => (error === null ? resolve() : reject(error)),
      ),
    );
    const ended = (method: string): Span | undefined =>
      collector.spans.find((span) => span.traceId === traceId && span.name.endsWith(`/${method}`));
    await until('the pull is reported', () => ended('PullImage') !== undefined);
    raw.close();
    const pull = ended('PullImage');
    assert.equal(pull?.name, 'runtime.v1.ImageService/PullImage');
    assert.equal(pull.parentSpanId, parent);
    const parts = collector.spans
      .filter((span) => span.parentSpanId === pull.spanId)
      .map((span) => span.name);
    assert.deepEqual(parts.toSorted(), ['fetch', 'resolve', 'unpack', 'verify']);
    assert.deepEqual([...collector.services], ['portcullis']);
    await stage.daemon.logged(new RegExp(`"trace":"${traceId}"`));
  });

  it('a caller without a trace starts none unless a sampling rate is configured', async () => {
    const before = collector.spans.length;
    await stage.daemon.cri.runtime.version({});
    await pause(1500);
    assert.equal(collector.spans.length, before);
  });

  it('every verbose status names the verdict and the profile in force', async () => {
    const { runtime, image: images } = stage.daemon.cri;
    const pod = await runPod(stage, 'verbose');
    const security = { seccomp: { profileType: 0, localhostRef: '' } } as const; // RuntimeDefault
    const id = await runContainer(stage, pod, {
      image,
      reference: 'good.test/app/a:1',
      command: ['sleep', '600'],
      security,
    });
    const { info: ofContainer } = await runtime.containerStatus({ containerId: id, verbose: true });
    const { info: ofPod } = await runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
    const { info: ofImage } = await images.imageStatus({ image: { image }, verbose: true });
    const { info: ofDaemon } = await runtime.status({ verbose: true });
    const part = (info: Readonly<Record<string, string>>, key: string): unknown =>
      JSON.parse(info[key] ?? '');
    const { revision, ...policy } = part(ofDaemon, 'policy') as { revision: string };
    assert.match(revision, /^sha256:/);
    assert.deepEqual(policy, {
      inForce: true,
      rules: 1,
      unverified: [],
      exceptions: [],
      endedEvidence: [],
      failingRoots: [],
    });
    const verdict = part(ofContainer, 'verdict') as { id: string; reasons: string[] };
    const expected = {
      outcome: 'admit',
      unverified: false,
      reference: 'good.test/app/a:1',
      namespace: 'shop',
      policyRevision: revision,
    };
    assert.partialDeepStrictEqual(verdict, { ...expected, policyInForce: true });
    assert.ok(verdict.reasons.length > 1 && verdict.reasons.every((line) => line.length <= 400));
    const profile = part(ofContainer, 'profile') as {
      seccomp?: { digest: string };
      ceilings: { name: string }[];
      capabilities: { bounding: string[] };
    };
    assert.partialDeepStrictEqual(profile, {
      profile: 'default',
      networkClass: 'user',
      hostNamespaces: [],
      readonlyRootfs: false,
      degraded: [],
    });
    assert.deepEqual(
      profile.ceilings.map(({ name }) => name),
      ['privileged'],
    );
    assert.match(profile.seccomp?.digest ?? '', /^sha256:[0-9a-f]{64}$/);
    assert.ok(profile.capabilities.bounding.length > 0);
    assert.deepEqual(part(ofPod, 'verdicts'), [{ container: 'main', containerId: id, ...verdict }]);
    assert.deepEqual(part(ofPod, 'profiles'), [{ container: 'main', containerId: id, ...profile }]);
    assert.partialDeepStrictEqual(part(ofImage, 'verdict'), expected);
    assert.partialDeepStrictEqual(part(ofImage, 'profile'), { ceilings: [{ name: 'privileged' }] });
    // The policy changes: running containers continue under a verdict of the old one, and the status shows
    // this.
    const { plainPolicy } = await import('../fixtures/stage.ts');
    stage.writePolicy(`${plainPolicy}# changed\n`);
    await stage.daemon.reload();
    const { info: later } = await runtime.containerStatus({ containerId: id, verbose: true });
    assert.partialDeepStrictEqual(part(later, 'verdict'), { id: verdict.id, policyInForce: false });
    assert.deepEqual((await runtime.containerStatus({ containerId: id })).info, {});
    await removePod(stage, pod);
  });

  it('audit.required: a request that cannot be logged is refused, and reads are served', async () => {
    configure(', required: true');
    rmSync(join(folder, 'audit'), { recursive: true });
    // A file in place of the folder: not even root can write below it.
    writeFileSync(join(folder, 'audit'), '');
    await stage.restart();
    const failure = await failureOf(runPod(stage, 'unlogged'));
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_AUDIT_UNWRITABLE', 'unavailable']);
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
    assert.ok(((await samples()).get('portcullis_audit_failures_total') ?? 0) > 0);
    await stage.daemon.logged(/"code":"RUNTIME_AUDIT_UNWRITABLE"/);
    rmSync(join(folder, 'audit'));
    const pod = await runPod(stage, 'logged');
    await removePod(stage, pod);
    await until('the removal is audited', () =>
      audited().some(({ method, phase }) => method === 'RemovePodSandbox' && phase === 'done'),
    );
    assert.deepEqual(
      audited().map(({ method, phase }) => `${method} ${phase}`),
      ['RunPodSandbox asked', 'RunPodSandbox done', 'RemovePodSandbox asked', 'RemovePodSandbox done'],
    );
  });
});
