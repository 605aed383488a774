import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { attempt, isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

function failureIn(thrown: unknown): PortcullisError {
  assert.ok(isPortcullisError(thrown), String(thrown));
  return thrown;
}

let stage: Stage;
before(async () => {
  stage = await openStage();
});
after(() => stage.close());

test(
  'Exec and ExecSync report that no process can be created for a command, with the limit',
  { timeout: 120_000 },
  async () => {
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    // runc reports only that its process was gone.
    const pod = await runPod(stage, 'crowded', {}, 'runc');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
    const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
    const path = /^(?:\d+:pids|0:):(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
    const file = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup']
      .map((root) => join(root, path, 'pids.max'))
      .find((each) => existsSync(each));
    assert.ok(file !== undefined);
    const before = readFileSync(file, 'utf8');
    writeFileSync(file, '0');
    // A process created before its runtime moved it into the cgroup runs, so the test tries again.
    const refused = async (): Promise<PortcullisError> => {
      for (let tries = 0; tries < 30; tries += 1) {
        const failure = await execute(stage, id, 'true').then(() => undefined, failureIn);
        if (failure !== undefined) return failure;
      }
      assert.fail('every command ran');
    };
    const failure = await refused();
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_EXEC_NO_PROCESS', 'exhausted'], failure.message);
    assert.match(failure.message, /its limit \(pids\.max\) is 0/);
    assert.doesNotMatch(failure.message, /check the command/);
    const asked = { tty: false, stdin: false, stdout: true, stderr: true };
    let message = '';
    for (let tries = 0; message === '' && tries < 30; tries += 1) {
      const client = await openCommand(
        (await stage.daemon.cri.runtime.exec({ containerId: id, cmd: ['true'], ...asked })).url,
      );
      message = (await client.status).message ?? '';
    }
    assert.match(message, /no process could be created: .*its limit \(pids\.max\) is 0/);
    writeFileSync(file, before.trim());
    assert.equal((await execute(stage, id, 'true')).exitCode, 0);
    await removePod(stage, pod);
  },
);

test('a limit of processes that stops the daemon is reported with its cgroup, by commands and creations', async () => {
  const image = await stage.pull((await stage.publish('app/a:1')).reference);
  const { daemon } = stage;
  const pod = await runPod(stage, 'limited-daemon');
  const id = await runContainer(stage, pod, { name: 'runs', image, command: ['sleep', '600'] });
  const root = existsSync('/sys/fs/cgroup/pids') ? '/sys/fs/cgroup/pids' : '/sys/fs/cgroup';
  const cgroup = join(root, `portcullis-limited-${process.pid}`);
  mkdirSync(cgroup);
  const write = (name: string, text: string): void => writeFileSync(join(cgroup, name), text);
  const before = /^(?:\d+:pids|0:):(.*)$/m.exec(readFileSync(`/proc/${daemon.pid}/cgroup`, 'utf8'))?.[1];
  try {
    write('cgroup.procs', String(daemon.pid));
    const create = () => createContainer(stage, pod, { name: 'never', image, command: ['sleep', '600'] });
    // The next creation has its monitor already.
    await stage.daemon.cri.runtime.removeContainer({ containerId: await create() });
    for (const room of [0, 1]) {
      write('pids.max', String(Number(readFileSync(join(cgroup, 'pids.current'), 'utf8')) + room));
      const failures = [await failureOf(execute(stage, id, 'true')), await failureOf(create())];
      write('pids.max', 'max');
      for (const { code, kind, message } of failures) {
        assert.match(code, /^RUNTIME_(?:EXEC_NO_PROCESS|MONITOR_FAILED)$/u, message);
        assert.equal(kind, 'exhausted');
        assert.match(message, /processes/u);
        assert.doesNotMatch(message, /check the command|manual page|installed/u);
      }
      assert.equal((await execute(stage, id, 'true')).exitCode, 0);
    }
  } finally {
    write('pids.max', 'max');
    await removePod(stage, pod);
    for (let tries = 0; existsSync(cgroup) && tries < 100; tries += 1) {
      for (const one of readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').split('\n'))
        if (existsSync(`/proc/${one || '0'}`)) writeFileSync(join(root, before ?? '/', 'cgroup.procs'), one);
      await pause(50);
      attempt(() => rmdirSync(cgroup));
    }
    assert.equal(existsSync(cgroup), false, 'processes are left in the cgroup');
  }
});
