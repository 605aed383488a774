import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { mediaTypes } from '../../base/distribution/index.ts';
import { uniqueLayer } from '../fixtures/image.ts';
import { createContainer, execute, expectServing, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import {
  failureOf,
  filesThatHold,
  makeKey,
  openStage,
  podNamespace,
  policyOf,
  registryName,
} from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The main path: the policy decides which images reach the disk and which ones run. */
describe('a signed image is pulled and run, any other is refused', () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage({
      policy: policyOf(`  - images: ["${registryName}/app/**"]
    namespaces: ["${podNamespace}"]
    require: { cosign: { key: k.pub } }
  - images: ["${registryName}/open/**"]
    allow: unverified
`),
    });
  });
  after(() => stage.close());

  it('refuses an unsigned image with the tree of reasons, and keeps only the verdict and the evidence', async () => {
    const { reference, image } = await stage.publish(
      'app/unsigned:1',
      { layers: [await uniqueLayer()] },
      { sign: false },
    );
    const { code, kind, failure, message } = await failureOf(stage.pull(reference));
    assert.equal(code, 'IMAGES_DENIED');
    assert.equal(kind, 'denied');
    assert.equal(failure.prefix, 'SignatureValidationFailed');
    assert.match(message, /^SignatureValidationFailed: /);
    assert.match(failure.why, /rule policy\.yaml:5/);
    assert.match(failure.why, /k\.pub/);
    assert.equal(failure.details?.['digest'], image.manifestDigest);
    const layer = image.layers.at(-1) ?? assert.fail();
    const pieces = [layer.subarray(2000, 2064), image.config];
    assert.deepEqual(filesThatHold([stage.folders.root, stage.folders.state], pieces), []);
    for (const file of filesThatHold([stage.folders.root], [image.configDigest.slice(7)]))
      assert.fail(`${file} names the configuration`);
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
    const verdictId = String(failure.details?.['verdictId']);
    assert.ok(filesThatHold([stage.folders.root], [verdictId]).length > 0, 'the verdict is recorded');
    const database = new DatabaseSync(join(stage.folders.root, 'state.db'), { readOnly: true });
    const tables = database.prepare(`select name from sqlite_schema where type = 'table'`).all();
    const holding = tables.filter(({ name }) =>
      JSON.stringify(database.prepare(`select * from "${String(name)}"`).all()).includes(
        image.manifestDigest,
      ),
    );
    database.close();
    assert.ok(holding.length >= 2, `verdict and dossier are kept: ${JSON.stringify(holding)}`);
  });

  for (const format of ['bundle', 'legacy'] as const) {
    it(`pulls and runs an image that is signed in the form ${format}`, async () => {
      const { reference, image } = await stage.publish(`app/${format}:1`, {}, { sign: format });
      const imageRef = await stage.pull(reference);
      assert.equal(imageRef, image.configDigest);
      const { images } = await stage.daemon.cri.image.listImages({ filter: { image: { image: reference } } });
      assert.deepEqual(images[0]?.repoTags, [reference]);
      assert.deepEqual(images[0]?.repoDigests, [`${registryName}/app/${format}@${image.manifestDigest}`]);
      const pod = await runPod(stage, format);
      const id = await runContainer(stage, pod, { image: imageRef, reference });
      assert.equal((await execute(stage, id, 'hostname')).stdout, `${format}\n`);
      await removePod(stage, pod);
    });
  }

  it('refuses a signature that belongs to another digest', async () => {
    const signed = await stage.publish('app/first:1');
    const other = await stage.publish('app/first:2', { layers: [await uniqueLayer()] }, { sign: false });
    const repository = stage.repository('app/first');
    const { descriptors } = await repository.referrers(signed.image.manifestDigest);
    assert.equal(descriptors.length, 1);
    for (const descriptor of descriptors) {
      const { bytes } = await repository.manifest(descriptor);
      const manifest = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
      const { mediaType, digest, size } = await repository.resolve(other.image.manifestDigest);
      await repository.pushReferrer(
        Buffer.from(JSON.stringify({ ...manifest, subject: { mediaType, digest, size } })),
        mediaTypes.ociManifest,
      );
    }
    const { code, failure } = await failureOf(stage.pull(other.reference));
    assert.equal(code, 'IMAGES_DENIED');
    assert.match(
      failure.why,
      new RegExp(signed.image.manifestDigest.slice(0, 19)),
      'the error says which digest was signed',
    );
    assert.deepEqual(
      filesThatHold(
        [stage.folders.root],
        [(other.image.layers.at(-1) ?? assert.fail()).subarray(2000, 2064)],
      ),
      [],
    );
  });

  it('refuses a signature by another key', async () => {
    const foreign = await makeKey(join(stage.folders.folder, 's.key'), join(stage.folders.folder, 's.pub'));
    const { reference, image } = await stage.publish('app/stranger:1', {}, { sign: false });
    await stage.sign('app/stranger', image.manifestDigest, 'bundle', foreign);
    assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_DENIED');
  });

  it('fetches nothing for a name that matches no rule', async () => {
    const { code, failure } = await failureOf(stage.pull('elsewhere.test/app:1'));
    assert.equal(code, 'IMAGES_DENIED');
    assert.match(failure.why, /no rule/i);
  });

  it('decides again at CreateContainer: the namespace', async () => {
    const { reference } = await stage.publish('app/again:1');
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'foreign', {
      metadata: { name: 'foreign', uid: 'f', namespace: 'other', attempt: 0 },
    });
    for (const named of [{ reference }, {}]) {
      const { code, failure } = await failureOf(createContainer(stage, pod, { image, ...named }));
      assert.equal(code, 'IMAGES_DENIED');
      assert.equal(failure.prefix, 'SignatureValidationFailed');
      assert.match(failure.why, /namespace "?other/);
    }
    await removePod(stage, pod);
    await expectServing(stage, image);
  });

  it('decides again at CreateContainer: the name', async () => {
    const { reference, image: pushed } = await stage.publish('app/named:1');
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'named');
    // A name under which the image was never pulled, and one that the policy does not admit.
    const other = `elsewhere.test/app/named@${pushed.manifestDigest}`;
    const { code, failure } = await failureOf(createContainer(stage, pod, { image, reference: other }));
    assert.equal(code, 'IMAGES_NAME_NOT_RECORDED');
    assert.equal(failure.prefix, 'SignatureValidationFailed');
    await removePod(stage, pod);
  });

  it('decides again at CreateContainer: today’s policy', async () => {
    const { reference } = await stage.publish('app/today:1');
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'today');
    const before = policyOf(
      `  - images: ["${registryName}/app/**"]\n    namespaces: ["${podNamespace}"]\n    require: { cosign: { key: k.pub } }\n`,
    );
    await makeKey(join(stage.folders.folder, 'n.key'), join(stage.folders.policy, 'new.pub'));
    stage.writePolicy(before.replace('k.pub', 'new.pub'));
    await stage.daemon.reload();
    assert.equal((await failureOf(createContainer(stage, pod, { image, reference }))).code, 'IMAGES_DENIED');
    stage.writePolicy(before);
    await stage.daemon.reload();
    await runContainer(stage, pod, { image, reference });
    await removePod(stage, pod);
  });

  it('one image under an admitted and an unadmitted name runs only under the admitted one', async () => {
    stage.writePolicy(
      policyOf(`  - images: ["${registryName}/app/**"]
    require: { cosign: { key: k.pub } }
  - images: ["${registryName}/open/**"]
    namespaces: ["free"]
    allow: unverified
`),
    );
    await stage.daemon.reload();
    const { reference, image: pushed } = await stage.publish('app/both:1');
    const open = stage.repository('open/both');
    for (const blob of [pushed.config, ...pushed.layers]) await open.pushBlob(blob);
    await open.pushManifest(pushed.manifest, mediaTypes.ociManifest, { tag: '1' });
    const image = await stage.pull(reference);
    assert.equal(await stage.pull(`${registryName}/open/both:1`, 'free'), image);
    const pod = await runPod(stage, 'both');
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image, reference: `${registryName}/open/both:1` })))
        .code,
      'IMAGES_DENIED',
    );
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image }))).code,
      'IMAGES_DENIED',
      'without a name, the policy must admit every name of the image',
    );
    await runContainer(stage, pod, { image, reference });
    await removePod(stage, pod);
  });

  it('removes the image with all its content and records', async () => {
    const { reference, image } = await stage.publish('app/gone:1', { layers: [await uniqueLayer()] });
    await stage.pull(reference);
    const needle = (image.layers.at(-1) ?? assert.fail()).subarray(2000, 2064);
    assert.ok(filesThatHold([join(stage.folders.root, 'images')], [needle]).length > 0);
    await stage.daemon.cri.image.removeImage({ image: { image: reference } });
    assert.equal(
      (await stage.daemon.cri.image.imageStatus({ image: { image: reference } })).image,
      undefined,
    );
    while (readdirSync(join(stage.folders.root, 'images/trash')).length > 0) await pause(20);
    assert.deepEqual(filesThatHold([join(stage.folders.root, 'images')], [needle]), []);
  });
});
