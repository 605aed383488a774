import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { SignatureFormat } from '../../trust/index.ts';
import { layerOf, sha256, uniqueLayer } from '../fixtures/image.ts';
import type { PushedImage } from '../fixtures/image.ts';
import { expectServing } from '../fixtures/pod.ts';
import { flipped, startTamperingProxy } from '../fixtures/proxy.ts';
import type { TamperingProxy } from '../fixtures/proxy.ts';
import { failureOf, filesThatHold, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** One byte is changed somewhere between the signer and the node. */
describe('one flipped byte', () => {
  let stage: Stage;
  let proxy: TamperingProxy;
  before(async () => {
    stage = await openStage({
      policy: policyOf(
        `  - images: ["${registryName}/**", "bent.test/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`,
      ),
      prepare: async (registry) => {
        proxy = await startTamperingProxy(registry.host);
        return { 'bent.test': proxy.url };
      },
    });
  });
  after(async () => {
    await stage.close();
    await proxy.close();
  });
  afterEach(async () => {
    proxy.use((_path, answer) => answer);
    assert.ok(stage.daemon.isAlive());
    assert.doesNotMatch(stage.daemon.log(), /uncaught|unhandled/i);
  });

  const nothingLeft = async (image: PushedImage): Promise<void> => {
    const needles = [(image.layers.at(-1) ?? assert.fail()).subarray(2000, 2064), image.config];
    assert.deepEqual(filesThatHold([stage.folders.root, stage.folders.state], needles), []);
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
  };

  /** The answers of an unmodified registry, in transit. */
  const onTheWay: {
    what: string;
    format: SignatureFormat;
    /** Returns whether this answer is the one to damage. */
    hits: (path: string, image: PushedImage, body: Buffer) => boolean;
    code: string;
    why: (image: PushedImage) => RegExp;
  }[] = [
    {
      what: 'the bundle',
      format: 'bundle',
      hits: (path, _image, body) => path.includes('/blobs/') && body.includes('dsseEnvelope'),
      code: 'IMAGES_DENIED',
      why: () => /sigstore bundle .*digest/,
    },
    {
      what: 'the signed payload',
      format: 'legacy',
      hits: (path, _image, body) =>
        path.includes('/blobs/') && body.includes('cosign container image signature'),
      code: 'IMAGES_DENIED',
      why: () => /cosign signature .*digest/,
    },
    {
      what: 'the manifest that contains the signature',
      format: 'bundle',
      hits: (path, _image, body) => path.includes('/manifests/sha256:') && body.includes('"subject"'),
      code: 'IMAGES_DENIED',
      why: () => /digest/,
    },
    {
      what: 'the manifest',
      format: 'bundle',
      hits: (path, image) =>
        path.endsWith('/manifests/1') || path.endsWith(`/manifests/${image.manifestDigest}`),
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      why: (image) => new RegExp(`not ${image.manifestDigest}`),
    },
    {
      what: 'the configuration',
      format: 'bundle',
      hits: (path, image) => path.endsWith(image.configDigest),
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      why: (image) => new RegExp(`not ${image.configDigest}`),
    },
    {
      what: 'a layer',
      format: 'bundle',
      hits: (path, image) => path.endsWith(sha256(image.layers.at(-1) ?? assert.fail())),
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      why: (image) => new RegExp(`not ${sha256(image.layers.at(-1) ?? assert.fail())}`),
    },
  ];
  for (const [index, { what, format, hits, code, why }] of onTheWay.entries()) {
    it(`in transit, in ${what}: is refused with the specific reason`, async () => {
      const { image } = await stage.publish(
        `way/a${index}:1`,
        { layers: [await uniqueLayer()] },
        { sign: format },
      );
      let hit = 0;
      proxy.use((path, answer) => {
        if (answer.status !== 200 || !hits(path, image, answer.body)) return answer;
        hit += 1;
        return { ...answer, body: flipped(answer.body) };
      });
      const failure = await failureOf(stage.pull(`bent.test/way/a${index}:1`));
      assert.ok(hit > 0, 'the byte was flipped');
      assert.equal(failure.code, code, failure.message);
      assert.match(failure.failure.why, why(image));
      await nothingLeft(image);
    });
  }

  it('in a manifest for which the registry reports the new digest: makes it another, unsigned image', async () => {
    const { image } = await stage.publish('way/lie:1', {
      layers: [await uniqueLayer()],
      config: { Labels: { colour: 'red' } },
    });
    proxy.use((path, answer) => {
      if (!path.endsWith('/manifests/1')) return answer;
      const manifest = JSON.parse(answer.body.toString()) as { annotations?: object };
      const body = Buffer.from(JSON.stringify({ ...manifest, annotations: { changed: 'yes' } }));
      return { ...answer, headers: { ...answer.headers, 'docker-content-digest': sha256(body) }, body };
    });
    const failure = await failureOf(stage.pull('bent.test/way/lie:1'));
    assert.equal(failure.code, 'IMAGES_DENIED', failure.message);
    assert.match(failure.failure.why, /no signature/i);
    await nothingLeft(image);
  });

  /**
   * An attacker who can write to the registry changes a signature and everything that refers to it by digest.
   */
  const rewritten: {
    what: string;
    format: SignatureFormat;
    change: (text: string) => string;
    why: RegExp;
  }[] = [
    {
      what: 'the signature of a bundle',
      format: 'bundle',
      change: (text) => turnBase64(text, /"sig":"([^"]+)"/),
      why: /signature (is not|does not|of another|is wrong|did not)/,
    },
    {
      what: 'the payload of a bundle',
      format: 'bundle',
      change: (text) => turnBase64(text, /"payload":"([^"]+)"/),
      why: /signature|payload/,
    },
    {
      what: 'the payload of the older form',
      format: 'legacy',
      change: (text) => text.replace('cosign container', 'cosign Container'),
      why: /signature|payload/,
    },
    {
      what: 'the digest in the payload of the older form',
      format: 'legacy',
      change: (text) =>
        text.replace(/sha256:([0-9a-f])/, (_all, digit) => `sha256:${digit === '0' ? '1' : '0'}`),
      why: /signature|payload/,
    },
  ];
  for (const [index, { what, format, change, why }] of rewritten.entries()) {
    it(`in the registry, in ${what}: is refused with the specific reason`, async () => {
      const { reference, image } = await stage.publish(
        `write/a${index}:1`,
        { layers: [await uniqueLayer()] },
        { sign: false },
      );
      const scratch = stage.repository(`scratch/a${index}`);
      for (const blob of [image.config, ...image.layers]) await scratch.pushBlob(blob);
      await scratch.pushManifest(image.manifest, mediaTypes.ociManifest, { tag: '1' });
      await stage.sign(`scratch/a${index}`, image.manifestDigest, format);
      const place = stage.repository(`write/a${index}`);
      const tag = `${image.manifestDigest.replace(':', '-')}.sig`;
      const signature =
        format === 'legacy'
          ? tag
          : ((await scratch.referrers(image.manifestDigest)).descriptors[0]?.digest ?? assert.fail());
      const { bytes } = await scratch.manifest(signature);
      const manifest = JSON.parse(Buffer.from(bytes).toString()) as {
        layers: { digest: string; size: number }[];
        config: { digest: string; size: number };
      };
      const layer = manifest.layers[0] ?? assert.fail();
      const old = Buffer.from(await scratch.blobBytes(layer, 1 << 20)).toString();
      const text = change(old);
      assert.notEqual(text, old);
      const pushed = await place.pushBlob(Buffer.from(text));
      await place.pushBlob(await scratch.blobBytes(manifest.config, 1 << 20));
      const next = Buffer.from(
        JSON.stringify({ ...manifest, layers: [{ ...layer, digest: pushed.digest, size: pushed.size }] }),
      );
      if (format === 'legacy') await place.pushManifest(next, mediaTypes.ociManifest, { tag });
      else await place.pushReferrer(next, mediaTypes.ociManifest);
      const failure = await failureOf(stage.pull(reference));
      assert.equal(failure.code, 'IMAGES_DENIED', failure.message);
      assert.match(failure.failure.why, why);
      await nothingLeft(image);
    });
  }

  it('in the signature annotation of the older form: is refused with the specific reason', async () => {
    const { image } = await stage.publish(
      'way/annotation:1',
      { layers: [await uniqueLayer()] },
      { sign: 'legacy' },
    );
    const repository = stage.repository('way/annotation');
    const tag = `${image.manifestDigest.replace(':', '-')}.sig`;
    const { bytes } = await repository.manifest(tag);
    const text = turnBase64(
      Buffer.from(bytes).toString(),
      /"dev\.cosignproject\.cosign\/signature":"([^"]+)"/,
    );
    await repository.pushManifest(Buffer.from(text), mediaTypes.ociManifest, { tag });
    const failure = await failureOf(stage.pull(`${registryName}/way/annotation:1`));
    assert.equal(failure.code, 'IMAGES_DENIED');
    assert.match(failure.failure.why, /cosign signature .*signature/);
    await nothingLeft(image);
  });

  it('a layer that does not match the diff id of the signed configuration is refused with the specific reason', async () => {
    const [honest, other] = await Promise.all([uniqueLayer(), layerOf([{ name: 'other', body: 'other' }])]);
    const { reference, image } = await stage.publish('way/diff:1', {
      layers: [{ blob: honest.blob, diffId: other.diffId }],
    });
    const failure = await failureOf(stage.pull(reference));
    assert.equal(failure.code, 'IMAGES_DIFF_ID_MISMATCH');
    assert.match(failure.message, new RegExp(other.diffId));
    // The image was admitted and was being unpacked. The partial result is removed in the background.
    while (readdirSync(join(stage.folders.root, 'images/trash')).length > 0) await pause(20);
    await nothingLeft(image);
  });

  it('does not prevent a pull of the unchanged image from the same registry', async () => {
    await stage.publish('way/fine:1', { layers: [await uniqueLayer()] });
    const image = await stage.pull('bent.test/way/fine:1');
    await expectServing(stage, image);
  });
});

/** Changes one character in the middle of the base64 text that matches the pattern. */
function turnBase64(text: string, pattern: RegExp): string {
  const found = pattern.exec(text)?.[1] ?? assert.fail('no such field');
  const at = Math.floor(found.length / 2);
  const turned = `${found.slice(0, at)}${found[at] === 'A' ? 'B' : 'A'}${found.slice(at + 1)}`;
  return text.replace(found, turned);
}
