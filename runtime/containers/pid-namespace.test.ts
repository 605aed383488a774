import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { openPidNamespace, pidModeOf } from './pid-namespace.ts';
import type { ContainerRecord } from './record.ts';

const container = (pid?: number, targetId = ''): ContainerConfig =>
  ({
    metadata: { name: 'main', attempt: 0 },
    ...(pid !== undefined && { linux: { securityContext: { namespaceOptions: { pid, targetId } } } }),
  }) as unknown as ContainerConfig;
const sandbox = (pid: number, process?: ProcessIdentity): SandboxRecord =>
  ({
    id: 's',
    config: {
      metadata: { name: 'web', namespace: 'shop', uid: 'u', attempt: 0 },
      hostname: '',
      logDirectory: '',
      portMappings: [],
      linux: {
        cgroupParent: '',
        sysctls: {},
        securityContext: { namespaceOptions: { pid, network: 0, ipc: 0 } },
      },
    },
    ...(process !== undefined && { infra: { process } }),
  }) as unknown as SandboxRecord;

const [POD, CONTAINER, NODE, TARGET] = [0, 1, 2, 3];
for (const [asked, pod, mode] of [
  [undefined, POD, 'own'],
  [CONTAINER, POD, 'own'],
  [POD, POD, 'pod'],
  [POD, CONTAINER, 'pod'],
  [POD, NODE, 'host'],
  [NODE, NODE, 'host'],
  [TARGET, CONTAINER, 'target'],
] as const) {
  test(`a container that requests ${asked ?? 'nothing'} in a pod with ${pod} is in: ${mode}`, () =>
    assert.equal(pidModeOf(container(asked), sandbox(pod ?? 0)), mode));
}

test('a container gets the host’s PID namespace only if its pod requests it, and an unknown mode is refused', () => {
  for (const asked of [NODE, 9])
    assert.throws(() => pidModeOf(container(asked), sandbox(POD ?? 0)), { code: 'RUNTIME_BAD_NAMESPACE' });
});

const crun = { kind: 'crun', name: 'crun' } as const;

test('a namespace has a path in this process until it is closed; the namespace of a dead process has no path', async () => {
  const child = spawn('unshare', ['--pid', '--fork', '--kill-child', 'sleep', '60'], { stdio: 'ignore' });
  try {
    await once(child, 'spawn');
    let holder: ProcessIdentity | undefined;
    for (const until = Date.now() + 60_000; holder === undefined && Date.now() < until;) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      const inner = Number(
        readFileSync(`/proc/${child.pid ?? 0}/task/${child.pid ?? 0}/children`, 'utf8').trim(),
      );
      if (inner > 0) holder = processIdentity(inner);
    }
    assert.ok(holder);
    const open = (process: ProcessIdentity) =>
      openPidNamespace({
        config: container(POD),
        sandbox: sandbox(0, process),
        handler: crun,
        find: () => undefined,
      });
    const namespace = open(holder);
    assert.equal(namespace.isHost, false);
    assert.equal(readlinkSync(namespace.path ?? ''), readlinkSync(`/proc/${holder.pid}/ns/pid`));
    namespace.close();
    assert.throws(() => readlinkSync(namespace.path ?? ''), { code: 'ENOENT' });
    assert.throws(
      () => open({ ...holder, startTime: '1' }),
      { code: 'RUNTIME_BAD_NAMESPACE' },
      'a reused pid is not followed',
    );
  } finally {
    child.kill('SIGKILL');
  }
});

test('a target in the host’s namespace gives the host’s namespace', () => {
  const own = processIdentity(process.pid);
  assert.ok(own);
  const target = { id: 't', sandboxId: 's', phase: 'running', init: own } as unknown as ContainerRecord;
  const namespace = openPidNamespace({
    config: container(TARGET, 't'),
    sandbox: sandbox(1),
    handler: crun,
    find: () => target,
  });
  assert.deepEqual([namespace.isHost, namespace.path], [true, undefined]);
});

test('a runtime that cannot join namespaces is refused', () => {
  const runsc = { kind: 'other', name: 'runsc' } as const;
  assert.throws(
    () =>
      openPidNamespace({
        config: container(POD),
        sandbox: sandbox(0),
        handler: runsc,
        find: () => undefined,
      }),
    {
      code: 'RUNTIME_UNSUPPORTED',
    },
  );
});
