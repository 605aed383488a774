import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState } from '../../runtime/client.ts';
import { patience } from '../fixtures/daemon.ts';
import { uniqueLayer } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  exitOf,
  expectServing,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy, policyOf } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const tightened = plainPolicy.replace('good.test/**', 'other.test/**');
const command = ['sleep', '600'];
const configs = mkdtempSync(join(tmpdir(), 'pc-redecision-'));
process.once('exit', () => rmSync(configs, { recursive: true }));

function configFile(act: string, more = ''): string {
  const file = join(configs, `${act}.yaml`);
  writeFileSync(file, `verdicts: { outOfPolicy: ${act} }\n${more}`);
  return file;
}

const port = 30_000 + (process.pid % 20_000);

interface OutOfPolicy {
  readonly outcome: string;
  readonly rule: string;
  readonly reasons: readonly string[];
}

/** Returns the verbose status once `wanted` is true of it. */
async function outOfPolicy(
  stage: Stage,
  containerId: string,
  wanted: boolean,
): Promise<OutOfPolicy | undefined> {
  for (const until = performance.now() + patience; performance.now() < until; await pause(50)) {
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    const reported = info['outOfPolicy'];
    if ((reported !== undefined) === wanted)
      return reported === undefined ? undefined : (JSON.parse(reported) as OutOfPolicy);
  }
  return assert.fail(`the container did not become ${wanted ? 'out of policy' : 'in policy again'}`);
}

async function metric(name: string): Promise<string> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(name))
    .join('\n');
}

/** Reads a metric until its lines match, because images are decided after the containers that run. */
async function metricMatching(name: string, wanted: RegExp): Promise<void> {
  let lines = await metric(name);
  for (const until = performance.now() + patience; performance.now() < until && !wanted.test(lines);) {
    await pause(50);
    lines = await metric(name);
  }
  assert.match(lines, wanted);
}

/** Returns the number of connections to a socket in this network namespace. */
function connectionsTo(socket: string): number {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(socket) && line.split(/\s+/)[5] === '03').length;
}

/** Runs `portcullis events` until it has printed `count` lines of this type. */
async function eventsOf(
  stage: Stage,
  type: string,
  act: () => Promise<void>,
): Promise<readonly Record<string, string>[]> {
  const program = join(import.meta.dirname, '../../packaging/bin/portcullis');
  const before = connectionsTo(stage.folders.socket);
  const child = spawn(
    program,
    ['events', '--socket', stage.folders.socket, '--output', 'json', '--filter', `type=${type}`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  try {
    // Waits for the subscription. Nothing reports it, but the connection exists before.
    for (
      const until = performance.now() + patience;
      performance.now() < until && connectionsTo(stage.folders.socket) <= before;
    )
      await pause(50);
    await pause(3000);
    await act();
    for (const until = performance.now() + patience; performance.now() < until && !text.includes('\n');)
      await pause(50);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, string>);
  } finally {
    child.kill();
  }
}

describe('re-decision', () => {
  let stage: Stage;
  let reference = '';
  before(async () => {
    stage = await openStage({
      flags: ['--config', configFile('report', `metrics: { address: "127.0.0.1:${port}" }\n`)],
    });
    ({ reference } = await stage.publish('app/a:1'));
  });
  // A test that fails with the tighter policy in force does not make the next one fail.
  beforeEach(async () => {
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
  });
  after(() => stage.close());

  it('reports a running container that a tighter policy no longer admits, and when it is in policy again', async () => {
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'report');
    const id = await runContainer(stage, pod, { image, reference, command });
    const events = await eventsOf(stage, 'out-of-policy', async () => {
      stage.writePolicy(tightened);
      await stage.daemon.reload();
    });
    assert.deepEqual(
      events.map(({ id: of, container, namespace, pod: name }) => [of, container, namespace, name]),
      [[id, 'main', 'shop', 'report']],
    );
    const reported = await outOfPolicy(stage, id, true);
    assert.equal(reported?.outcome, 'deny');
    assert.ok(reported.reasons.some((line) => line.includes('no rule')));
    assert.match(await metric('portcullis_containers_out_of_policy'), /\{namespace="shop",rule=""\} 1/);
    await metricMatching('portcullis_images_out_of_policy', / 1$/);
    await stage.daemon.logged(/a running container is out of policy/);
    // Only reported: the container continues, and new ones are denied.
    assert.equal((await execute(stage, id, 'echo', 'on')).stdout, 'on\n');
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image, reference, name: 'second' }))).code,
      'IMAGES_DENIED',
    );

    // A failed reload changes nothing, and admits nothing.
    stage.writePolicy('rules: [');
    await stage.daemon.reload();
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image, reference, name: 'third' }))).code,
      'IMAGES_DENIED',
    );
    assert.notEqual(await outOfPolicy(stage, id, true), undefined);

    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    await outOfPolicy(stage, id, false);
    assert.equal(await metric('portcullis_containers_out_of_policy{'), '');
    await removePod(stage, pod);
  });

  it('reports it after a restart, and also for a container whose image was removed', async () => {
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'restarted');
    const id = await runContainer(stage, pod, { image, reference, command });
    await stage.daemon.cri.image.removeImage({ image: { image } });
    await stage.restart({ meanwhile: () => Promise.resolve(stage.writePolicy(tightened)) });
    await outOfPolicy(stage, id, true);
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    await outOfPolicy(stage, id, false);
    await removePod(stage, pod);
  });

  it('judges a removed image of a volume by the evidence with which it was admitted', async () => {
    const image = await stage.pull(reference);
    const volume = await stage.publish('data/b:1', { layers: [await uniqueLayer()] });
    const data = await stage.pull(volume.reference);
    const pod = await runPod(stage, 'with-volume');
    const mounts = [{ containerPath: '/data', image: { image: data }, readonly: true }];
    const id = await runContainer(stage, pod, { image, reference, command, more: { mounts } });
    await stage.daemon.cri.image.removeImage({ image: { image: data } });
    stage.writePolicy(plainPolicy.replace('good.test/**', 'good.test/app/**'));
    await stage.daemon.reload();
    assert.equal((await outOfPolicy(stage, id, true))?.outcome, 'deny');
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    await outOfPolicy(stage, id, false);
    await removePod(stage, pod);
  });
});

describe('re-decision that stops', () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage({ flags: ['--config', configFile('stop')] });
  });
  after(() => stage.close());

  it('gracefully stops containers that the policy now denies, and no others', async () => {
    const { reference } = await stage.publish('app/a:1');
    const { reference: other } = await stage.publish('other/b:1');
    const [image, otherImage] = [await stage.pull(reference), await stage.pull(other)];
    const pod = await runPod(stage, 'stopped');
    const trap = ['sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.1; done'];
    const id = await runContainer(stage, pod, { image, reference, command: trap });
    const otherId = await runContainer(stage, pod, {
      image: otherImage,
      reference: other,
      name: 'other',
      command,
    });
    stage.writePolicy(plainPolicy.replace('good.test/**', 'good.test/other/**'));
    await stage.daemon.reload();
    assert.equal((await exitOf(stage, id)).exitCode, 7);
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: otherId });
    assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
    await expectServing(stage, otherImage);
    await removePod(stage, pod);
  });
});

describe('names and namespaces', () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage({
      policy: policyOf(
        '  - images: ["good.test/**"]\n    namespaces: ["team-a"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n',
      ),
    });
  });
  after(() => stage.close());
  const inNamespace = (name: string, namespace: string) =>
    runPod(stage, name, { metadata: { name, uid: `${name}-uid`, namespace, attempt: 0 } });

  it('an admission for namespace A does not count for namespace B, whatever name the image is requested by', async () => {
    const { reference, image: pushed } = await stage.publish('app/shared:1');
    const image = await stage.pull(reference, 'team-a');
    const [a, b] = [await inNamespace('a', 'team-a'), await inNamespace('b', 'team-b')];
    await runContainer(stage, a, { image, reference, command });
    const digest = `good.test/app/shared@${pushed.manifestDigest}`;
    for (const [index, name] of [reference, digest, undefined, pushed.configDigest].entries()) {
      const asked = { image, name: `c${index}`, ...(name !== undefined && { reference: name }) };
      assert.equal((await failureOf(createContainer(stage, b, asked))).code, 'IMAGES_DENIED', String(name));
    }
    // Found by a name of the image instead of its id.
    assert.equal(
      (await failureOf(createContainer(stage, b, { image: reference, name: 'by-name' }))).code,
      'IMAGES_DENIED',
    );
    assert.equal((await failureOf(stage.pull(reference, 'team-b'))).code, 'IMAGES_DENIED');
    // The admission of A is still in force, and the refusal of B does not apply to A.
    await createContainer(stage, a, { image, reference, name: 'again', command });
    await Promise.all([removePod(stage, a), removePod(stage, b)]);
  });

  it('a moved tag does not change which image runs', async () => {
    const { reference, image: first } = await stage.publish('app/moved:1', {});
    const image = await stage.pull(reference, 'team-a');
    const pod = await inNamespace('moved', 'team-a');
    // The tag moves at the registry to an unsigned image between pull and create.
    const { image: second } = await stage.publish(
      'app/moved:1',
      { config: { Env: ['MOVED=1'] } },
      { sign: false },
    );
    assert.notEqual(first.manifestDigest, second.manifestDigest);
    const id = await runContainer(stage, pod, { image, reference, command });
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.imageId, first.configDigest);
    assert.equal((await failureOf(stage.pull(reference, 'team-a'))).code, 'IMAGES_DENIED');
    await createContainer(stage, pod, { image, reference, name: 'after', command });
    // Now it is signed: a pull gets the new image, and the name no longer refers to the old one.
    await stage.sign('app/moved', second.manifestDigest);
    const moved = await stage.pull(reference, 'team-a');
    assert.notEqual(moved, image);
    const refused = await failureOf(
      createContainer(stage, pod, { image: first.configDigest, reference, name: 'old' }),
    );
    assert.equal(refused.code, 'IMAGES_NAME_NOT_RECORDED');
    assert.equal(
      (await stage.daemon.cri.runtime.containerStatus({ containerId: id })).status?.imageId,
      first.configDigest,
    );
    await removePod(stage, pod);
  });
});
