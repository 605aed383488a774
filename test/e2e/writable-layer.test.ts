import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-quota-'));
const disk = join(folder, 'disk');

/**
 * The folders of the stage are on a file system with project quotas, if this kernel can mount one (as in
 * test/vm/run).
 */
function withQuotas(): boolean {
  const image = join(folder, 'image');
  writeFileSync(image, '');
  truncateSync(image, 512 * 1024 * 1024);
  mkdirSync(disk);
  try {
    execFileSync('mkfs.ext4', ['-q', '-O', 'project,quota', '-E', 'quotatype=prjquota', image], {
      stdio: 'pipe',
    });
    execFileSync('mount', ['-o', 'loop,prjquota', image, disk], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

describe('the writable layer', () => {
  const limited = withQuotas();
  const elsewhere = process.env['TMPDIR'];
  let stage: Stage;
  let image = '';
  before(async () => {
    const config = join(folder, 'config.yaml');
    writeFileSync(config, 'writableLayer: { size: 8Mi }\nshm: { size: 1Mi, limit: 4Mi }\n');
    if (limited) process.env['TMPDIR'] = disk;
    stage = await openStage({ flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage.close();
    if (elsewhere === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = elsewhere;
    if (limited) execFileSync('umount', [disk]);
    rmSync(folder, { recursive: true, force: true });
  });
  const annotated = (name: string, annotations: Record<string, string>): Promise<Pod> =>
    runPod(stage, name, { annotations });
  const write = async (id: string, MiB: number): Promise<string> =>
    (await execute(stage, id, 'dd', 'if=/dev/zero', 'of=/big', 'bs=1M', `count=${MiB}`)).stderr;

  it('is reported as limited if the limit is enforced', async () => {
    const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
    const config = JSON.parse(info['config'] ?? '{}') as {
      writableLayer: { size: string; enforced: boolean };
    };
    assert.deepEqual(config.writableLayer, { size: '8Mi', enforced: limited });
  });

  it(
    'has the configured limit, and lower limits that a pod requests',
    { skip: limited ? false : 'no project quotas on this kernel' },
    async () => {
      for (const [name, annotations, fits, exceeds] of [
        ['configured', {}, 6, 10],
        ['less', { 'portcullis.dev/rootfs-size': '2Mi' }, 1, 3],
        [
          'of-a-container',
          { 'portcullis.dev/rootfs-size': '2Mi', 'portcullis.dev/rootfs-size.main': '4Mi' },
          3,
          5,
        ],
        ['more', { 'portcullis.dev/rootfs-size': '1Gi' }, 6, 10],
      ] as const) {
        const pod = await annotated(name, annotations);
        const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        assert.doesNotMatch(await write(id, fits), /quota/i, name);
        assert.match(await write(id, exceeds), /quota exceeded/i, name);
        // Copying up a file of the image to the writable layer does not cross project quotas.
        assert.equal(
          (
            await execute(
              stage,
              id,
              'sh',
              '-c',
              'rm /big; echo more >> /etc/passwd; mv /www /web; rm -r /web',
            )
          ).exitCode,
          0,
          name,
        );
        await removePod(stage, pod);
      }
    },
  );

  it(
    'a limit that the kernel cannot enforce is refused if a pod requests it',
    { skip: limited && 'this kernel enforces it' },
    async () => {
      const pod = await annotated('unheld', { 'portcullis.dev/rootfs-size': '2Mi' });
      const failure = await failureOf(createContainer(stage, pod, { image }));
      assert.equal(failure.code, 'IMAGES_NO_QUOTA');
      assert.equal(failure.kind, 'precondition');
      await removePod(stage, pod);
      const plain = await annotated('configured', {});
      await runContainer(stage, plain, { image, command: ['sleep', '600'] });
      await removePod(stage, plain);
    },
  );

  it('invalid sizes are refused, and the error names them', async () => {
    for (const [name, size] of [
      ['word', 'large'],
      ['negative', '-1Mi'],
      ['tiny', '1'],
    ] as const) {
      const pod = await annotated(name, { 'portcullis.dev/rootfs-size': size });
      assert.equal((await failureOf(createContainer(stage, pod, { image }))).code, 'RUNTIME_BAD_SIZE', size);
      await removePod(stage, pod);
    }
    for (const size of ['5Mi', '0', 'x']) {
      const failure = await failureOf(annotated('shm', { 'portcullis.dev/shm-size': size }));
      assert.equal(failure.code, 'RUNTIME_BAD_SHM_SIZE', size);
    }
  });

  it('/dev/shm is as large as configured, or as the pod requests', async () => {
    for (const [name, annotations, kilobytes] of [
      ['standard', {}, 1024],
      ['asked', { 'portcullis.dev/shm-size': '3Mi' }, 3072],
    ] as const) {
      const pod = await annotated(`shm-${name}`, annotations);
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      assert.match((await execute(stage, id, 'df', '-k', '/dev/shm')).stdout, new RegExp(` ${kilobytes} `));
      await removePod(stage, pod);
    }
  });
});
