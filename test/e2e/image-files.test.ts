import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { attestImage } from '../../trust/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { createContainer, expectServing, removePod, runPod } from '../fixtures/pod.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { openStage, plainPolicy, podNamespace, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Images between registries, files and the store of a daemon, by the commands of users. */
describe('images in files and in the store', () => {
  let stage: Stage;
  let second: TestRegistry;
  let client: ReturnType<typeof createRegistryClient>;
  before(async () => {
    stage = await openStage({ policy: plainPolicy });
    second = await startRegistry();
    client = createRegistryClient({ tagSettleMs: 0 });
  });
  after(async () => {
    await client.close();
    await second.close();
    await stage.close();
  });

  const mirror = (): string[] => ['--registry-mirror', `${registryName}=${stage.registry.url}`];
  const admin = (): string[] => ['--admin-socket', join(stage.folders.state, 'admin.sock')];
  const place = (name: string): string => join(stage.folders.folder, name);
  const inSecond = (name: string): RegistryRepository =>
    client.repositories({ registry: second.host, repository: name })[0] ?? assert.fail();
  async function succeeds(...words: string[]): Promise<Ended> {
    const ended = await portcullis(words);
    assert.equal(ended.code, 0, ended.output);
    return ended;
  }
  const json = async (...words: string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await succeeds(...words, '--output', 'json')).stdout) as Record<string, unknown>;

  /** Publishes an image with a signature, an attestation and another artifact that refers to it. */
  async function published(name: string): Promise<string> {
    const { image } = await stage.publish(`${name}:1`);
    const repository = stage.repository(name);
    const about = { repository, digest: image.manifestDigest, key: stage.key };
    await attestImage({
      ...about,
      type: 'https://example.com/built/v1',
      predicate: { a: 1 },
      format: 'bundle',
      now: new Date(),
    });
    const { content, bytes } = await repository.manifest(image.manifestDigest);
    const note = await repository.pushBlob(Buffer.from(`a note about ${name}`));
    const empty = await repository.pushBlob(Buffer.from('{}'));
    const artifact = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: 'application/vnd.example.note',
      config: { ...empty, mediaType: 'application/vnd.oci.empty.v1+json' },
      layers: [{ ...note, mediaType: 'text/plain' }],
      subject: { mediaType: content.mediaType, digest: image.manifestDigest, size: bytes.length },
    };
    await repository.pushReferrer(Buffer.from(JSON.stringify(artifact)), mediaTypes.ociManifest);
    return image.manifestDigest;
  }
  const referrersOf = async (repository: RegistryRepository, digest: string): Promise<string[]> =>
    (await repository.referrers(digest)).descriptors
      .map((one) => `${one.artifactType ?? ''} ${one.digest}`)
      .sort();

  it('an export that is pushed to another registry has equal digests, with artifacts and referrers', async () => {
    const digest = await published('carried');
    const file = place('carried.tar');
    const exported = await json('images', 'export', `${registryName}/carried:1`, file, ...mirror());
    assert.deepEqual([exported['digest'], exported['evidence']], [digest, 3]);
    await succeeds('images', 'push', file, `${second.host}/copy/carried:2`);
    const there = inSecond('copy/carried');
    assert.equal((await there.manifest('2')).digest, digest);
    assert.deepEqual(
      await referrersOf(there, digest),
      await referrersOf(stage.repository('carried'), digest),
    );
    // An archive is not overwritten, and the same image gives the same archive.
    assert.equal(
      (await portcullis(['images', 'export', `${registryName}/carried:1`, file, ...mirror()])).code,
      2,
    );
    await succeeds('images', 'export', `${registryName}/carried:1`, `${file}.2`, ...mirror());
    assert.deepEqual(readFileSync(`${file}.2`), readFileSync(file));
    // A folder is a layout as well.
    const folder = place('layout');
    execFileSync('mkdir', [folder]);
    execFileSync('tar', ['-xf', file, '-C', folder]);
    await succeeds('images', 'push', folder, `${second.host}/copy/folder:1`);
    assert.equal((await inSecond('copy/folder').manifest('1')).digest, digest);
  });

  it('an import is admitted by the signatures of the archive, and refused without them', async () => {
    const digest = await published('imported');
    const file = place('imported.tar');
    await succeeds('images', 'export', `${registryName}/imported:1`, file, ...mirror());
    const imported = await json(
      'images',
      'import',
      file,
      `${registryName}/elsewhere:9`,
      '--namespace',
      podNamespace,
      ...admin(),
    );
    assert.equal(imported['digest'], digest);
    await expectServing(stage, String(imported['id']));
    await stage.publish('unsigned:1', undefined, { sign: false });
    await succeeds('images', 'export', `${registryName}/unsigned:1`, place('unsigned.tar'), ...mirror());
    const refused = await portcullis([
      'images',
      'import',
      place('unsigned.tar'),
      `${registryName}/other:1`,
      '-n',
      podNamespace,
      ...admin(),
    ]);
    assert.equal(refused.code, 1, refused.output);
    assert.match(refused.stderr, /IMAGES_DENIED/u);
  });

  it('a check finds one flipped byte, a repair removes it, and a prune removes what is not used', async () => {
    const { reference } = await stage.publish('stored:1');
    await stage.pull(reference);
    const layers = join(stage.folders.root, 'images/layers');
    assert.match((await succeeds('images', 'check', ...admin())).stdout, /all are intact/u);
    const [layer = ''] = (await layersOf(reference)).slice(-1);
    const damaged = firstFile(join(layers, layer));
    const whole = readFileSync(damaged);
    const bytes = Buffer.from(whole);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    writeFileSync(damaged, bytes);
    const found = await portcullis(['images', 'check', ...admin()]);
    assert.deepEqual([found.code, /1 damaged/u.test(found.stdout)], [1, true], found.output);
    assert.match(
      (await succeeds('images', 'repair', reference, ...admin())).stdout,
      /1 restored, 0 not restored/u,
    );
    assert.deepEqual(readFileSync(damaged), whole);
    assert.match((await succeeds('images', 'check', reference, ...admin())).stdout, /all are intact/u);
    // An image that a container uses is not removed.
    const pod = await runPod(stage, 'user');
    await createContainer(stage, pod, {
      image: (await stage.daemon.cri.image.imageStatus({ image: { image: reference } })).image?.id ?? '',
      reference,
    });
    await succeeds('images', 'prune', '--all', ...admin());
    assert.equal((await stage.daemon.cri.image.listImages({})).images.length, 1);
    await removePod(stage, pod);
    const planned = await json('images', 'prune', '--all', '--dry-run', ...admin());
    const listed = (await stage.daemon.cri.image.listImages({})).images.length;
    assert.equal((planned['removed'] as unknown[]).length, listed);
    assert.equal((await stage.daemon.cri.image.listImages({})).images.length, listed);
    await succeeds('images', 'prune', '--all', ...admin());
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
  });

  it('a removal takes two names of one image, and removes nothing if it does not know a name', async () => {
    const { reference, image } = await stage.publish('removed:1');
    const id = await stage.pull(reference);
    const remove = (...names: readonly string[]): ReturnType<typeof portcullis> =>
      portcullis(['images', 'rm', ...names, '--socket', stage.folders.socket]);
    const unknown = await remove(reference, 'good.test/none:1');
    assert.deepEqual([unknown.code, unknown.stdout], [4, '']);
    assert.match(unknown.stderr, /none:1.*CLI_NO_SUCH_IMAGE/u);
    assert.equal((await stage.daemon.cri.image.listImages({})).images.length, 1);
    const other = reference.replace('removed:1', 'removed:2');
    await stage.repository('removed').pushManifest(image.manifest, mediaTypes.ociManifest, { tag: '2' });
    assert.equal(await stage.pull(other), id);
    const removed = await remove(reference, id);
    assert.deepEqual([removed.code, removed.stdout], [0, `${id}\n`], removed.output);
    assert.equal(removed.stderr, `removed with all its names, also ${other}\n`);
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
  });

  async function layersOf(reference: string): Promise<readonly string[]> {
    const { info } = await stage.daemon.cri.image.imageStatus({ image: { image: reference }, verbose: true });
    const text = info['info'] ?? '';
    return readdirSync(join(stage.folders.root, 'images/layers')).filter((name) => text.includes(name));
  }

  /** The layer file, or a file of a layer that is a folder. */
  function firstFile(layer: string): string {
    const file = join(layer, 'layer.erofs');
    if (existsSync(file)) return file;
    const folder = join(layer, 'fs');
    for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
      if (entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).length > 0)
        return join(entry.parentPath, entry.name);
    return assert.fail(`no file in ${folder}`);
  }
});
