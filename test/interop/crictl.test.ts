import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const tool = findTool('crictl');
const run = promisify(execFile);

interface Listing {
  readonly items?: {
    readonly id: string;
    readonly state: string;
    readonly metadata: { readonly name: string };
  }[];
  readonly containers?: { readonly id: string; readonly state: string }[];
  readonly images?: { readonly id: string; readonly repoTags: string[] }[];
}

/** One session, as an administrator on a node types it. */
describe('crictl', { skip: tool.skip }, () => {
  let stage: Stage;
  let reference = '';
  let pod = '';
  let container = '';
  const ids = { pod: '', container: '' };
  before(async () => {
    stage = await openStage();
    ({ reference } = await stage.publish('app/a:1'));
    pod = join(stage.folders.folder, 'pod.json');
    container = join(stage.folders.folder, 'container.json');
    writeFileSync(
      pod,
      JSON.stringify({
        metadata: { name: 'web', uid: 'u', namespace: podNamespace, attempt: 1 },
        hostname: 'web',
        log_directory: join(stage.logs, 'web'),
        labels: { app: 'web' },
        linux: { cgroup_parent: stage.cgroupParent },
      }),
    );
    writeFileSync(
      container,
      JSON.stringify({
        metadata: { name: 'main' },
        image: { image: reference },
        command: ['sh', '-c', 'echo it began; trap "exit 0" TERM; while :; do sleep 0.1; done'],
        log_path: 'main/0.log',
        linux: {},
      }),
    );
  });
  after(() => stage.close());

  const crictl = async (...args: string[]): Promise<string> => {
    const endpoint = `unix://${stage.folders.socket}`;
    const { stdout } = await run(
      tool.path,
      ['--runtime-endpoint', endpoint, '--image-endpoint', endpoint, '--timeout', '20s', ...args],
      {
        env: { ...process.env, HOME: stage.folders.folder },
      },
    );
    return stdout.trim();
  };
  const json = async (command: string, ...args: string[]): Promise<Listing & Record<string, unknown>> =>
    JSON.parse(await crictl(command, '--output', 'json', ...args)) as Listing & Record<string, unknown>;

  it('version, info', async () => {
    assert.match(await crictl('version'), /RuntimeName:\s+portcullis/);
    const { status } = (await json('info')) as {
      status: { conditions: { type: string; status: boolean }[] };
    } & Record<string, unknown>;
    assert.deepEqual(status.conditions.map(({ type, status: is }) => `${type} ${is}`).sort(), [
      'NetworkReady true',
      'PolicyReady true',
      'RuntimeReady true',
    ]);
  });

  it('pull, images, inspecti', async () => {
    await assert.rejects(crictl('pull', `${reference}-unknown`), /DISTRIBUTION_NOT_FOUND/);
    assert.match(await crictl('pull', '--pod-config', pod, reference), /Image is up to date/);
    const { images } = await json('images');
    assert.deepEqual(
      images?.map(({ repoTags }) => repoTags),
      [[reference]],
    );
    assert.match(await crictl('images'), /good\.test\/app\/a\s+1\s+/);
    const { status, info } = (await json('inspecti', reference)) as {
      status: { id: string };
      info: { verdictId: string };
    } & Record<string, unknown>;
    assert.equal(status.id, images?.[0]?.id);
    assert.match(info.verdictId, /^sha256:/);
  });

  it('pull of an unsigned image is refused with the reason', async () => {
    const unsigned = await stage.publish('app/unsigned:1', {}, { sign: false });
    await assert.rejects(
      crictl('pull', '--pod-config', pod, unsigned.reference),
      /SignatureValidationFailed.*IMAGES_DENIED/s,
    );
  });

  it('runp, pods, inspectp', async () => {
    ids.pod = await crictl('runp', pod);
    assert.match(ids.pod, /^[0-9a-f]{64}$/);
    const { items } = await json('pods');
    assert.deepEqual(
      items?.map(({ id, state }) => [id, state]),
      [[ids.pod, 'SANDBOX_READY']],
    );
    assert.match(await crictl('pods'), /web\s+shop/);
    const { status } = (await json('inspectp', ids.pod)) as { status: { network: { ip: string } } } & Record<
      string,
      unknown
    >;
    assert.match(status.network.ip, /^10\.211\.0\./);
  });

  it('create, start, ps, inspect', async () => {
    ids.container = await crictl('create', ids.pod, container, pod);
    assert.equal((await json('ps', '--all')).containers?.[0]?.state, 'CONTAINER_CREATED');
    assert.equal(await crictl('start', ids.container), ids.container);
    assert.deepEqual(
      (await json('ps')).containers?.map(({ id, state }) => [id, state]),
      [[ids.container, 'CONTAINER_RUNNING']],
    );
    assert.match(await crictl('ps'), /Running\s+main/);
    const { status, info } = (await json('inspect', ids.container)) as {
      status: { state: string };
      info: { pid: number };
    } & Record<string, unknown>;
    assert.equal(status.state, 'CONTAINER_RUNNING');
    assert.ok(info.pid > 1);
  });

  it('exec --sync, logs', async () => {
    assert.equal(await crictl('exec', '--sync', ids.container.slice(0, 13), 'hostname'), 'web');
    await assert.rejects(crictl('exec', '--sync', ids.container, 'sh', '-c', 'exit 3'));
    assert.equal(await crictl('logs', ids.container), 'it began');
  });

  it('update, stop, rm, stopp, rmp, rmi', async () => {
    await crictl('update', '--memory', String(64 * 2 ** 20), ids.container);
    await crictl('stop', '--timeout', '5', ids.container);
    const { status } = (await json('inspect', ids.container)) as {
      status: { state: string; exitCode: number };
    } & Record<string, unknown>;
    assert.equal(status.state, 'CONTAINER_EXITED');
    assert.equal(status.exitCode, 0);
    await crictl('rm', ids.container);
    assert.deepEqual((await json('ps', '--all')).containers, []);
    assert.match(await crictl('stopp', ids.pod), new RegExp(ids.pod));
    assert.equal((await json('pods')).items?.[0]?.state, 'SANDBOX_NOTREADY');
    assert.match(await crictl('rmp', ids.pod), new RegExp(ids.pod));
    assert.deepEqual((await json('pods')).items, []);
    assert.match(await crictl('rmi', reference), /Deleted/);
    assert.deepEqual((await json('images')).images, []);
  });
});
