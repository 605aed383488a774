import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { findRegistry } from '../../test/fixtures/registry.ts';
import { openHeldRegistry } from './stalling-server.fixture.ts';
import type { HeldRegistry } from './stalling-server.fixture.ts';
import { contentOf, pushImage, sha256, tarOf } from './test-kit.ts';

describe(
  'layers are unpacked while other layers are fetched',
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
    afterEach(async () => {
      for (const image of kit.store.list()) await kit.store.remove(image.id);
      assert.deepEqual(
        ['ingest', 'staging', 'blobs/sha256', 'layers'].flatMap((name) => readdirSync(`${kit.root}/${name}`)),
        [],
      );
    });

    /** Pushes an image whose second layer the server does not send yet. Returns the archive of the first. */
    const pushHeld = async (
      name: string,
      changes: Pick<Parameters<typeof pushImage>[1], 'config'> = {},
    ): Promise<void> => {
      const one = await tarOf([{ name: 'one', body: `${name} 1` }]);
      const two = await tarOf([{ name: 'two', body: `${name} 2` }]);
      await pushImage(held.origin(name), {
        ...changes,
        layers: [
          { tar: one, blob: one, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
          { tar: two, blob: two, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
        ],
        tag: '1',
      });
      server.hold(sha256(two));
    };
    const pull = (name: string): Promise<unknown> =>
      kit.store.pull({ reference: kit.reference(name), namespace: '' });
    const staged = (): readonly string[] =>
      readdirSync(`${kit.root}/staging`).filter((folder) =>
        existsSync(contentOf(`${kit.root}/staging/${folder}`, 'one')),
      );
    const until = async (isTrue: () => boolean): Promise<void> => {
      while (!isTrue()) await pause(5);
    };

    it(
      'the first layer is unpacked while the blob of the second is not complete',
      { timeout: 30_000 },
      async () => {
        await pushHeld('open/beside');
        const pulling = pull('open/beside');
        await until(() => server.seen.asked === 1 && staged().length === 1);
        assert.deepEqual(kit.store.list(), [], 'an image without all layers is not listed');
        server.release();
        await pulling;
        assert.equal(kit.store.list().length, 1);
      },
    );

    it('nothing is unpacked before the verdict', { timeout: 30_000 }, async () => {
      await pushHeld('signed/beside');
      const pulling = assert.rejects(pull('signed/beside'), { code: 'IMAGES_DENIED' });
      let most = 0;
      const ended = pulling.then(() => true);
      while (!(await Promise.race([ended, pause(1, false)])))
        most = Math.max(most, readdirSync(`${kit.root}/staging`).length);
      assert.equal(most, 0);
    });

    it('a layer that cannot be unpacked ends the fetches of the others', { timeout: 30_000 }, async () => {
      const wrong = `sha256:${'1'.repeat(64)}`;
      await pushHeld('open/wrong', {
        config: { rootfs: { type: 'layers', diff_ids: [wrong, `sha256:${'2'.repeat(64)}`] } },
      });
      await assert.rejects(pull('open/wrong'), (thrown: { code: string; message: string }) => {
        assert.match(thrown.code, /^IMAGES_/);
        assert.ok(thrown.message.includes(wrong), thrown.message);
        return true;
      });
      await until(() => server.seen.ended === server.seen.asked);
    });

    it('a cancelled pull ends the unpacking and the fetches', { timeout: 30_000 }, async () => {
      await pushHeld('open/cancelled');
      const stop = new AbortController();
      const pulling = kit.store.pull({
        reference: kit.reference('open/cancelled'),
        namespace: '',
        signal: stop.signal,
      });
      const outcome = assert.rejects(pulling, { code: 'IMAGES_CANCELLED' });
      await until(() => server.seen.asked === 1 && staged().length === 1);
      stop.abort(new Error('enough'));
      await outcome;
      await until(() => server.seen.ended === 1);
    });
  },
);
