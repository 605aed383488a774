import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { migrations } from '../../cni-plugins/database/migrations.ts';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { stateMigrations } from '../../runtime/database/schema.ts';
import { openDatabaseLog, verifyLog } from '../../trust/verdict-log/index.ts';
import { makeDatabase, readDump } from '../fixtures/dump-rows.ts';
import { expectServing } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * An upgraded and rebooted node: the records are from the previous release (test/fixtures/upgrade), and their
 * processes and links no longer exist.
 */
describe('a daemon on the records of the previous release, after a reboot', () => {
  let stage: Stage;
  const runtime = () => stage.daemon.cri.runtime;
  const rowsOf = (file: string, database: string): readonly string[] =>
    readDump(
      readFileSync(join(import.meta.dirname, '../fixtures/upgrade', file), 'utf8')
        .replaceAll('BOOT', '00000000-0000-4000-8000-000000000000')
        .replaceAll('/var/lib/node', stage.folders.folder),
    ).get(database) ?? assert.fail(`no database ${database}`);
  before(async () => {
    stage = await openStage();
    await stage.restart({
      meanwhile: () => {
        for (const [file, steps, rows] of [
          ['state.db', stateMigrations.slice(0, 6).map(({ sql }) => sql), rowsOf('state.sql', '6')],
          ['network.db', migrations.slice(0, 12), rowsOf('network.sql', 'daemon')],
        ] as const) {
          for (const suffix of ['', '-wal', '-shm'])
            rmSync(join(stage.folders.root, file + suffix), { force: true });
          assert.ok(Object.keys(makeDatabase(join(stage.folders.root, file), steps, rows)).length > 0);
        }
        return Promise.resolve();
      },
    });
  });
  after(() => stage.close());

  it('lists its pods as not ready, with their requested configuration', async () => {
    const { items } = await runtime().listPodSandbox({});
    assert.deepEqual(
      items
        .map(({ metadata, state, labels, annotations }) => [metadata?.name, state, labels, annotations])
        .sort(),
      [
        ['lasting', PodSandboxState.SANDBOX_NOTREADY, { app: 'web' }, { note: 'kept' }],
        ['stopped', PodSandboxState.SANDBOX_NOTREADY, {}, {}],
      ],
    );
    for (const { id } of items)
      assert.ok((await runtime().podSandboxStatus({ podSandboxId: id, verbose: true })).status);
  });

  it('reports the state of its containers', async () => {
    const { containers } = await runtime().listContainers({});
    const statuses = await Promise.all(
      containers.map(({ id }) => runtime().containerStatus({ containerId: id, verbose: true })),
    );
    assert.deepEqual(
      statuses
        .map(({ status }) => [status?.metadata?.name, status?.state, status?.exitCode, status?.reason])
        .sort(),
      [
        ['ended', ContainerState.CONTAINER_EXITED, 42, 'Error'],
        ['lives', ContainerState.CONTAINER_EXITED, 255, 'MonitorLost'],
        ['waits', ContainerState.CONTAINER_EXITED, 255, 'MonitorLost'],
      ],
    );
  });

  it('keeps the verdict log complete', () => {
    const log = openDatabaseLog(join(stage.folders.root, 'state.db'));
    const { ok, rows, problems } = verifyLog(log);
    log.close();
    assert.deepEqual([ok, problems], [true, []]);
    assert.ok(rows >= 2);
  });

  it('pulls again, runs pods, and removes the old ones', async () => {
    const { reference } = await stage.publish('app/a:1');
    await expectServing(stage, await stage.pull(reference));
    const { items } = await runtime().listPodSandbox({});
    for (const { id } of items) await runtime().removePodSandbox({ podSandboxId: id });
    assert.deepEqual(
      [(await runtime().listPodSandbox({})).items, (await runtime().listContainers({})).containers],
      [[], []],
    );
  });
});
