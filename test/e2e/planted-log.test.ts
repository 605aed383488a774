import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
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
