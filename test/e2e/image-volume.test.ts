import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerConfig, Pod } from '../fixtures/pod.ts';
import { failureOf, mountsBelow, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

type Mount = NonNullable<ContainerConfig['mounts']>[number];

/** Only the namespace shop may mount data images. Programs have a ceiling for privileged pods. */
const policy = policyOf(`  - images: ["${registryName}/app/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged }
  - images: ["${registryName}/low/**"]
    require: { cosign: { key: k.pub } }
  - images: ["${registryName}/data/**"]
    namespaces: ["shop"]
    require: { cosign: { key: k.pub } }
`);

describe('images and declared volumes in containers', () => {
  let stage: Stage;
  let image = '';
  let low = '';
  let data = '';
  const dataReference = `${registryName}/data/site:1`;
  const kubelet = mkdtempSync(join(tmpdir(), 'pc-kubelet-'));
  before(async () => {
    const config = join(kubelet, 'config.yaml');
    writeFileSync(config, `kubeletRoot: ${kubelet}\n`);
    stage = await openStage({ policy, flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    low = await stage.pull((await stage.publish('low/a:1')).reference);
    const layers = [
      await layerOf([
        { name: 'site/', type: 'directory' },
        { name: 'site/page', body: 'below\n' },
        { name: 'site/run', mode: 0o755, body: '#!/bin/sh\necho ran\n' },
        { name: 'out', type: 'symlink', linkname: '/site' },
        { name: 'far', type: 'symlink', linkname: '../../../../../../etc' },
      ]),
      await layerOf([{ name: 'site/page', body: 'above\n' }]),
    ];
    data = await stage.pull(
      (await stage.publish('data/site:1', { base: false, layers, config: {} })).reference,
    );
  });
  after(async () => {
    await stage.close();
    rmSync(kubelet, { recursive: true, force: true });
  });

  const volume = (part: Partial<Mount> = {}): Mount => ({
    containerPath: '/site',
    readonly: true,
    image: { image: data, userSpecifiedImage: dataReference },
    ...part,
  });
  const withMounts = (pod: Pod, mounts: Mount[], of = image): Promise<string> =>
    runContainer(stage, pod, { image: of, command: ['sleep', '600'], more: { mounts } });

  it('an image is mounted as a read-only folder without execution', async () => {
    const pod = await runPod(stage, 'volume');
    const id = await withMounts(pod, [volume()]);
    assert.equal(
      (await execute(stage, id, 'cat', '/site/site/page')).stdout,
      'above\n',
      'its layers are combined into one tree',
    );
    assert.match((await execute(stage, id, 'touch', '/site/x')).stderr, /Read-only/);
    assert.match((await execute(stage, id, 'sh', '-c', '/site/site/run')).stderr, /denied/);
    const options = (await execute(stage, id, 'grep', ' /site ', '/proc/mounts')).stdout;
    for (const option of ['ro', 'noexec', 'nosuid', 'nodev'])
      assert.match(options, new RegExp(`[ ,]${option}[ ,]`));
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.mounts[0]?.image?.image, data, 'the status names the image');
    assert.match(
      status.mounts[0]?.image?.imageRef ?? '',
      /^good\.test\/data\/site@sha256:/,
      'and its digest',
    );

    await stage.daemon.cri.image.removeImage({ image: { image: data } });
    assert.equal(
      (await execute(stage, id, 'cat', '/site/site/page')).stdout,
      'above\n',
      'a removed image stays while it is mounted',
    );
    await removePod(stage, pod);
    assert.deepEqual(mountsBelow(join(stage.folders.root, 'images/volumes')), []);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/volumes')), []);
    data = await stage.pull(dataReference);
  });

  it('a sub-path mounts that folder, resolved inside the image', async () => {
    const pod = await runPod(stage, 'sub-path');
    const id = await withMounts(pod, [
      volume({ imageSubPath: 'site' }),
      volume({ containerPath: '/linked', imageSubPath: 'out' }),
    ]);
    assert.equal((await execute(stage, id, 'cat', '/site/page', '/linked/page')).stdout, 'above\nabove\n');
    for (const imageSubPath of ['missing', 'far', '../etc', '/site', 'site/../../x']) {
      const ask = { name: 'bad', image, more: { mounts: [volume({ imageSubPath })] } };
      const failure = await failureOf(createContainer(stage, pod, ask));
      assert.match(failure.message, /^ImageVolumeMountFailed: /, imageSubPath);
      assert.match(failure.message, /sub path/);
    }
    await removePod(stage, pod);
  });

  it('many volumes with one image cost the host one mount for each container', async () => {
    const pod = await runPod(stage, 'many');
    const mounts = Array.from({ length: 300 }, (_, index) => volume({ containerPath: `/volumes/${index}` }));
    const id = await withMounts(pod, [...mounts, volume({ imageSubPath: 'site' })]);
    assert.equal(mountsBelow(join(stage.folders.root, 'images/volumes')).length, 1);
    assert.equal((await execute(stage, id, 'cat', '/volumes/299/site/page')).stdout, 'above\n');
    assert.equal((await execute(stage, id, 'cat', '/site/page')).stdout, 'above\n');
    await removePod(stage, pod);
    assert.deepEqual(mountsBelow(join(stage.folders.root, 'images/volumes')), []);
  });

  it('an image that is not admitted for the namespace is refused for every container', async () => {
    const pod = await runPod(stage, 'elsewhere', {
      metadata: { name: 'elsewhere', uid: 'u1', namespace: 'other', attempt: 0 },
    });
    const failure = await failureOf(createContainer(stage, pod, { image, more: { mounts: [volume()] } }));
    assert.equal(failure.code, 'IMAGES_DENIED');
    assert.match(failure.message, /^ImageVolumeMountFailed: SignatureValidationFailed: /);
    const unknown = await failureOf(
      createContainer(stage, pod, {
        image,
        more: { mounts: [volume({ image: { image: 'good.test/data/none:1' } })] },
      }),
    );
    assert.equal(unknown.code, 'RUNTIME_IMAGE_VOLUME');
    const both = await failureOf(
      createContainer(stage, pod, { image, more: { mounts: [volume({ hostPath: '/etc' })] } }),
    );
    assert.equal(both.kind, 'invalid');
    await removePod(stage, pod);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/volumes')), []);
  });

  it('mounts that a killed daemon left are removed with their container, and are kept while it runs', async () => {
    const pod = await runPod(stage, 'killed');
    const id = await withMounts(pod, [volume()]);
    await stage.restart({ kill: true });
    assert.equal((await execute(stage, id, 'cat', '/site/site/page')).stdout, 'above\n');
    await stage.restart({
      kill: true,
      meanwhile: () => {
        mkdirSync(join(stage.folders.root, 'images/volumes', 'f'.repeat(64), '0/tree'), { recursive: true });
        return Promise.resolve();
      },
    });
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/volumes')), [id]);
    await removePod(stage, pod);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/volumes')), []);
  });

  for (const runtimeHandler of ['crun', 'runc']) {
    it(`volumes that an image declares are writable in a read-only root, and contain the files of the image (${runtimeHandler})`, async () => {
      const layer = await layerOf([
        { name: 'var/', type: 'directory' },
        { name: 'var/data/', type: 'directory', mode: 0o700, uid: 1000, gid: 1000 },
        { name: 'var/data/seed', body: 'seed\n', uid: 1000, gid: 1000 },
        { name: 'link', type: 'symlink', linkname: '../../../../tmp' },
      ]);
      const Volumes = {
        '/var/data': {},
        '/new/deep': {},
        '/../../link/of-the-host': {},
        '/proc': {},
        '/': {},
        '/dev/shm/x': {},
      };
      const { reference } = await stage.publish(`app/declares-${runtimeHandler}:1`, {
        layers: [layer],
        config: { Volumes, User: '1000' },
      });
      const declaring = await stage.pull(reference);
      const pod = await runPod(stage, `declared-${runtimeHandler}`, {}, runtimeHandler);
      const id = await runContainer(stage, pod, {
        image: declaring,
        security: { readonlyRootfs: true },
        command: ['sleep', '600'],
      });
      assert.equal((await execute(stage, id, 'cat', '/var/data/seed')).stdout, 'seed\n');
      assert.equal((await execute(stage, id, 'touch', '/var/data/mine')).exitCode, 0);
      assert.equal((await execute(stage, id, 'stat', '-c', '%u %a', '/var/data')).stdout, '1000 700\n');
      assert.match((await execute(stage, id, 'touch', '/tmp/x')).stderr, /Read-only/);
      assert.equal((await execute(stage, id, 'ls', '-d', '/new/deep')).stdout, '/new/deep\n');
      assert.ok(!existsSync('/tmp/of-the-host'), 'nothing is created on the host');
      assert.equal(
        (await execute(stage, id, 'ls', '/tmp')).stdout,
        'of-the-host\n',
        'links are resolved inside the image',
      );
      assert.match((await execute(stage, id, 'cat', '/proc/1/comm')).stdout, /sleep/, '/proc is no volume');
      await removePod(stage, pod);
      const again = await runPod(stage, `declared-again-${runtimeHandler}`, {}, runtimeHandler);
      const other = await runContainer(stage, again, { image: declaring, command: ['sleep', '600'] });
      assert.equal(
        (await execute(stage, other, 'ls', '/var/data')).stdout,
        'seed\n',
        'each container has its own volume',
      );
      await removePod(stage, again);
    });
  }

  it('a declared volume behind a dangling symlink is refused', async () => {
    const layers = [await layerOf([{ name: 'dangling', type: 'symlink', linkname: '/tmp/of-the-host' }])];
    const { reference } = await stage.publish('app/dangling:1', {
      layers,
      config: { Volumes: { '/dangling': {} } },
    });
    const pod = await runPod(stage, 'dangling');
    const failure = await failureOf(createContainer(stage, pod, { image: await stage.pull(reference) }));
    assert.equal(failure.code, 'RUNTIME_BAD_IMAGE_VOLUME');
    assert.ok(!existsSync('/tmp/of-the-host'));
    await removePod(stage, pod);
  });

  it('a path of the host needs a ceiling that grants it; the kubelet’s folders for the pod do not', async () => {
    const own = join(kubelet, 'pods', 'uid-1', 'volumes', 'empty');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'file'), 'own\n');
    symlinkSync('/etc', join(own, 'out'));
    const pod = await runPod(stage, 'host-path', {
      metadata: { name: 'host-path', uid: 'uid-1', namespace: 'shop', attempt: 0 },
    });
    const mounts = [{ containerPath: '/m', hostPath: own, readonly: true, mountOptions: ['noexec'] }];
    const id = await withMounts(pod, mounts, low);
    assert.equal((await execute(stage, id, 'cat', '/m/file')).stdout, 'own\n');
    assert.match((await execute(stage, id, 'grep', ' /m ', '/proc/mounts')).stdout, /noexec/);
    for (const hostPath of [
      '/etc',
      join(own, 'out'),
      join(kubelet, 'pods', 'uid-2', 'x'),
      join(kubelet, 'pods', 'uid-1'),
    ]) {
      const ask = { name: 'other', image: low, more: { mounts: [{ containerPath: '/m', hostPath }] } };
      const failure = await failureOf(createContainer(stage, pod, ask));
      assert.equal(failure.code, 'RUNTIME_HOST_PATH_NOT_GRANTED', hostPath);
      assert.equal(failure.kind, 'denied');
      assert.match(failure.message, /ceiling baseline/);
    }
    const made = join(kubelet, 'pods', 'uid-1', 'volumes', 'made');
    for (const part of [
      { containerPath: '/a/../..' },
      { containerPath: 'relative' },
      { mountOptions: ['suid'] },
    ]) {
      const ask = {
        name: 'bad',
        image: low,
        more: { mounts: [{ containerPath: '/m', hostPath: made, ...part }] },
      };
      assert.equal((await failureOf(createContainer(stage, pod, ask))).code, 'RUNTIME_BAD_MOUNT');
    }
    for (const path of [made, join(kubelet, 'pods', 'uid-2')])
      assert.ok(!existsSync(path), 'nothing is created for a mount that is refused');
    await removePod(stage, pod);
  });
});
