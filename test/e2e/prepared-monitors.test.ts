import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { attempt } from '../../base/errors/index.ts';
import { processesWithArgument } from '../../runtime/processes/processes.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Waits until a value is found. */
async function until<T>(look: () => T | undefined): Promise<T> {
  for (let waited = 0; waited < 20_000; waited += 10) {
    const found = look();
    if (found !== undefined) return found;
    await pause(10);
  }
  throw new Error(`not within 20 s: ${look.toString()}`);
}

describe('a monitor that is prepared for the next container', () => {
  let stage: Stage;
  let image = '';
  const logs = (): string[] => readdirSync(join(stage.folders.root, 'monitor-logs'));
  const bundles = (): string[] => readdirSync(join(stage.folders.state, 'containers'));
  /** The id of the prepared monitor, once its runtime waits for its configuration. */
  const prepared = (): Promise<string> =>
    until(() => {
      const id = logs()[0];
      return id !== undefined && processesWithArgument(id, ['create']).length >= 1 ? id : undefined;
    });
  const logOf = (pod: string, name = 'main'): string => join(stage.logs, pod, name, '0.log');
  const linesIn = (file: string): string => readFileSync(file, 'utf8').replaceAll(/^\S+ stdout F /gmu, '');

  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  it('becomes the monitor of the container, whose log is where it was requested, before and after a rotation', async () => {
    const pod = await runPod(stage, 'used');
    const expected = await prepared();
    const id = await runContainer(stage, pod, {
      image,
      command: ['sh', '-c', 'echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second'],
    });
    assert.equal(id, expected);
    const log = logOf('used');
    await until(() => (linesIn(log) === 'first\n' ? true : undefined));
    assert.equal(logs().includes(id), false);
    renameSync(log, `${log}.rotated`);
    await stage.daemon.cri.runtime.reopenContainerLog({ containerId: id });
    await execute(stage, id, 'touch', '/go');
    await exitOf(stage, id);
    assert.equal(linesIn(log), 'second\n');
    assert.equal(linesIn(`${log}.rotated`), 'first\n');
    await removePod(stage, pod);
  });

  it('loses no line if the daemon is killed during a rotation, and the container ends meanwhile', async () => {
    const pod = await runPod(stage, 'cut');
    const expected = await prepared();
    const command = ['sh', '-c', 'echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second'];
    const id = await runContainer(stage, pod, { image, command });
    assert.equal(id, expected);
    const log = logOf('cut');
    await until(() => (linesIn(log) === 'first\n' ? true : undefined));
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        const bundle = join(stage.folders.state, 'containers', id);
        writeFileSync(join(bundle, 'ctl'), '2 0 0\n');
        await until(() => (logs().includes(id) ? true : undefined));
        writeFileSync(`/proc/${readFileSync(join(bundle, 'init.pid'), 'utf8')}/root/go`, '');
        await until(() => (processesWithArgument(id).length === 0 ? true : undefined));
      },
    });
    assert.equal(linesIn(log), 'second\n');
    const rotated = readdirSync(dirname(log)).filter((name) => name !== '0.log');
    assert.deepEqual(
      rotated.map((name) => linesIn(join(dirname(log), name))),
      ['first\n'],
    );
    await removePod(stage, pod);
  });

  it('is used for a container of a pod without logs, and writes none', async () => {
    // A daemon keeps one prepared monitor: here, that of the next pod.
    await stage.restart();
    const pod = await runPod(stage, 'silent', { logDirectory: '' });
    const configuration = (id: string): string => join(stage.folders.state, 'containers', id, 'config.json');
    const expected = await until(() =>
      bundles().find((id) => lstatSync(configuration(id), { throwIfNoEntry: false })?.isSymbolicLink()),
    );
    assert.deepEqual(logs(), []);
    const command = ['sh', '-c', 'echo unseen; exit 4'];
    const id = await runContainer(stage, pod, { image, command, more: { logPath: '' } });
    assert.equal(id, expected);
    assert.equal((await exitOf(stage, id)).exitCode, 4);
    assert.deepEqual(logs(), []);
    await removePod(stage, pod);
    await stage.restart();
  });

  it('passes on a configuration that is larger than a pipe, and no descriptor', async () => {
    const pod = await runPod(stage, 'large');
    const expected = await prepared();
    const envs = Array.from({ length: 50 }, (_, index) => ({
      key: `V${index}`,
      value: Buffer.alloc(10_000, 'x'),
    }));
    const command = ['sh', '-c', 'echo ${#V49}; ls /proc/$$/fd; true'];
    const id = await runContainer(stage, pod, { image, command, more: { envs } });
    assert.equal(id, expected);
    await exitOf(stage, id);
    assert.equal(linesIn(logOf('large')), '10000\n0\n1\n2\n');
    await removePod(stage, pod);
  });

  it('is not used for a container with a terminal, with input, or with an existing log', async () => {
    const pod = await runPod(stage, 'other');
    const waiting = await prepared();
    const command = ['sleep', '600'];
    const tty = await runContainer(stage, pod, { image, name: 'tty', command, more: { tty: true } });
    const stdin = await runContainer(stage, pod, { image, name: 'in', command, more: { stdin: true } });
    assert.ok(![tty, stdin].includes(waiting));
    mkdirSync(join(stage.logs, 'other/main'));
    writeFileSync(logOf('other'), '1970-01-01T00:00:00.000000000Z stdout F before\n');
    const main = await runContainer(stage, pod, { image, command: ['echo', 'after'] });
    await exitOf(stage, main);
    assert.equal(linesIn(logOf('other')), 'before\nafter\n');
    await removePod(stage, pod);
  });

  it('ends with a request that is refused, which leaves nothing', async () => {
    const pod = await runPod(stage, 'refused');
    const waiting = await prepared();
    await assert.rejects(
      createContainer(stage, pod, { image, security: { privileged: true } }),
      (thrown: Error) => /privileged|ceiling|entitle/iu.test(thrown.message),
    );
    await until(() => (processesWithArgument(waiting).length === 0 ? true : undefined));
    assert.deepEqual([bundles().includes(waiting), logs().includes(waiting)], [false, false]);
    assert.equal(existsSync(join(stage.logs, 'refused/main')), false);
    await removePod(stage, pod);
  });

  it('leaves the empty log of a container that the runtime refuses, as a monitor of its own does', async () => {
    const pod = await runPod(stage, 'unmade');
    const waiting = await prepared();
    const command = ['/no/such/program'];
    assert.equal(await createContainer(stage, pod, { image, command }), waiting);
    await createContainer(stage, pod, { image, name: 'own', command });
    for (const name of ['main', 'own']) assert.equal(readFileSync(logOf('unmade', name), 'utf8'), '');
    await removePod(stage, pod);
  });

  it('is replaced by another one if it was killed', async () => {
    const pod = await runPod(stage, 'killed');
    const waiting = await prepared();
    // The end of the monitor ends the others, perhaps before they are killed.
    for (const { pid } of processesWithArgument(waiting)) attempt(() => process.kill(pid, 'SIGKILL'));
    await until(() => (processesWithArgument(waiting).length === 0 ? true : undefined));
    const id = await runContainer(stage, pod, { image, command: ['echo', 'runs'] });
    assert.notEqual(id, waiting);
    await exitOf(stage, id);
    assert.equal(linesIn(logOf('killed')), 'runs\n');
    await removePod(stage, pod);
  });

  it('is not used if logs are on another mount', async () => {
    const far = join(stage.logs, 'far');
    mkdirSync(far);
    execFileSync('mount', ['-t', 'tmpfs', 'logs', far]);
    try {
      const pod = await runPod(stage, 'far', { logDirectory: join(far, 'pod') });
      const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'echo there; sleep 0.5'] });
      const monitors = processesWithArgument(id, [`k8s-file:${far}`]);
      assert.ok(monitors.length > 0, 'its monitor opens the log itself');
      await exitOf(stage, id);
      assert.equal(linesIn(join(far, 'pod/main/0.log')), 'there\n');
      await removePod(stage, pod);
    } finally {
      execFileSync('umount', ['--lazy', far]);
    }
  });

  it('is not used if the folder of this log is another mount', async () => {
    const pod = await runPod(stage, 'mounted');
    const waiting = await prepared();
    const folder = join(stage.logs, 'mounted/main');
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'logs', folder]);
    try {
      const id = await runContainer(stage, pod, { image, command: ['echo', 'there'] });
      assert.equal(id, waiting);
      await exitOf(stage, id);
      assert.equal(linesIn(logOf('mounted')), 'there\n');
      await removePod(stage, pod);
    } finally {
      execFileSync('umount', ['--lazy', folder]);
    }
  });

  it('does not change the group that logs get from their folder', async () => {
    const given = join(stage.logs, 'given');
    mkdirSync(given);
    chownSync(given, 0, 4);
    chmodSync(given, 0o2755);
    const pod = await runPod(stage, 'given', { logDirectory: join(given, 'pod') });
    // Another pod has a prepared monitor, and this pod has a folder of its own.
    const plain = await runPod(stage, 'plain');
    const waiting = await prepared();
    mkdirSync(join(stage.logs, 'plain/main'), { recursive: true });
    chownSync(join(stage.logs, 'plain/main'), 0, 4);
    chmodSync(join(stage.logs, 'plain/main'), 0o2755);
    assert.equal(await createContainer(stage, plain, { image, command: ['sleep', '600'] }), waiting);
    await createContainer(stage, pod, { image, command: ['sleep', '600'] });
    for (const log of [logOf('plain'), join(given, 'pod/main/0.log')])
      assert.equal(statSync(log).gid, 4, log);
    for (const each of [plain, pod]) await removePod(stage, each);
  });

  for (const kill of [true, false])
    it(`ends with the daemon that ${kill ? 'is killed' : 'stops'}, and the next one leaves nothing of it`, async () => {
      const pod = await runPod(stage, `ends-${kill}`);
      const waiting = await prepared();
      await stage.restart({
        kill,
        meanwhile: async () => {
          await until(() => (processesWithArgument(waiting).length === 0 ? true : undefined));
        },
      });
      assert.deepEqual([bundles().includes(waiting), logs().includes(waiting)], [false, false]);
      assert.ok(!readdirSync(join(stage.folders.state, 'a')).includes(waiting.slice(0, 16)));
      await removePod(stage, pod);
    });
});
