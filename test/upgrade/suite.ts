/** `npm run test:upgrade -- CHECKOUT [--keep DIR]`: see README.md. Runs in its own namespaces. */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ContainerState } from '../../runtime/client.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import { dumpRows } from '../fixtures/dump-rows.ts';

const { values, positionals } = parseArgs({ options: { keep: { type: 'string' } }, allowPositionals: true });
const [checkout] = positionals;
if (checkout === undefined) {
  console.error('name the built checkout of the previous release: npm run test:upgrade -- CHECKOUT');
  process.exit(2);
}
const before = [resolve(checkout, 'packaging/bin/portcullisd')];

const stage = await openStage({ program: before });
const runtime = () => stage.daemon.cri.runtime;
try {
  const { reference } = await stage.publish('app/a:1');
  const image = await stage.pull(reference);
  const pod = await runPod(stage, 'lasting', { labels: { app: 'web' }, annotations: { note: 'kept' } });
  const ticks = 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done';
  const lives = await runContainer(stage, pod, {
    name: 'lives',
    image,
    reference,
    command: ['sh', '-c', ticks],
  });
  const ended = await runContainer(stage, pod, { name: 'ended', image, command: ['sh', '-c', 'exit 42'] });
  assert.equal((await exitOf(stage, ended)).exitCode, 42);
  await createContainer(stage, pod, { name: 'waits', image, command: ['sleep', '600'] });
  const stopped = await runPod(stage, 'stopped');
  await runtime().stopPodSandbox({ podSandboxId: stopped.id });
  const processOf = async (): Promise<number> => {
    const { info } = await runtime().containerStatus({ containerId: lives, verbose: true });
    return (JSON.parse(info['info'] ?? '') as { pid: number }).pid;
  };
  const pid = await processOf();
  const { status: podBefore } = await runtime().podSandboxStatus({ podSandboxId: pod.id });
  const ids = async (): Promise<string[]> => [
    ...(await runtime().listPodSandbox({})).items.map(({ id }) => id),
    ...(await runtime().listContainers({})).containers.map(({ id }) => id),
    ...(await stage.daemon.cri.image.listImages({})).images.map(({ id }) => id),
  ];
  const idsBefore = (await ids()).sort();

  const turns = [
    { name: 'this checkout', program: [] },
    { name: 'the release before', program: before },
    { name: 'this checkout again', program: [] },
    { name: 'the previous release, after kill -9', program: before, kill: true },
    { name: 'this checkout, after kill -9', program: [], kill: true },
  ];
  for (const [index, { name, program, kill = false }] of turns.entries()) {
    const exits =
      index === 0
        ? []
        : [
            await runContainer(stage, pod, {
              name: `ends-${index}`,
              image,
              command: ['sh', '-c', `sleep 1; exit ${index}`],
            }),
          ];
    if (index > 0) idsBefore.push(...exits);
    await stage.restart({
      kill,
      program,
      meanwhile: async () => {
        if (index === 0 && values.keep !== undefined)
          for (const [file, path] of [
            ['state', 'state.db'],
            ['network', 'network.db'],
          ] as const)
            writeFileSync(join(values.keep, `${file}.sql`), dumpRows(join(stage.folders.root, path)));
        await pause(1300);
      },
    });
    assert.deepEqual((await ids()).sort(), [...idsBefore].sort(), name);
    assert.deepEqual((await runtime().podSandboxStatus({ podSandboxId: pod.id })).status, podBefore, name);
    assert.equal(
      (await runtime().containerStatus({ containerId: lives })).status?.state,
      ContainerState.CONTAINER_RUNNING,
      name,
    );
    assert.equal(await processOf(), pid, `${name}: the same process`);
    assert.equal((await exitOf(stage, ended)).exitCode, 42, name);
    for (const id of exits)
      assert.equal((await exitOf(stage, id)).exitCode, index, `${name}: the exit while no daemon ran`);
    assert.equal((await execute(stage, lives, 'hostname')).stdout, 'lasting\n', name);
    const log = join(stage.logs, 'lasting/lives/0.log');
    const size = readFileSync(log).length;
    for (let waited = 0; readFileSync(log).length <= size; waited += 50) {
      assert.ok(waited < 60_000, `${name}: its log continues`);
      await pause(50);
    }
    // Each daemon continues with what the previous one wrote: pods are created and removed under each.
    const passing = await runPod(stage, `passing-${index}`);
    const id = await runContainer(stage, passing, { image, command: ['sleep', '600'] });
    assert.equal((await execute(stage, id, 'echo', 'well')).stdout, 'well\n', name);
    await removePod(stage, passing);
    const again = await runtime().runPodSandbox({ config: pod.config });
    assert.equal(again.podSandboxId, pod.id, `${name}: the same request returns the same pod`);
    console.log(`${name}: ${idsBefore.length} records, process ${pid} lives`);
  }
  const lines = readFileSync(join(stage.logs, 'lasting/lives/0.log'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => Number(line.split(' ').at(-1)));
  assert.deepEqual(
    lines,
    lines.map((_, index) => index + 1),
    'no line of the log is lost or written twice',
  );
  console.log(`${lines.length} lines of its log, none lost`);
} catch (thrown) {
  // Closing fails as well when no daemon serves: print the first failure, which is the cause.
  console.error(thrown);
  process.exitCode = 1;
} finally {
  await stage.close();
}
