import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../../../base/errors/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import type { CallOutcome, StartedCall } from '../../cri/observe.ts';
import { openAudit } from './audit.ts';
import type { Audit } from './audit.ts';
import { auditSubject } from './subject.ts';

let folder: string;
let serial = 0;
let logged: Record<string, unknown>[] = [];
const log = createLogger({
  level: 'info',
  stream: { write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
});
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-audit-'));
});
after(() => rm(folder, { recursive: true }));

const call = (rpc: string, readsOnly = false): StartedCall => ({
  rpc,
  service: 'runtime.v1.RuntimeService',
  readsOnly,
  requestId: `r-${rpc}`,
  peer: { pid: 7, uid: 0, gid: 3 },
  header: () => undefined,
});
const fine: CallOutcome = { code: 0, milliseconds: 1.5 };

function open(more: { reads?: boolean; required?: boolean; path?: string } = {}): {
  audit: Audit;
  path: string;
} {
  const path = more.path ?? join(folder, `${serial++}`, 'audit.log');
  return {
    audit: openAudit({ path, reads: false, required: false, log, now: () => new Date(0), ...more }),
    path,
  };
}

async function serve(audit: Audit, started: StartedCall, request: unknown, outcome = fine): Promise<void> {
  const observed = audit.calls.begin(started);
  await observed.admit?.(request);
  observed.end(outcome);
}

async function lines(path: string): Promise<Record<string, unknown>[]> {
  const content = await readFile(path, 'utf8');
  return content
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a change is logged as one line: the caller, the call, the subject and the outcome', async () => {
  const { audit, path } = open();
  await serve(audit, call('StopContainer'), { containerId: 'c1', timeout: 5 });
  const failure = new PortcullisError({
    code: 'IMAGES_DENIED',
    kind: 'denied',
    attempted: 'pull',
    on: 'secret',
    why: 'secret',
    fix: 'x',
    details: { verdictId: 'v1' },
  });
  await serve(
    audit,
    call('PullImage'),
    { image: { image: 'good.test/a:1' } },
    { code: 7, milliseconds: 3, failure },
  );
  await serve(audit, call('ListContainers', true), {});
  await serve(
    audit,
    call('RunPodSandbox'),
    { config: { metadata: { name: 'web', namespace: 'pay', uid: 'u' } } },
    { ...fine, response: { podSandboxId: 's1' } },
  );
  await audit.close();
  const common = { time: '1970-01-01T00:00:00.000Z', peer: { pid: 7, uid: 0, gid: 3 }, phase: 'done' };
  assert.deepEqual(await lines(path), [
    {
      ...common,
      request: 'r-StopContainer',
      method: 'StopContainer',
      subject: { containerId: 'c1', timeout: 5 },
      status: 'OK',
      milliseconds: 1.5,
    },
    {
      ...common,
      request: 'r-PullImage',
      method: 'PullImage',
      subject: { image: 'good.test/a:1' },
      status: 'PERMISSION_DENIED',
      code: 'IMAGES_DENIED',
      verdictId: 'v1',
      milliseconds: 3,
    },
    {
      ...common,
      request: 'r-RunPodSandbox',
      method: 'RunPodSandbox',
      subject: { pod: 'web', namespace: 'pay', podUid: 'u', sandboxId: 's1' },
      status: 'OK',
      milliseconds: 1.5,
    },
  ]);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal(audit.failures(), 0);
});

test('reads are logged if this is configured', async () => {
  const { audit, path } = open({ reads: true });
  await serve(audit, call('ListContainers', true), {});
  await audit.close();
  assert.equal((await lines(path)).length, 1);
});

test('no secret of a request is in its subject', () => {
  const secret = 'hunter2';
  const metadata = { name: 'web', namespace: 'pay', uid: 'u', attempt: 0 };
  const requests = [
    {
      image: { image: 'good.test/a:1', annotations: { key: secret } },
      auth: {
        username: secret,
        password: secret,
        auth: secret,
        identityToken: secret,
        registryToken: secret,
      },
      sandboxConfig: { metadata, annotations: { note: secret }, labels: { l: secret } },
    },
    {
      podSandboxId: 's1',
      config: {
        metadata: { name: 'app', attempt: 0 },
        image: { image: 'sha256:1', userSpecifiedImage: 'good.test/a:1' },
        command: ['sh', '-c', secret],
        args: [secret],
        envs: [{ key: 'TOKEN', value: secret }],
        mounts: [{ hostPath: `/${secret}` }],
        annotations: { note: secret },
        labels: { note: secret },
        linux: { securityContext: { privileged: true } },
      },
      sandboxConfig: { metadata, annotations: { note: secret } },
    },
    { containerId: 'c1', cmd: ['/bin/login', `--password=${secret}`], timeout: 3, tty: true },
    {
      config: {
        metadata,
        hostname: secret,
        annotations: { note: secret },
        linux: { sysctls: { x: secret } },
      },
      runtimeHandler: 'crun',
    },
    { containerId: 'c1', annotations: { note: secret }, linux: { unified: { x: secret } } },
  ];
  assert.deepEqual(requests.map(auditSubject), [
    { image: 'good.test/a:1', pod: 'web', namespace: 'pay', podUid: 'u' },
    {
      sandboxId: 's1',
      pod: 'web',
      namespace: 'pay',
      podUid: 'u',
      container: 'app',
      image: 'good.test/a:1',
      privileged: true,
    },
    { containerId: 'c1', program: '/bin/login', arguments: 1, tty: true, timeout: 3 },
    { runtimeHandler: 'crun', pod: 'web', namespace: 'pay', podUid: 'u' },
    { containerId: 'c1' },
  ]);
  for (const nothing of [undefined, null, 'x', 7, [], { config: null, cmd: 'x', image: 'x' }])
    assert.deepEqual(auditSubject(nothing), {});
  assert.equal(String(auditSubject({ containerId: 'x'.repeat(10_000) }).containerId).length, 512);
});

test('an entry is one line, whatever a caller sends', async () => {
  const { audit, path } = open();
  await serve(audit, call('RemoveContainer'), { containerId: 'a\n{"forged":true}\u2028\u0000' });
  await audit.close();
  assert.equal((await lines(path)).length, 1);
});

test('after a rotation, the log continues in the new file', async () => {
  const { audit, path } = open();
  await serve(audit, call('A'), {});
  // The log is written without waiting for it.
  while ((await readFile(path, 'utf8').catch(() => '')) === '') await pause(5);
  await rename(path, `${path}.1`);
  audit.reopen();
  await serve(audit, call('B'), {});
  await audit.close();
  assert.deepEqual(
    [(await lines(`${path}.1`)).map(({ method }) => method), (await lines(path)).map(({ method }) => method)],
    [['A'], ['B']],
  );
});

test('lines keep their order, however many are written at the same time', async () => {
  const { audit, path } = open();
  await Promise.all(Array.from({ length: 500 }, (_, index) => serve(audit, call(`m${index}`), {})));
  await audit.close();
  assert.deepEqual(
    (await lines(path)).map(({ method }) => method),
    Array.from({ length: 500 }, (_, index) => `m${index}`),
  );
});

test('a log that cannot be written is counted, is reported once per period of failures, and fails no call', async () => {
  const path = join(folder, 'is-a-folder');
  await mkdir(path);
  logged = [];
  const { audit } = open({ path });
  await serve(audit, call('A'), {});
  await serve(audit, call('B'), {});
  await audit.close();
  assert.equal(audit.failures(), 2);
  assert.deepEqual(
    logged.map(({ code, level }) => [code, level]),
    [['RUNTIME_AUDIT_UNWRITABLE', 50]],
  );
  await rm(path, { recursive: true });
  await serve(audit, call('C'), {});
  await audit.close();
  assert.deepEqual(
    (await lines(path)).map(({ method }) => method),
    ['C'],
  );
  assert.match(String(logged.at(-1)?.msg), /can be written again/);
  assert.equal(logged.at(-1)?.lost, 2);
  // A second period counts only its own lines.
  await rm(path);
  await mkdir(path);
  await serve(audit, call('D'), {});
  await audit.close();
  await rm(path, { recursive: true });
  await serve(audit, call('E'), {});
  await audit.close();
  assert.deepEqual([logged.at(-1)?.lost, audit.failures()], [1, 3]);
});

test('with `required`, a change is refused while the log cannot be written, and a read is never refused', async () => {
  const path = join(folder, 'blocked');
  await mkdir(path);
  const { audit } = open({ path, required: true, reads: true });
  const stop = audit.calls.begin(call('StopContainer'));
  await assert.rejects(
    stop.admit?.({ containerId: 'c1' }) ?? Promise.resolve(),
    /\[RUNTIME_AUDIT_UNWRITABLE\]/,
  );
  stop.end({ code: 14, milliseconds: 0 });
  await serve(audit, call('ListContainers', true), {});
  await audit.close();
  await rm(path, { recursive: true });
  await serve(audit, call('StopContainer'), { containerId: 'c1' });
  await audit.close();
  assert.deepEqual(
    (await lines(path)).map(({ method, phase }) => [method, phase]),
    [
      ['StopContainer', 'asked'],
      ['StopContainer', 'done'],
    ],
  );
});

test('the log does not follow a link, and makes an existing file unreadable for others', async () => {
  const target = join(folder, 'target');
  await writeFile(target, '');
  await chmod(target, 0o644);
  const link = join(folder, 'link');
  await symlink(target, link);
  const { audit } = open({ path: link });
  await serve(audit, call('A'), {});
  await audit.close();
  assert.equal(audit.failures(), 1);
  const { audit: plain } = open({ path: target });
  await serve(plain, call('A'), {});
  await plain.close();
  assert.equal((await stat(target)).mode & 0o777, 0o600);
});
