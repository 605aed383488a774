import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pushLazyImage } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import { pushImage, tarOf } from '../../runtime/images/test-kit.ts';
import { portcullis } from '../fixtures/command.ts';
import { openPlace, whyNot } from './lazy-suite.fixture.ts';

/** The commands of docs/lazy-start.md. */
describe('a publisher', { skip: whyNot }, () => {
  it('pushes an image in parts, signs its index, and a node starts it lazily', async (t) => {
    const place = await openPlace();
    const folder = mkdtempSync('/var/tmp/portcullis-publish-');
    t.after(async () => {
      await place.close();
      rmSync(folder, { recursive: true });
    });
    const content = randomBytes(6_000_000);
    const tar = await tarOf([{ name: 'data', body: content }]);
    const before = await pushImage(place.kit.repository('plain/app'), { layers: [{ tar }], tag: '1' });
    const succeeds = async (...words: string[]): Promise<string> => {
      const ended = await portcullis(words);
      assert.equal(ended.code, 0, ended.output);
      return ended.stdout;
    };
    const [plain, chunked] = [place.kit.reference('plain/app'), place.kit.reference('signed/app')];
    const key = join(place.kit.folder, 'k.key');

    const refused = await portcullis(['attest', plain, '--type', 'chunk-index', '--key', key]);
    assert.equal(refused.code === 0, false);
    assert.match(refused.output, /push the image with portcullis images push --chunked/);

    await succeeds('images', 'export', plain, join(folder, 'app.tar'));
    await succeeds('images', 'push', join(folder, 'app.tar'), chunked, '--chunked');
    await succeeds('sign', chunked, '--key', key);
    await succeeds('attest', chunked, '--type', 'chunk-index', '--key', key);

    const { image } = await place.kit.store.pull({ reference: chunked, namespace: '' });
    assert.equal(image.id, before.id, 'the configuration is the same');
    assert.notEqual(image.digest, before.digest);
    const { path } = await place.kit.store.mountRootfs('c1', image);
    assert.ok((await readFile(`${path}/data`)).equals(content));
    assert.ok(place.proxy.parts.length > 0, 'its layer came in parts');
    await place.kit.store.removeRootfs('c1');
  });

  it('that the policy does not name cannot make an image start lazily by signing an index', async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    const name = 'open/app';

    const content = randomBytes(500_000);
    await pushLazyImage(place.kit, name, [await tarOf([{ name: 'data', body: content }])], 64 * 1024);
    // The rule for these images trusts no signer.
    const { path } = await place.start(name, 'c1');
    assert.ok((await readFile(`${path}/data`)).equals(content));
    assert.deepEqual(place.proxy.parts, [], 'the image was pulled as a whole');
  });
});
