import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import { PodSandboxState } from '../../runtime/client.ts';
import { execute, expectServing, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { mountsBelow, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('a damaged record', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const runtime = () => stage.daemon.cri.runtime;
  const started = async (name: string): Promise<{ readonly pod: Pod; readonly id: string }> => {
    const pod = await runPod(stage, name);
    return { pod, id: await runContainer(stage, pod, { image, command: ['sleep', '600'] }) };
  };
  /** Starts the daemon again after these changes of one of its databases, of one row each. */
  const change = (statements: readonly string[], file = 'state.db'): Promise<void> =>
    stage.restart({
      meanwhile: () => {
        const database = new DatabaseSync(join(stage.folders.root, file));
        for (const sql of statements) assert.equal(database.prepare(sql).run().changes, 1, sql);
        database.close();
        return Promise.resolve();
      },
    });
  const running = async (): Promise<string[]> =>
    (await runtime().listContainers({})).containers.map(({ id }) => id);

  const values: Readonly<Record<string, string>> = {
    'is not JSON': 'substr(record, 1, 100)',
    'is not an object': "'null'",
    'has no fields': "'{}'",
    'has no request': "json_remove(record, '$.config')",
    'has an unknown phase': "json_set(record, '$.phase', 'frozen')",
    'has no time of its start': "json_remove(record, '$.startedAt')",
    'has no first process': "json_remove(record, '$.init')",
  };
  it(`of a container that ${Object.keys(values).join(', ')}, costs this container, and the daemon serves`, async () => {
    const whole = await started('whole');
    const damaged = [];
    for (const value of Object.values(values))
      damaged.push({ value, ...(await started(`damaged-${damaged.length}`)) });
    await change(damaged.map(({ id, value }) => `UPDATE container SET record = ${value} WHERE id = '${id}'`));
    assert.deepEqual(await running(), [whole.id]);
    for (const { id } of damaged) {
      await stage.daemon.logged(new RegExp(`"container":"${id}".*the record of a container is`));
      assert.deepEqual(
        mountsBelow(stage.folders.root).filter((path) => path.includes(id)),
        [],
      );
    }
    await expectServing(stage, image);
    for (const { pod } of [whole, ...damaged]) await runtime().removePodSandbox({ podSandboxId: pod.id });
  });

  for (const handler of ['crun', 'runc'])
    it(`of a container whose state of ${handler} is damaged too leaves no process of it`, async () => {
      const pod = await runPod(stage, `damaged-${handler}`, {}, handler);
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      const { info } = await runtime().containerStatus({ containerId: id, verbose: true });
      const { pid } = JSON.parse(info['info'] ?? '{}') as { readonly pid: number };
      const folder = join(stage.folders.state, 'oci', handler, id);
      writeFileSync(join(folder, handler === 'crun' ? 'status' : 'state.json'), '{"pid');
      await change([`UPDATE container SET record = '{}' WHERE id = '${id}'`]);
      // A zombie may wait for process 1.
      assert.equal(processIdentity(pid), undefined);
      assert.equal(existsSync(folder), false);
      await runtime().removePodSandbox({ podSandboxId: pod.id });
    });

  it('of a pod costs this pod with its containers, and its name can be used again', async () => {
    const [whole, damaged, other] = [
      await started('whole'),
      await started('damaged'),
      await started('other'),
    ];
    const { id } = damaged.pod;
    await change([
      `UPDATE sandbox SET record = json_remove(record, '$.config') WHERE id = '${id}'`,
      `UPDATE sandbox SET record = json_remove(record, '$.cgroupParent') WHERE id = '${other.pod.id}'`,
    ]);
    // They are about the cgroups of all pods.
    assert.equal((await runtime().listContainerStats({})).stats.length, 1);
    assert.deepEqual(
      (await runtime().listPodSandbox({})).items.map(({ id }) => id),
      [whole.pod.id],
    );
    assert.deepEqual(await running(), [whole.id]);
    const config = damaged.pod.config;
    const { podSandboxId } = await runtime().runPodSandbox({ config });
    for (const id of [whole.pod.id, podSandboxId]) await runtime().removePodSandbox({ podSandboxId: id });
  });

  for (const [what, value] of Object.entries({ 'is cut off': 'substr(spec, 1, 50)', 'is null': "'null'" }))
    it(`of a pod’s network, which ${what}, stops this pod, and other pods keep their networks`, async () => {
      const [whole, damaged] = [await started('whole'), await started('damaged')];
      const [id, other] = [damaged.pod.id, whole.pod.id];
      await change([`UPDATE attachment SET spec = ${value} WHERE container_id = '${id}'`], 'network.db');
      const pods = (await runtime().listPodSandbox({})).items;
      assert.deepEqual(
        new Map(pods.map((pod) => [pod.id, pod.state])),
        new Map([
          [other, PodSandboxState.SANDBOX_READY],
          [id, PodSandboxState.SANDBOX_NOTREADY],
        ]),
      );
      const { stdout } = await execute(stage, whole.id, 'ip', 'address', 'show', 'eth0');
      assert.match(stdout, /10\.211\.0\./u);
      await expectServing(stage, image);
      for (const podSandboxId of [id, other]) await runtime().removePodSandbox({ podSandboxId });
    });

  for (const column of ['image.config', 'image.layers', 'dossier.json'])
    it(`of an image (${column}) costs this image, which can be pulled again`, async () => {
      const reference = 'good.test/app/a:1';
      const [table, field] = column.split('.');
      await change([`UPDATE ${table} SET ${field} = substr(${field}, 1, 40)`]);
      assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
      assert.equal(await stage.pull(reference), image);
      await stage.restart();
      assert.equal((await stage.daemon.cri.image.listImages({})).images.length, 1);
      await expectServing(stage, image);
    });
});
