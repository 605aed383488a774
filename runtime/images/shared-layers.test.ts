import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { findRegistry } from '../../test/fixtures/registry.ts';
import { openHeldRegistry } from './stalling-server.fixture.ts';
import type { HeldRegistry } from './stalling-server.fixture.ts';
import { contentOf, pushImage, sha256, tarOf } from './test-kit.ts';
import type { LayerSource } from './test-kit.ts';
import type { ImageRecord } from './types.ts';

describe(
  'a layer that several images have',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let held: HeldRegistry;
    let server: HeldRegistry['server'];
    let kit: HeldRegistry['kit'];
    before(async () => {
      held = await openHeldRegistry();
      ({ server, kit } = held);
    });
    after(() => held.close());
    const inStore = (): readonly string[] =>
      ['ingest', 'staging', 'blobs/sha256', 'layers'].flatMap((name) => readdirSync(`${kit.root}/${name}`));
    afterEach(async () => {
      server.release();
      for (const image of kit.store.list()) await kit.store.remove(image.id);
      assert.deepEqual(inStore(), []);
    });

    const plain = (tar: Buffer): LayerSource => ({
      tar,
      blob: tar,
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
    });
    const pull = async (name: string, signal?: AbortSignal): Promise<ImageRecord> =>
      (await kit.store.pull({ reference: kit.reference(name), namespace: '', ...(signal && { signal }) }))
        .image;
    const until = async (isTrue: () => boolean): Promise<void> => {
      while (!isTrue()) await pause(5);
    };
    const flip = (file: string, at: number): void => {
      const bytes = readFileSync(file);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    };

    it('fails a pull that shares it, if the layer is lost during the pull', { timeout: 60_000 }, async () => {
      const shared = await tarOf([{ name: 'shared', body: 'in both images'.repeat(100) }]);
      const own = await tarOf([{ name: 'own', body: 'in one image' }]);
      await pushImage(held.origin('open/first'), { layers: [plain(shared)], tag: '1' });
      await pushImage(held.origin('open/second'), { layers: [plain(shared), plain(own)], tag: '1' });
      const first = await pull('open/first');
      server.hold(sha256(own));
      const pulling = pull('open/second');
      // The shared layer is claimed by then: it needs no request.
      await until(() => server.seen.asked === 1);
      await pause(300);
      const layer = sha256(shared).slice(7);
      flip(contentOf(`${kit.root}/layers/${layer}`, 'shared'), 10);
      flip(`${kit.root}/blobs/sha256/${layer}`, 600);
      assert.equal((await kit.store.upkeep.check(layer)).damaged.length, 1);
      await assert.rejects(kit.store.mountRootfs('c1', first), { code: 'IMAGES_NOT_FOUND' });
      assert.deepEqual(kit.store.list(), [], 'the layer cannot be restored, and its image is gone');
      assert.equal(existsSync(`${kit.root}/blobs/sha256/${layer}`), false, 'its blob is removed too');
      server.release();
      await assert.rejects(pulling, {
        code: 'IMAGES_STORE_FAILED',
        kind: 'unavailable',
        message: /pull again/u,
      });
      const { path } = await kit.store.mountRootfs('c2', await pull('open/second'));
      assert.deepEqual(readdirSync(path).toSorted(), ['own', 'shared']);
      await kit.store.removeRootfs('c2');
    });

    it(
      'has the blob that its record names, even if a pull with another blob fails',
      { timeout: 60_000 },
      async () => {
        const shared = await tarOf([{ name: 'shared', body: 'in both images'.repeat(1000) }]);
        const [one, two] = [await tarOf([{ name: 'one' }]), await tarOf([{ name: 'two' }])];
        const blobs = [1, 9].map((level) => gzipSync(shared, { level }));
        assert.notDeepEqual(blobs[0], blobs[1]);
        await pushImage(held.origin('open/one'), {
          layers: [{ tar: shared, blob: blobs[0] ?? shared }, plain(one)],
          tag: '1',
        });
        await pushImage(held.origin('open/two'), {
          layers: [{ tar: shared, blob: blobs[1] ?? shared }, plain(two)],
          tag: '1',
        });
        server.hold(sha256(one), sha256(two));
        const stop = new AbortController();
        const failing = assert.rejects(pull('open/one', stop.signal), { code: 'IMAGES_CANCELLED' });
        await until(() => readdirSync(`${kit.root}/staging`).length > 0 && server.seen.asked === 1);
        const pulling = pull('open/two');
        await until(() => server.seen.asked === 2);
        await pause(300);
        stop.abort();
        await failing;
        server.release();
        await pulling;
        const rows = await kit.database.all<{ blob_digest: string }>('SELECT blob_digest FROM image_layer');
        assert.deepEqual(
          readdirSync(`${kit.root}/blobs/sha256`).toSorted(),
          rows.map(({ blob_digest: digest }) => digest.slice(7)).toSorted(),
        );
      },
    );

    it('may occur twice in one image, also with another compression, and below a layer that hides it', async () => {
      const shared = await tarOf([{ name: 'shared/file', body: 'twice' }]);
      const hiding = await tarOf([{ name: 'shared/.wh.file' }]);
      const [fast = shared, small = shared] = [1, 9].map((level) => gzipSync(shared, { level }));
      const layers = [fast, fast, small].map((blob): LayerSource => ({ tar: shared, blob }));
      const cases = {
        'open/next': layers.slice(0, 2),
        'open/compressed': layers.slice(1),
        'open/hidden': [...layers.slice(0, 1), plain(hiding), ...layers.slice(2)],
        'open/last-hidden': [...layers, plain(hiding)],
      };
      for (const [name, chosen] of Object.entries(cases)) {
        await pushImage(held.origin(name), { layers: chosen, tag: '1' });
        for (const attempt of ['new', 'again']) {
          const image = await pull(name);
          const { path } = await kit.store.mountRootfs(`${name.slice(5)}-${attempt}`, image);
          const found = readdirSync(`${path}/shared`);
          assert.deepEqual(found, name === 'open/last-hidden' ? [] : ['file'], `${name}, ${attempt}`);
          await kit.store.removeRootfs(`${name.slice(5)}-${attempt}`);
        }
        for (const image of kit.store.list()) await kit.store.remove(image.id);
      }
    });
  },
);
