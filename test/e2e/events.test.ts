import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerEventType } from '../../runtime/client.ts';
import type { ContainerEvent } from '../../runtime/client.ts';
import { watchContainerEvents } from '../fixtures/container-events.ts';
import { createContainer, exitOf, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const crictl = findTool('crictl');
const shortNames: Readonly<Record<number, string>> = {
  [ContainerEventType.CONTAINER_CREATED_EVENT]: 'created',
  [ContainerEventType.CONTAINER_STARTED_EVENT]: 'started',
  [ContainerEventType.CONTAINER_STOPPED_EVENT]: 'stopped',
  [ContainerEventType.CONTAINER_DELETED_EVENT]: 'deleted',
};

/** Collects every event from now on, read as fast as they arrive. */
async function watch(stage: Stage) {
  const events: ContainerEvent[] = [];
  const { ended: end, stop } = await watchContainerEvents(stage.daemon.cri, (event) => events.push(event));
  return {
    events,
    end,
    /** "created pod", "stopped main", … of one pod, in order. */
    of: (podId: string): string[] =>
      events
        .filter((event) => event.podSandboxStatus?.id === podId)
        .map(
          (event) =>
            `${shortNames[event.containerEventType] ?? '?'} ${event.containerId === podId ? 'pod' : 'container'}`,
        ),
    stop,
  };
}

/** A client whose HTTP/2 window fills up. A gRPC library would continue to read into its own memory. */
async function neverReading(stage: Stage) {
  const session = connect('http://localhost', {
    createConnection: () => connectSocket(stage.folders.socket),
  });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/runtime.v1.RuntimeService/GetContainerEvents',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.end(Buffer.alloc(5)); // an empty message
  for (const end of [session, stream]) end.on('error', () => undefined);
  await once(stream, 'response');
  return {
    async readOn(): Promise<{ status: string; message: string }> {
      const trailers = once(stream, 'trailers') as Promise<[Record<string, string | undefined>]>;
      stream.resume();
      const [{ 'grpc-status': status = '', 'grpc-message': message = '' }] = await trailers;
      session.destroy();
      return { status, message: decodeURIComponent(message) };
    },
  };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 20) {
    if (holds()) return;
    await pause(20);
  }
  assert.fail(`not met within a minute: ${what}`);
}

describe('events', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  it('report the life cycle of a pod to every client, each with the full status that a kubelet needs', async () => {
    const [first, second] = [await watch(stage), await watch(stage)];
    const pod = await runPod(stage, 'life');
    const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'exit 3'] });
    await exitOf(stage, id);
    await removePod(stage, pod);
    for (const watcher of [first, second]) {
      await until('the pod is deleted', () => watcher.of(pod.id).at(-1) === 'deleted pod');
      assert.deepEqual(watcher.of(pod.id), [
        'created pod',
        'started pod',
        'created container',
        'started container',
        'stopped container',
        'stopped pod',
        'deleted container',
        'deleted pod',
      ]);
      const stopped = watcher.events.find(
        ({ containerId, containerEventType: type }) => containerId === id && type === 2,
      );
      assert.equal(stopped?.podSandboxStatus?.metadata?.uid, pod.config.metadata?.uid);
      assert.match(stopped?.podSandboxStatus?.network?.ip ?? '', /^10\.211\.0\./);
      assert.deepEqual(
        stopped?.containersStatuses.map((status) => [status.id, status.exitCode, status.reason]),
        [[id, 3, 'Error']],
      );
      assert.ok(watcher.events.every(({ podSandboxStatus: status }) => status?.metadata !== undefined));
      await watcher.stop();
    }
  });

  it('report the end of a running container that is removed', async () => {
    const watcher = await watch(stage);
    const pod = await runPod(stage, 'removed');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    await stage.daemon.cri.runtime.removeContainer({ containerId: id });
    await removePod(stage, pod);
    await until('the pod is deleted', () => watcher.of(pod.id).at(-1) === 'deleted pod');
    assert.deepEqual(watcher.of(pod.id).slice(2), [
      'created container',
      'started container',
      'stopped container',
      'deleted container',
      'stopped pod',
      'deleted pod',
    ]);
    const stopped = watcher.events.find(
      ({ containerId, containerEventType: type }) => containerId === id && type === 2,
    );
    assert.deepEqual(
      stopped?.containersStatuses.map((status) => [status.id, status.exitCode]),
      [[id, 137]],
    );
    await watcher.stop();
  });

  it('report the end of a container that is removed while it starts', async () => {
    const watcher = await watch(stage);
    const pod = await runPod(stage, 'starting');
    const { runtime } = stage.daemon.cri;
    for (const [index, delay] of [0, 5, 10, 20].entries()) {
      const id = await createContainer(stage, pod, { name: `c${index}`, image, command: ['sleep', '600'] });
      const starting = runtime.startContainer({ containerId: id }).catch(() => undefined);
      await pause(delay);
      await runtime.removeContainer({ containerId: id });
      await starting;
    }
    await removePod(stage, pod);
    await until('the pod is deleted', () => watcher.of(pod.id).at(-1) === 'deleted pod');
    const count = (what: string): number => watcher.of(pod.id).filter((each) => each === what).length;
    assert.equal(count('deleted container'), 4);
    assert.equal(count('stopped container'), count('started container'));
    await watcher.stop();
  });

  /** Runs and removes pods of a name until the events of one are shown. */
  const shownBy = async (name: string, areShown: (id: string) => boolean): Promise<void> => {
    for (let tries = 0; ; tries += 1) {
      const pod = await runPod(stage, name);
      await removePod(stage, pod);
      for (let waited = 0; waited < 2_000 && !areShown(pod.id); waited += 50) await pause(50);
      if (areShown(pod.id)) return;
      assert.ok(tries < 30, 'the events of no pod are shown');
    }
  };

  it('crictl events shows them', { skip: crictl.skip }, async () => {
    const child = spawn(crictl.path, ['--runtime-endpoint', `unix://${stage.folders.socket}`, 'events'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
    // crictl does not say when it has subscribed.
    const types = ['CREATED', 'STARTED', 'STOPPED', 'DELETED'];
    await shownBy('shown', (id) =>
      [`"containerId": ?"${id}"`, ...types.map((type) => `"CONTAINER_${type}_EVENT"`)].every((part) =>
        new RegExp(part).test(output),
      ),
    );
    child.kill('SIGINT');
    await once(child, 'exit');
  });

  it('portcullis events shows them', async () => {
    const launcher = join(import.meta.dirname, '../../packaging/bin/portcullis');
    const args = ['events', '--socket', stage.folders.socket, '--filter', 'pod=watched', '--output', 'json'];
    const child = spawn(launcher, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
    const lines = () =>
      output
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { type: string; pod: string; id: string });
    // It does not say when it has subscribed.
    await shownBy('watched', (id) => lines().some((line) => line.id === id && line.type === 'deleted'));
    const [other, pod] = [await runPod(stage, 'unwatched'), await runPod(stage, 'watched')];
    await removePod(stage, other);
    await removePod(stage, pod);
    const of = (id: string) => lines().filter((line) => line.id === id);
    await until('it shows the deletion', () => of(pod.id).at(-1)?.type === 'deleted');
    child.kill('SIGINT');
    await once(child, 'exit');
    assert.deepEqual(
      of(pod.id).map(({ type, pod: name }) => `${type} ${name}`),
      ['created watched', 'started watched', 'stopped watched', 'deleted watched'],
    );
    assert.ok(lines().every((line) => line.pod === 'watched'));
  });

  it('an exit while the daemon was down appears in the list of containers, but not in the events', async () => {
    const pod = await runPod(stage, 'asleep');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '1'] });
    await stage.restart({ meanwhile: () => pause(2000) });
    const watcher = await watch(stage);
    assert.equal((await exitOf(stage, id)).exitCode, 0);
    await removePod(stage, pod);
    await until('the pod is deleted', () => watcher.of(pod.id).at(-1) === 'deleted pod');
    assert.deepEqual(watcher.of(pod.id), ['stopped pod', 'deleted container', 'deleted pod']);
    await watcher.stop();
  });

  it('a client that does not read delays no other client, costs no memory, and receives what it missed', async () => {
    const fast = await watch(stage);
    const slow = await neverReading(stage);
    // A quarter of a megabyte each: the queue of the slow client is full after about ten pods.
    const annotations = { note: 'x'.repeat(250_000) };
    const noise = async (pods: number): Promise<number> => {
      const seen = fast.events.length;
      for (let index = 0; index < pods; index += 1)
        await removePod(stage, await runPod(stage, `noise-${index}`, { annotations }));
      await until('the fast client has received all events', () => fast.events.length === seen + pods * 4);
      return stage.daemon.usage().residentMiB;
    };
    const warm = await noise(40);
    await noise(100);
    // Garbage from a busy moment is collected a little later.
    await until(
      'the daemon keeps less than half of the 100 MB in memory that one client did not read',
      () => stage.daemon.usage().residentMiB < warm + 50,
    );
    const { status, message } = await slow.readOn();
    assert.equal(status, '15', 'DATA_LOSS');
    assert.match(message, /missed \d+ events.*\[RUNTIME_EVENTS_LOST\]/);
    await fast.stop();
  });

  it('a daemon that stops ends the streams at once', async () => {
    const watcher = await watch(stage);
    await stage.restart();
    assert.match(String(await watcher.end), /RUNTIME_EVENTS_CLOSED/);
  });

  it('streaming lists return the same items as the unary lists, and an empty one ends without error', async () => {
    const pods = await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        runPod(stage, `listed-${index}`, { labels: { set: 'listed' } }),
      ),
    );
    const [first] = pods;
    assert.ok(first);
    await runContainer(stage, first, { image });
    const { runtime, image: images } = stage.daemon.cri;
    const all = async <T, Item>(
      stream: AsyncIterable<T>,
      items: (part: T) => readonly Item[],
    ): Promise<Item[]> => {
      const found: Item[] = [];
      for await (const part of stream) {
        assert.ok(items(part).length > 0);
        found.push(...items(part));
      }
      return found;
    };
    for (const filter of [
      {},
      { labelSelector: { set: 'listed' } },
      { labelSelector: { set: 'nothing' } },
      { id: first.id.slice(0, 12) },
    ]) {
      assert.deepEqual(
        await all(runtime.streamPodSandboxes({ filter }), (part) => part.podSandboxes),
        (await runtime.listPodSandbox({ filter })).items,
      );
    }
    for (const filter of [{}, { podSandboxId: first.id }, { podSandboxId: 'f'.repeat(64) }]) {
      assert.deepEqual(
        await all(runtime.streamContainers({ filter }), (part) => part.containers),
        (await runtime.listContainers({ filter })).containers,
      );
    }
    for (const filter of [{}, { image: { image: 'good.test/none:1' } }]) {
      assert.deepEqual(
        await all(images.streamImages({ filter }), (part) => part.images),
        (await images.listImages({ filter })).images,
      );
    }
    assert.equal(
      (await runtime.listPodSandbox({ filter: { labelSelector: podConfig(stage, 'x').labels ?? {} } })).items
        .length,
      5,
    );
    await Promise.all(pods.map((pod) => removePod(stage, pod)));
  });
});
