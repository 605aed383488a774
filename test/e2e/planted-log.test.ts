import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/* Another pod that may write to the folder of logs plants something where the log of a container will be. */
describe('something planted at the path of a log', () => {
  let stage: Stage;
  let image = '';
  let pod: Pod;
  let victim = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'planted');
    victim = join(stage.logs, 'file-of-the-host');
  });
  after(() => stage.close());
  const create = async (name: string, command: string): Promise<string> =>
    createContainer(stage, pod, { name, image, command: ['sh', '-c', command] });
  const logOf = (name: string): string => join(pod.config.logDirectory ?? '', name, '0.log');

  const planted: { what: string; plant: (log: string) => void }[] = [
    { what: 'a link to a file of the host', plant: (log) => symlinkSync(victim, log) },
    { what: 'a link to nothing', plant: (log) => symlinkSync(`${victim}.new`, log) },
    { what: 'a FIFO without a reader', plant: (log) => void execFileSync('mkfifo', [log]) },
    { what: 'a folder', plant: (log) => void mkdirSync(log) },
  ];
  for (const [at, { what, plant }] of planted.entries())
    it(`${what} is refused at once, and gets no output`, { timeout: 60_000 }, async () => {
      writeFileSync(victim, 'as before');
      const log = logOf(`c${at}`);
      mkdirSync(dirname(log), { recursive: true });
      plant(log);
      const attempt = async (): Promise<void> => {
        const containerId = await create(`c${at}`, 'echo written by a container');
        await stage.daemon.cri.runtime.startContainer({ containerId });
      };
      const failure = await failureOf(attempt());
      assert.equal(failure.code, 'RUNTIME_LOG_NOT_PLAIN', failure.message);
      assert.equal(readFileSync(victim, 'utf8'), 'as before');
      assert.throws(() => lstatSync(`${victim}.new`), { code: 'ENOENT' });
    });

  for (const exists of [true, false])
    it(`a link in place of the folder of the log is refused${exists ? ', and a log there is left as it is' : ''}`, async () => {
      const name = exists ? 'elsewhere' : 'empty';
      const other = join(stage.logs, `${name}-of-another-pod`);
      mkdirSync(other);
      if (exists) writeFileSync(join(other, '0.log'), 'as before', { mode: 0o600 });
      symlinkSync(other, dirname(logOf(name)));
      const failure = await failureOf(create(name, 'echo written by a container'));
      assert.equal(failure.code, 'RUNTIME_LOG_NOT_PLAIN', failure.message);
      assert.deepEqual(readdirSync(other), exists ? ['0.log'] : []);
      if (!exists) return;
      assert.equal(readFileSync(join(other, '0.log'), 'utf8'), 'as before');
      assert.equal(lstatSync(join(other, '0.log')).mode & 0o777, 0o600);
    });

  it('a log whose folder was replaced by a link is not reopened', async () => {
    const containerId = await create('moved', 'while :; do echo line; sleep 0.05; done');
    await stage.daemon.cri.runtime.startContainer({ containerId });
    const folder = dirname(logOf('moved'));
    const other = join(stage.logs, 'moved-to');
    renameSync(folder, `${folder}.1`);
    mkdirSync(other);
    symlinkSync(other, folder);
    const failure = await failureOf(stage.daemon.cri.runtime.reopenContainerLog({ containerId }));
    assert.equal(failure.code, 'RUNTIME_LOG_NOT_PLAIN', failure.message);
    assert.deepEqual(readdirSync(other), []);
  });

  it('a link to the renamed log is replaced by a new log', async () => {
    const containerId = await create('turned', 'i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done');
    await stage.daemon.cri.runtime.startContainer({ containerId });
    const log = logOf('turned');
    while (!readFileSync(log, 'utf8').includes('line')) await pause(5);
    renameSync(log, `${log}.1`);
    symlinkSync(`${log}.1`, log);
    await stage.daemon.cri.runtime.reopenContainerLog({ containerId });
    assert.ok(lstatSync(log).isFile());
    while (!readFileSync(log, 'utf8').includes('line')) await pause(5);
  });
});
