import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { loadSigningKey, signImage } from '../../trust/index.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { inMembers, pushLazyImage, startBlobProxy } from './lazy/lazy-image.fixture.ts';
import type { BlobProxy } from './lazy/lazy-image.fixture.ts';
import { whyNoPreContentEvents } from './lazy/probe.ts';
import { openKit, pushImage, sha256, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

const why =
  findRegistry() === undefined ? 'no docker-registry' : (whyNoPreContentEvents('/var/tmp') ?? false);
const chunkBytes = 64 * 1024;

/** Waits until a condition holds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    assert.ok(waited < 60_000, `${what}: not within a minute`);
    await pause(20);
  }
}

describe('an image with a signed chunk index', { skip: why }, () => {
  let registry: TestRegistry;
  let proxy: BlobProxy;
  let kit: Kit;
  const lines: string[] = [];
  const files = {
    'bin/first': randomBytes(200_000),
    'data/rest': randomBytes(3_000_000),
  };
  before(async () => {
    registry = await startRegistry();
    proxy = await startBlobProxy(registry.host);
    const stream = { write: (line: string) => void lines.push(line) };
    kit = await openKit(proxy.host, { lazy: true, log: createLogger({ level: 'info', stream }) });
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

  it('is pulled before its layers are complete, and reads wait for the filler', async () => {
    await pushLazyImage(kit, 'signed/a', [await archive()], chunkBytes);
    // The background fetches get no answer: everything that is read was fetched for that read.
    let demanded = false;
    proxy.use(() => (demanded ? 'pass' : 'hang'));
    const image = await pull('signed/a');
    assert.match(lines.find((line) => line.includes('image pulled')) ?? '', /"lazy":true/u);
    const folder = `${kit.root}/layers/${image.layers[0]?.slice('sha256:'.length) ?? ''}`;
    assert.ok(statSync(`${folder}/layer.erofs`).blocks * 512 < 200_000, 'the file has holes');
    const { upkeep } = kit.store;
    const layer = upkeep.layers()[0]?.layer ?? '';
    assert.deepEqual(await upkeep.check(layer), { damaged: [], incomplete: true }, 'nothing was compared');
    const { path } = await kit.store.mountRootfs('c1', image);
    demanded = true;
    assert.deepEqual(await readFile(`${path}/bin/first`), files['bin/first']);
    assert.deepEqual(await readFile(`${path}/data/rest`), files['data/rest']);
    await until(() => !existsSync(`${folder}/blob`), 'the layer becomes an ordinary one');
    assert.deepEqual(readdirSync(`${kit.root}/blobs/sha256`).length, 1);
    await kit.store.removeRootfs('c1');
    let checked = await upkeep.check(layer);
    // Its record follows its files.
    for (const end = performance.now() + 60_000; checked.incomplete === true && performance.now() < end;) {
      await pause(20);
      checked = await upkeep.check(layer);
    }
    assert.deepEqual(checked, { damaged: [] });
    assert.ok(readFileSync(`${folder}/layer.erofs`).includes(files['data/rest']));
  });

  it('gets the parts with its program first', async () => {
    const layer = await tarOf([
      { name: 'data', body: files['data/rest'] },
      { name: 'bin/sh', mode: 0o755, body: 'the command of the image' },
      { name: 'later', body: files['bin/first'] },
    ]);
    await pushLazyImage(kit, 'signed/program', [layer], chunkBytes);
    proxy.use(() => 'hang');
    await pull('signed/program');
    const blob = sha256(inMembers(layer, chunkBytes));
    const parts = (): string[] => proxy.parts.filter((part) => part.startsWith(blob));
    await until(() => parts().length > 0, 'a part is requested');
    // The members of the blob are a little longer than their content.
    const at = Number(/bytes=(\d+)-/.exec(parts()[0] ?? '')?.[1]);
    const program = layer.indexOf('the command of the image');
    assert.ok(at <= program + 10_000 && at > program - chunkBytes, `${at}, and the program is at ${program}`);
  });

  it('gives another image only the metadata of the archive, whatever the first publisher has signed', async () => {
    const layer = await archive();
    await pushLazyImage(kit, 'signed/liar', [layer], chunkBytes, (metadata) => {
      for (let at = metadata.indexOf('first'); at !== -1; at = metadata.indexOf('first', at + 1))
        metadata.write('fiend', at, 'latin1');
    });
    proxy.use(() => 'hang');
    const { path: before } = await kit.store.mountRootfs('c1', await pull('signed/liar'));
    assert.deepEqual(readdirSync(`${before}/bin`), ['fiend'], 'the file has the signed name');
    proxy.use(() => 'pass');
    const upper = await tarOf([{ name: 'upper', body: 'upper' }]);
    const layers = [layer, upper].map((tar) => ({ tar, blob: inMembers(tar, chunkBytes) }));
    const { digest } = await pushImage(kit.repository('signed/honest'), { layers, tag: '1' });
    await kit.sign('signed/honest', digest);
    const { path } = await kit.store.mountRootfs('c2', await pull('signed/honest'));
    assert.deepEqual(readdirSync(`${path}/bin`), ['first']);
    assert.deepEqual(await readFile(`${path}/bin/first`), files['bin/first']);
    assert.deepEqual(
      await readFile(`${before}/bin/fiend`),
      files['bin/first'],
      'the first container continues',
    );
    for (const id of ['c1', 'c2']) await kit.store.removeRootfs(id);
  });

  it('is pulled as a whole unless every rule that requires evidence trusts the signer of the index', async () => {
    const name = 'signed/two';
    const { host } = proxy;
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const other = `${kit.folder}/other`;
    writeFileSync(`${other}.key`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(`${other}.pub`, pair.publicKey.export({ type: 'spki', format: 'pem' }));
    const key = await loadSigningKey(`${other}.key`, { environment: {} });
    const layer = await archive();
    const digest = await pushLazyImage(kit, name, [layer], chunkBytes);
    const repository = kit.repository(name);
    await signImage({ repository, digest, key, format: 'bundle', now: new Date() });
    const rule = (file: string): string =>
      `  - images: ["${host}/${name}"]\n    require: { cosign: { key: ${file} } }\n`;
    await kit.usePolicy(rule('k.pub') + rule('other.pub'));
    proxy.use(() => 'pass');
    // The layers of the tests before are still fetched in the background, also in parts.
    const blob = sha256(inMembers(layer, chunkBytes));
    const parts = (): string[] => proxy.parts.filter((part) => part.startsWith(blob));
    await pull(name);
    assert.deepEqual(parts(), [], 'one key has not signed the index');
    const [image] = kit.store.list().filter(({ repoTags }) => repoTags.some((tag) => tag.includes(name)));
    await kit.store.remove(image?.id ?? '');

    await kit.usePolicy(rule('k.pub'));
    await pull(name);
    await until(() => parts().length > 0, 'with only the first rule, the image is fetched in parts');
  });

  it('is pulled as a whole if a layer exceeds the limits, and the pull refuses it', async () => {
    const small = await openKit(proxy.host, { lazy: true, limits: { maxLayerBytes: 1024 * 1024 } });
    try {
      await pushLazyImage(small, 'signed/large', [await archive()], chunkBytes);
      proxy.use(() => 'pass');
      await assert.rejects(small.store.pull({ reference: small.reference('signed/large'), namespace: '' }), {
        code: 'IMAGES_LAYER_TOO_LARGE',
      });
    } finally {
      await small.close();
    }
  });
});
