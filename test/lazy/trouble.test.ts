import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Logger } from '../../base/log/index.ts';
import { pushLazyImage } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import { tarOf } from '../../runtime/images/test-kit.ts';
import { beginRead, openPlace, whyNot } from './lazy-suite.fixture.ts';

const chunkBytes = 64 * 1024;

describe('an image that is started lazily', { skip: whyNot }, () => {
  it('is fetched once by two containers that read it at the same time', async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    const content = randomBytes(4_000_000);
    await pushLazyImage(
      place.kit,
      'signed/shared',
      [await tarOf([{ name: 'data', body: content }])],
      chunkBytes,
    );
    const first = await place.start('signed/shared', 'c1');
    const second = await place.start('signed/shared', 'c2');
    const reads = await Promise.all(
      [first, second, first, second].map(({ path }) => beginRead(`${path}/data`, 0, content.length).ended),
    );
    for (const { bytes, failure } of reads) assert.ok(bytes.equals(content), failure);
    const { parts } = place.proxy;
    assert.equal(new Set(parts).size, parts.length, 'no part was requested twice');
  });

  it('gives an error within the limit while its registry hangs, and delays no other image', async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    const content = randomBytes(2_000_000);
    const archive = (): Promise<Buffer> =>
      tarOf([
        { name: 'data', body: content },
        { name: 'id', body: randomBytes(16).toString('hex') },
      ]);
    await pushLazyImage(place.kit, 'signed/hangs', [await archive()], chunkBytes);
    await pushLazyImage(place.kit, 'signed/works', [await archive()], chunkBytes);
    place.proxy.use((path) => (path.includes('/hangs/') ? 'hang' : 'pass'));
    const hanging = await place.start('signed/hangs', 'c1');
    const working = await place.start('signed/works', 'c2');
    const from = performance.now();
    const stuck = beginRead(`${hanging.path}/data`, 1_000_000, 4096).ended;
    const { bytes, failure } = await beginRead(`${working.path}/data`, 0, content.length).ended;
    assert.ok(bytes.equals(content), failure);
    assert.ok(performance.now() - from < 10_000, 'the other image is read meanwhile');
    const read = await stuck;
    assert.deepEqual([read.bytes.length, /Input\/output error/.test(read.failure)], [0, true]);
    assert.ok(performance.now() - from < 75_000, 'the read ended');
  });

  it('gives an error for data that the disk cannot store, and the log has the reason', async (t) => {
    const folder = mkdtempSync('/var/tmp/portcullis-small-');
    execFileSync('truncate', ['-s', '96M', `${folder}/disk`]);
    execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', `${folder}/disk`]);
    mkdirSync(`${folder}/store`);
    execFileSync('mount', ['-o', 'loop', `${folder}/disk`, `${folder}/store`]);
    // Space for the end of the test.
    writeFileSync(`${folder}/store/ballast`, Buffer.alloc(16 * 1024 * 1024));
    const reasons: string[] = [];
    const keep = (fields: object): void => void reasons.push(JSON.stringify(fields));
    const none = (): void => undefined;
    const log: Logger = { debug: none, info: none, warn: keep, error: keep, child: () => log };
    // A separate folder: it is removed at the end, and a mount point cannot be removed.
    mkdirSync(`${folder}/store/kit`);
    const place = await openPlace({ folder: `${folder}/store/kit`, log });
    t.after(async () => {
      // The filler must not take the space of the ballast.
      place.proxy.use(() => 'fail');
      rmSync(`${folder}/store/ballast`);
      await place.close();
      execFileSync('umount', ['-l', `${folder}/store`]);
      rmSync(folder, { recursive: true, force: true });
    });
    const content = randomBytes(128 * 1024 * 1024);
    await pushLazyImage(
      place.kit,
      'signed/large',
      [await tarOf([{ name: 'data', body: content }])],
      1024 * 1024,
    );
    const { path } = await place.start('signed/large', 'c1');
    const { bytes, failure } = await beginRead(`${path}/data`, 0, content.length).ended;
    assert.match(failure, /Input\/output error/);
    assert.ok(
      reasons.some((reason) => reason.includes('ENOSPC')),
      reasons.join('\n'),
    );
    assert.ok(bytes.equals(content.subarray(0, bytes.length)), 'the read data is the signed data');
  });
});
