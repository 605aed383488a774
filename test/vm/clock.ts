/**
 * Sets the clock of the machine by hours while pods run: `npm run test:vm -- clock`. The file is not called
 * x.test.ts, because `npm test` sets no clock. Durations are measured by a clock that cannot be set. Reported
 * timestamps follow the clock, and no end is before its start.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

const hourMs = 3_600_000;
const patience = { timeoutMs: 300_000 };

function jump(hours: number): void {
  execFileSync('date', ['--utc', '--set', `@${(Date.now() + hours * hourMs) / 1_000}`]);
}
/** Asserts that the time, in nanoseconds since 1970, is about the time of the machine. */
function assertAboutNow(nanoseconds: bigint, what: string): void {
  const behindMs = Date.now() - Number(nanoseconds / 1_000_000n);
  assert.ok(
    behindMs > -60_000 && behindMs < hourMs / 2,
    `${what} is ${(behindMs / hourMs).toFixed(2)} hours behind the clock`,
  );
}

describe('setting the clock', () => {
  let stage: Stage;
  let pod: Pod;
  let image = '';
  let id = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'p');
    id = await runContainer(stage, pod, { image, command: ['sleep', '60000'] });
  });
  after(() => stage.close());
  const runtime = () => stage.daemon.cri.runtime;
  const statusOf = async (containerId: string) => {
    const { status } = await runtime().containerStatus({ containerId });
    assert.ok(status);
    return status;
  };
  const setDuring = async <T>(
    hours: number,
    act: () => Promise<T>,
  ): Promise<{ readonly result: T; readonly ms: number }> => {
    const begin = performance.now();
    const doing = act();
    await pause(3_000);
    jump(hours);
    return { result: await doing, ms: performance.now() - begin };
  };

  let attempts = 0;
  for (const hours of [6, -12]) {
    const title = `by ${hours} hours`;

    it(`${title}: a command has its requested timeout`, async () => {
      const seconds = 15;
      const { result, ms } = await setDuring(hours, () =>
        failureOf(
          runtime().execSync({ containerId: id, cmd: ['sleep', '6000'], timeout: seconds }, patience),
        ),
      );
      assert.equal(result.kind, 'deadline', result.message);
      assert.ok(ms >= seconds * 1_000 && ms < 120_000, `${ms} ms`);
    });

    it(`${title}: a stop waits for its requested time, and the container does not end before it started`, async () => {
      const stopped = await runContainer(stage, pod, {
        name: `stopped${hours}`,
        image,
        command: ['sh', '-c', 'trap "" TERM; while true; do sleep 1; done'],
      });
      await pause(3_000);
      const { ms } = await setDuring(hours, () =>
        runtime().stopContainer({ containerId: stopped, timeout: 15 }, patience),
      );
      assert.ok(ms >= 15_000 && ms < 120_000, `${ms} ms`);
      const { startedAt, finishedAt, exitCode } = await statusOf(stopped);
      assert.equal(exitCode, 137);
      assert.ok(startedAt <= finishedAt, `started at ${startedAt}, finished at ${finishedAt}`);
    });

    it(`${title}: a container created afterwards has the current time, and is the newest attempt`, async () => {
      const metadata = { name: 'next', attempt: (attempts += 1) };
      const next = await runContainer(stage, pod, {
        image,
        command: ['sh', '-c', 'exit 3'],
        more: { metadata },
      });
      const { startedAt, finishedAt, exitCode, createdAt } = await exitOf(stage, next);
      assert.equal(exitCode, 3);
      assertAboutNow(startedAt, 'the start');
      assertAboutNow(finishedAt, 'the end');
      assert.ok(startedAt <= finishedAt);
      const { containers } = await runtime().listContainers({});
      for (const other of containers)
        assert.ok(
          other.id === next || other.metadata?.name !== 'next' || other.createdAt < createdAt,
          'another attempt is newer',
        );
    });

    it(`${title}: statistics have the time of the clock`, async () => {
      const { stats } = await runtime().containerStats({ containerId: id });
      assertAboutNow(stats?.cpu?.timestamp ?? 0n, 'the CPU time');
      assertAboutNow(stats?.memory?.timestamp ?? 0n, 'the memory');
    });

    it(`${title}: the URL of an exec can be used, and an open session continues`, async () => {
      const command = {
        containerId: id,
        cmd: ['sh', '-c', 'sleep 8; echo said'],
        tty: false,
        stdin: false,
        stdout: true,
        stderr: true,
      };
      const existing = await openCommand((await runtime().exec(command)).url);
      const { url } = await runtime().exec(command);
      jump(hours);
      const later = await openCommand(url);
      for (const client of [existing, later]) {
        assert.equal((await client.status).status, 'Success');
        assert.equal(client.stdout(), 'said\n');
      }
      jump(-hours);
    });
  }

  it('set back while the daemon is stopped: a later attempt of a pod is the newest', async () => {
    const metadata = { name: 'again', uid: 'again', namespace: 'shop', attempt: 0 };
    const first = await runPod(stage, 'again', { metadata });
    const old = await createContainer(stage, first, { image });
    await runtime().stopPodSandbox({ podSandboxId: first.id });
    await stage.restart({ meanwhile: () => Promise.resolve(jump(-48)) });
    const second = await runPod(stage, 'again', { metadata: { ...metadata, attempt: 1 } });
    const { items } = await runtime().listPodSandbox({});
    const createdAt = (id: string): bigint => items.find((item) => item.id === id)?.createdAt ?? 0n;
    assert.ok(createdAt(second.id) > createdAt(first.id));
    const next = await runContainer(stage, second, {
      image,
      command: ['sleep', '600'],
      more: { metadata: { name: 'main', attempt: 1 } },
    });
    const [one, other] = [await statusOf(old), await statusOf(next)];
    assert.ok(other.createdAt > one.createdAt);
    assertAboutNow(other.startedAt, 'the start');
    assert.equal((await execute(stage, next, 'echo', 'well')).stdout, 'well\n');
    for (const each of [first, second]) await removePod(stage, each);
  });
});
