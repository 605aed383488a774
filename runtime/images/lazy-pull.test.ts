import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { pushLazyImage, startBlobProxy } from './lazy/lazy-image.fixture.ts';
import type { BlobProxy } from './lazy/lazy-image.fixture.ts';
import { whyNoPreContentEvents } from './lazy/probe.ts';
import { openKit, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';
import { createLogger } from '../../base/log/index.ts';

const why =
  findRegistry() === undefined ? 'no docker-registry' : (whyNoPreContentEvents('/var/tmp') ?? false);
const chunkBytes = 64 * 1024;

/** Waits until a condition holds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    assert.ok(waited < 20_000, `${what}: not after 20 s`);
    await pause(20);
  }
}

describe('an image with a signed chunk index', { skip: why }, () => {
  let registry: TestRegistry;
  let proxy: BlobProxy;
  let kit: Kit;
  const files = {
    'bin/first': randomBytes(200_000),
    'data/rest': randomBytes(3_000_000),
  };
  before(async () => {
    registry = await startRegistry();
    proxy = await startBlobProxy(registry.host);
    kit = await openKit(proxy.host, {
      lazy: true,
      ...(process.env['LAZY_LOG'] && { log: createLogger({ level: 'debug' }) }),
    });
  });
  after(async () => {
    for (const id of ['c1', 'c2', 'c3']) await kit.store.removeRootfs(id);
    await kit.close();
    await proxy.close();
    await registry.close();
  });

  const archive = (): Promise<Buffer> =>
    tarOf([
      { name: 'bin', type: 'directory' },
      { name: 'bin/first', body: files['bin/first'] },
      { name: 'data', type: 'directory' },
      { name: 'data/rest', body: files['data/rest'] },
      { name: 'id', body: randomBytes(16).toString('hex') },
    ]);
  const pull = async (name: string): Promise<Awaited<ReturnType<Kit['store']['pull']>>['image']> =>
    (await kit.store.pull({ reference: kit.reference(name), namespace: '' })).image;

  it('is pulled before its layers are here, and read through the gate', async () => {
    await pushLazyImage(kit, 'signed/a', [await archive()], chunkBytes);
    // The background gets nothing: what is read was fetched for the read.
    let demanded = false;
    proxy.use(() => (demanded ? 'pass' : 'hang'));
    const image = await pull('signed/a');
    const folder = `${kit.root}/layers/${image.layers[0]?.slice('sha256:'.length) ?? ''}`;
    assert.ok(statSync(`${folder}/layer.erofs`).blocks * 512 < 200_000, 'the file has holes');
    const { path } = await kit.store.mountRootfs('c1', image);
    demanded = true;
    assert.deepEqual(await readFile(`${path}/bin/first`), files['bin/first']);
    assert.deepEqual(await readFile(`${path}/data/rest`), files['data/rest']);
    await until(() => !existsSync(`${folder}/blob`), 'the layer becomes an ordinary one');
    assert.deepEqual(readdirSync(`${kit.root}/blobs/sha256`).length, 1);
    await kit.store.removeRootfs('c1');
    assert.deepEqual((await kit.store.upkeep.check(kit.store.upkeep.layers()[0]?.layer ?? '')).damaged, []);
    assert.ok(readFileSync(`${folder}/layer.erofs`).includes(files['data/rest']));
  });
});
