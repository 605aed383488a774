import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { artifactType, publishArtifact } from '../fixtures/artifact.ts';
import { layerOf, sha256, uniqueLayer } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { ContainerConfig } from '../fixtures/pod.ts';
import { startTamperingProxy } from '../fixtures/proxy.ts';
import type { TamperingProxy } from '../fixtures/proxy.ts';
import { failureOf, openStage, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

type Mount = NonNullable<ContainerConfig['mounts']>[number];

/** The bytes and inodes that du(1) counts below folders. */
function used(...folders: readonly string[]): { readonly bytes: number; readonly inodes: number } {
  const sum = (...options: string[]): number =>
    Number(
      /^(\d+)\ttotal$/m.exec(execFileSync('du', ['-cs', ...options, ...folders], { encoding: 'utf8' }))?.[1],
    );
  return { bytes: sum('--block-size=1'), inodes: sum('--inodes') };
}

function assertClose(actual: number, expected: number, part: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= expected * part,
    `${what}: ${String(actual)}, and du counts ${String(expected)}`,
  );
}

describe('the image service, as a kubelet uses it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-images-'));
  const configFile = join(folder, 'config.yaml');
  let stage: Stage;
  let proxy: TamperingProxy;
  let app = '';
  before(async () => {
    writeFileSync(configFile, `images:\n  pinned: ["${registryName}/pinned/*"]\n  maxParallelPulls: 8\n`);
    stage = await openStage({
      flags: ['--config', configFile],
      prepare: async (registry) => {
        proxy = await startTamperingProxy(registry.host);
        return { [registryName]: proxy.url };
      },
    });
    app = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage.close();
    await proxy.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const cri = () => stage.daemon.cri.image;
  const statusOf = async (image: string) => (await cri().imageStatus({ image: { image } })).image;
  const artifactMount = (image: string, reference: string, part: Partial<Mount> = {}): Mount => ({
    containerPath: '/model',
    readonly: true,
    image: { image, userSpecifiedImage: reference },
    ...part,
  });

  it('the files of an artifact are mounted as an image volume: read-only, without execution', async () => {
    const reference = await publishArtifact(stage, 'data/model', {
      'weights/model.bin': 'weights\n',
      run: '#!/bin/sh\n',
    });
    const ref = await stage.pull(reference);
    const pod = await runPod(stage, 'artifact');
    const mounts = [
      artifactMount(ref, reference),
      artifactMount(ref, reference, { containerPath: '/one', imageSubPath: 'weights' }),
      artifactMount(ref, reference, { containerPath: '/file', imageSubPath: 'weights/model.bin' }),
    ];
    const id = await runContainer(stage, pod, { image: app, command: ['sleep', '600'], more: { mounts } });
    assert.equal(
      (await execute(stage, id, 'cat', '/model/weights/model.bin', '/one/model.bin', '/file')).stdout,
      'weights\n'.repeat(3),
    );
    assert.match((await execute(stage, id, 'touch', '/model/x')).stderr, /Read-only/);
    assert.notEqual((await execute(stage, id, 'sh', '-c', '/model/run')).exitCode, 0);
    await cri().removeImage({ image: { image: ref } });
    assert.equal(
      (await execute(stage, id, 'cat', '/file')).stdout,
      'weights\n',
      'it stays while it is mounted',
    );
    await removePod(stage, pod);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/volumes')), []);
  });

  it('the files of an artifact belong to root in a pod with a user namespace', async () => {
    const reference = await publishArtifact(stage, 'data/mapped', { file: 'mapped\n' });
    const ref = await stage.pull(reference);
    const range = { containerId: 0, hostId: 1_000_000, length: 65_536 };
    const userns = { mode: 0 as const, uids: [range], gids: [range] };
    const options = { ...namespaceOptions, usernsOptions: userns };
    const pod = await runPod(stage, 'mapped', { linux: { securityContext: { namespaceOptions: options } } });
    const mounts = [artifactMount(ref, reference)];
    const security = { namespaceOptions: options };
    const id = await runContainer(stage, pod, {
      image: app,
      command: ['sleep', '600'],
      security,
      more: { mounts },
    });
    assert.equal((await execute(stage, id, 'stat', '-c', '%u %a', '/model/file')).stdout, '0 444\n');
    await removePod(stage, pod);
  });

  it('an artifact cannot run as the image of a container', async () => {
    const reference = await publishArtifact(stage, 'data/norun', { file: 'x' });
    const ref = await stage.pull(reference);
    const pod = await runPod(stage, 'norun');
    const failure = await failureOf(createContainer(stage, pod, { image: ref }));
    assert.equal(failure.code, 'RUNTIME_IMAGE_IS_ARTIFACT');
    assert.ok(failure.message.includes(artifactType));
    await removePod(stage, pod);
  });

  it('an artifact that the policy does not admit is not stored', async () => {
    const reference = await publishArtifact(stage, 'data/unsigned', { a: 'unsigned' }, { sign: false });
    assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_DENIED');
    assert.equal(await statusOf(reference), undefined);
  });

  it('PullImage, ImageStatus and ListImages return the same id, for images and artifacts', async () => {
    const { reference, image } = await stage.publish('app/same:1');
    const artifact = await publishArtifact(stage, 'data/same', { file: 'same' });
    for (const each of [reference, `${registryName}/app/same@${image.manifestDigest}`, artifact]) {
      const ref = await stage.pull(each);
      assert.equal(ref, await stage.pull(each), 'a second pull returns the same id');
      assert.equal((await statusOf(each))?.id, ref);
      assert.equal((await statusOf(ref))?.id, ref);
      const listed = (await cri().listImages({ filter: { image: { image: each } } })).images;
      assert.deepEqual(
        listed.map(({ id }) => id),
        [ref],
      );
    }
    assert.deepEqual((await statusOf(reference))?.repoDigests, [
      `${registryName}/app/same@${image.manifestDigest}`,
    ]);
  });

  it('pinned images are reported as pinned; the patterns are read again at SIGHUP, and an invalid file changes nothing', async () => {
    const { reference } = await stage.publish('pinned/a:1');
    await stage.pull(reference);
    assert.equal((await statusOf(reference))?.pinned, true);
    assert.equal((await statusOf(app))?.pinned, false);
    const pinned = async (): Promise<string[]> =>
      (await cri().listImages({})).images
        .filter((image) => image.pinned)
        .flatMap(({ repoTags }) => [...repoTags]);
    assert.deepEqual(await pinned(), [reference]);
    const reload = async (text: string, line: RegExp): Promise<void> => {
      const before = stage.daemon.log().length;
      writeFileSync(configFile, text);
      process.kill(stage.daemon.pid, 'SIGHUP');
      while (!line.test(stage.daemon.log().slice(before))) await sleep(20);
    };
    await reload('images: { pinned: ["*app/a*"] }\n', /pinned images were read again/);
    assert.deepEqual(await pinned(), [`${registryName}/app/a:1`]);
    await reload('images: { pinned: ["a*b"] }\n', /pinned images do not change/);
    assert.deepEqual(await pinned(), [`${registryName}/app/a:1`]);
    await reload(`images: { pinned: ["${registryName}/pinned/*"] }\n`, /pinned images were read again/);
    await cri().removeImage({ image: { image: reference } });
    assert.equal(await statusOf(reference), undefined, 'RemoveImage removes a pinned image');
  });

  it('ten pods that pull one image at once fetch each blob once', async () => {
    const { reference, image } = await stage.publish('app/ten:1', {
      layers: [await uniqueLayer(), await uniqueLayer()],
    });
    const blobs = [image.configDigest, ...image.layers.slice(1).map((layer) => sha256(layer))];
    const from = proxy.requests.length;
    const refs = await Promise.all(Array.from({ length: 10 }, () => stage.pull(reference)));
    assert.equal(new Set(refs).size, 1);
    const fetched = proxy.requests
      .slice(from)
      .filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'));
    for (const digest of blobs.slice(1))
      assert.equal(fetched.filter(({ path }) => path.includes(digest)).length, 1, digest);
  });

  it('ImageFsInfo agrees with du, also after a removal', async () => {
    const entries = Array.from({ length: 300 }, (_, index) => ({
      name: `d${index % 7}/f${index}`,
      body: randomBytes(index * 61),
    }));
    const { reference } = await stage.publish('app/figures:1', { layers: [await layerOf(entries)] });
    await stage.pull(reference);
    await stage.pull(await publishArtifact(stage, 'data/figures', { a: randomBytes(300_000), b: 'b' }));
    const check = async (): Promise<void> => {
      const { imageFilesystems, containerFilesystems } = await cri().imageFsInfo({});
      const images = join(stage.folders.root, 'images');
      // The two folders themselves exist without any image.
      const places = ['layers', 'blobs/sha256'].map((name) => join(images, name));
      const counted = used(...places.flatMap((place) => readdirSync(place).map((name) => join(place, name))));
      assertClose(imageFilesystems[0]?.usedBytes?.value ?? 0, counted.bytes, 0.01, 'bytes');
      assert.equal(imageFilesystems[0]?.inodesUsed?.value, counted.inodes);
      assert.deepEqual(containerFilesystems, []);
    };
    await check();
    await cri().removeImage({ image: { image: reference } });
    await check();
  });
});

describe('ImageFsInfo with writable layers on another file system', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-two-'));
  const rootfs = join(folder, 'root/images/rootfs');
  let stage: Stage;
  before(async () => {
    mkdirSync(rootfs, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0700', 'portcullis-test', rootfs]);
    stage = await openStage({ folder });
  });
  after(async () => {
    const { runtime } = stage.daemon.cri;
    for (const { id } of (await runtime.listPodSandbox({})).items)
      await runtime.removePodSandbox({ podSandboxId: id });
    assert.deepEqual(readdirSync(rootfs), [], 'nothing is left on the second file system');
    // The stage treats every mount below its folder as a leftover of the daemon.
    execFileSync('umount', ['--lazy', rootfs]);
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('reports both file systems, and the data that containers have written', async () => {
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'writer');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    await execute(
      stage,
      id,
      'sh',
      '-c',
      'mkdir /data; for i in 1 2 3 4 5; do head -c 100000 /dev/zero > /data/$i; done',
    );
    const { imageFilesystems, containerFilesystems } = await stage.daemon.cri.image.imageFsInfo({});
    assert.equal(imageFilesystems[0]?.fsId?.mountpoint, join(stage.folders.root, 'images'));
    assert.equal(containerFilesystems[0]?.fsId?.mountpoint, rootfs);
    const counted = used(join(rootfs, id, 'upper'));
    assertClose(containerFilesystems[0].usedBytes?.value ?? 0, counted.bytes, 0.02, 'bytes');
    assertClose(containerFilesystems[0].inodesUsed?.value ?? 0, counted.inodes, 0.1, 'inodes');
    await removePod(stage, pod);
  });
});
