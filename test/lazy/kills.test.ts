import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { pushLazyImage } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import { openKit, tarOf } from '../../runtime/images/test-kit.ts';
import { beginRead, endProcess, fillerOf, openPlace, until, whyNot } from './lazy-suite.fixture.ts';

const content = randomBytes(4_000_000);
const archive = (): Promise<Buffer> =>
  tarOf([
    { name: 'data', body: content },
    { name: 'id', body: randomBytes(16).toString('hex') },
  ]);
const chunkBytes = 64 * 1024;

describe('kill -9 while a container reads missing chunks', { skip: whyNot }, () => {
  it('of the filler: the reads fail, and no hole is read', async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    await pushLazyImage(place.kit, 'signed/a', [await archive()], chunkBytes);
    place.proxy.use(() => 'hang');
    const { path } = await place.start('signed/a', 'c1');
    const { filler, keeper } = fillerOf(place.kit.folder);
    const pending = beginRead(`${path}/data`, 1_000_000, 4096);
    await pause(500);
    assert.equal(pending.child.exitCode, null, 'the read waits');
    await endProcess(filler);
    const first = await pending.ended;
    assert.deepEqual([first.bytes.length, /Input\/output error/.test(first.failure)], [0, true]);
    const later = await beginRead(`${path}/data`, 2_000_000, 4096).ended;
    assert.deepEqual([later.bytes.length, /Input\/output error/.test(later.failure)], [0, true]);
    // Nothing fills the layer now: its image is gone, and a kubelet pulls it again.
    await until(() => place.kit.store.list().length === 0, 'the image is removed');
    place.proxy.use(() => 'pass');
    const again = await place.start('signed/a', 'c2');
    const whole = await beginRead(`${again.path}/data`, 0, content.length).ended;
    assert.ok(whole.bytes.equals(content), 'a new filler serves the image');
    const stale = await beginRead(`${path}/data`, 3_000_000, 4096).ended;
    assert.equal(stale.bytes.length, 0, 'the old container still reads no hole');
    await endProcess(keeper);
  });

  it('of the keeper: a new keeper starts, and takes over from a killed filler', async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    await pushLazyImage(place.kit, 'signed/b', [await archive()], chunkBytes);
    place.proxy.use(() => 'hang');
    const { path } = await place.start('signed/b', 'c1');
    const before = fillerOf(place.kit.folder);
    await endProcess(before.keeper);
    await until(() => fillerOf(place.kit.folder).keeper > 0, 'a new keeper');
    const { keeper } = fillerOf(place.kit.folder);
    assert.notEqual(keeper, before.keeper);
    await endProcess(before.filler);
    const read = await beginRead(`${path}/data`, 0, 4096).ended;
    assert.deepEqual([read.bytes.length, /Input\/output error/.test(read.failure)], [0, true]);
    await endProcess(keeper);
  });

  it('of the daemon: reads continue, and the next daemon completes the layer', async (t) => {
    const place = await openPlace({ lazy: false });
    t.after(async () => {
      await place.proxy.close();
      await place.registry.close();
    });
    await pushLazyImage(place.kit, 'signed/c', [await archive()], chunkBytes);
    await place.kit.close({ keep: true });
    let open = false;
    place.proxy.use(() => (open ? 'pass' : 'hang'));
    const daemon = fork(new URL('./store.fixture.ts', import.meta.url).pathname, [
      place.proxy.host,
      place.kit.folder,
      place.kit.reference('signed/c'),
    ]);
    const path = await new Promise<string>((resolve, reject) => {
      daemon.once('message', (message) => {
        resolve(message as string);
      });
      daemon.once('exit', () => {
        reject(new Error('the store ended'));
      });
    });
    const pending = beginRead(`${path}/data`, 500_000, 100_000);
    await pause(300);
    daemon.removeAllListeners('exit');
    daemon.kill('SIGKILL');
    await new Promise((resolve) => daemon.once('exit', resolve));
    open = true;
    const read = await pending.ended;
    assert.ok(read.bytes.equals(content.subarray(500_000, 600_000)), read.failure);
    const kit = await openKit(place.proxy.host, { folder: place.kit.folder, lazy: true });
    t.after(() => kit.close());
    await kit.store.reconcile(new Set(['c1']));
    const image = kit.store.list()[0];
    assert.ok(image, 'the image exists');
    const { path: second } = await kit.store.mountRootfs('c2', image);
    const whole = await beginRead(`${second}/data`, 0, content.length).ended;
    assert.ok(whole.bytes.equals(content), whole.failure);
    const layer = `${kit.root}/layers/${image.layers[0]?.slice('sha256:'.length) ?? ''}`;
    await until(() => !existsSync(`${layer}/blob`), 'the layer is complete', 40_000);
    for (const id of ['c1', 'c2']) await kit.store.removeRootfs(id);
  });

  for (const [what, isLost] of [
    ['of everything, like a power cut: the next start mounts no layer with holes', false],
    ['of everything, and the disk has lost the layer: the image is pulled again', true],
  ] as const)
    it(what, async (t) => {
      const place = await openPlace();
      await pushLazyImage(place.kit, 'signed/d', [await archive()], chunkBytes);
      place.proxy.use(() => 'hang');
      const reference = place.kit.reference('signed/d');
      await place.kit.store.pull({ reference, namespace: '' });
      const { filler, keeper } = fillerOf(place.kit.folder);
      await place.kit.close({ keep: true });
      process.kill(filler, 'SIGSTOP');
      await endProcess(keeper);
      await endProcess(filler);
      if (isLost) rmSync(`${place.kit.root}/layers`, { recursive: true });
      const kit = await openKit(place.proxy.host, { folder: place.kit.folder, lazy: true });
      t.after(async () => {
        await kit.store.removeRootfs('c1');
        await kit.close();
        await place.proxy.close();
        await place.registry.close();
      });
      const [image] = kit.store.list();
      assert.ok(image, 'the record exists');
      await assert.rejects(kit.store.mountRootfs('c1', image), 'the layer is not mounted');
      assert.equal(kit.store.list().length, 0, 'its image is removed: a kubelet pulls it again');
      place.proxy.use(() => 'pass');
      const pulled = await kit.store.pull({ reference, namespace: '' });
      const { path } = await kit.store.mountRootfs('c1', pulled.image);
      const read = await beginRead(`${path}/data`, 0, content.length).ended;
      assert.ok(read.bytes.equals(content), read.failure);
    });

  it('of everything after the end of the fetches: the blob is enough to keep the image', async (t) => {
    const place = await openPlace();
    const digest = await pushLazyImage(place.kit, 'signed/e', [await archive()], chunkBytes);
    const { content: manifest } = await place.kit.repository('signed/e').manifest(digest);
    const blobDigest = manifest.kind === 'manifest' ? manifest.layers[0]?.digest : undefined;
    let open = false;
    place.proxy.use(() => (open ? 'pass' : 'hang'));
    const { image } = await place.kit.store.pull({
      reference: place.kit.reference('signed/e'),
      namespace: '',
    });
    const { filler, keeper } = fillerOf(place.kit.folder);
    await place.kit.close({ keep: true });
    open = true;
    const folder = `${place.kit.root}/layers/${image.layers[0]?.slice('sha256:'.length) ?? ''}`;
    // Without the daemon, nothing makes an ordinary layer of the complete one.
    const digestOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
    await until(() => `sha256:${digestOf(`${folder}/blob`)}` === blobDigest, 'the blob is complete', 60_000);
    process.kill(filler, 'SIGSTOP');
    await endProcess(keeper);
    await endProcess(filler);
    // As after a power cut between the rename of the node's own file and its record.
    const file = openSync(`${folder}/layer.erofs`, 'r+');
    writeSync(file, Buffer.from('other'), 0, 5, fstatSync(file).size - 5);
    closeSync(file);
    const kit = await openKit(place.proxy.host, { folder: place.kit.folder, lazy: true });
    t.after(async () => {
      await kit.store.removeRootfs('c1');
      await kit.close();
      await place.proxy.close();
      await place.registry.close();
    });
    place.proxy.use(() => 'fail');
    const [kept] = kit.store.list();
    assert.ok(kept, 'the record exists');
    const { path } = await kit.store.mountRootfs('c1', kept);
    const read = await beginRead(`${path}/data`, 0, content.length).ended;
    assert.ok(read.bytes.equals(content), read.failure);
  });
});
