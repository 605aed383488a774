import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, read, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { setTimeout as pause } from 'node:timers/promises';
import { pushLazyImage } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import { tarOf } from '../../runtime/images/test-kit.ts';
import { openPlace, whyNot } from './lazy-suite.fixture.ts';

const chunks = Number(process.env['LAZY_CHUNKS'] ?? 10_000);
const chunkBytes = 12 * 1024;
const readAt = promisify(read);

describe('chunks that a registry corrupts', { skip: whyNot }, () => {
  it(`reach no reader: ${chunks} of ${chunks}`, async (t) => {
    const place = await openPlace();
    t.after(() => place.close());
    const content = randomBytes(chunks * chunkBytes);
    await pushLazyImage(
      place.kit,
      'signed/bad',
      [await tarOf([{ name: 'data', body: content }])],
      chunkBytes,
    );
    place.proxy.use(() => 'corrupt');
    const { path, layer } = await place.start('signed/bad', 'c1');
    const fd = openSync(`${path}/data`, 'r');
    t.after(() => {
      closeSync(fd);
    });
    let refused = 0;
    const reasons = new Set<string>();
    let next = 0;
    const reader = async (): Promise<void> => {
      for (let chunk = next++; chunk < chunks; chunk = next++) {
        const buffer = Buffer.alloc(4096, 0x5a);
        try {
          const { bytesRead } = await readAt(fd, buffer, 0, 4096, chunk * chunkBytes + 4096);
          assert.fail(`chunk ${chunk}: ${bytesRead} bytes were read`);
        } catch (thrown) {
          if (thrown instanceof assert.AssertionError) throw thrown;
          reasons.add((thrown as NodeJS.ErrnoException).code ?? String(thrown));
          refused += 1;
          assert.ok(
            buffer.every((byte) => byte === 0x5a),
            'the buffer of a refused read is untouched',
          );
        }
      }
    };
    await Promise.all([reader(), reader(), reader(), reader()]);
    assert.equal(refused, chunks);
    assert.deepEqual([...reasons], ['EIO']);
    const file = statSync(`${place.kit.root}/layers/${layer}/layer.erofs`);
    assert.ok(file.blocks * 512 < 64 * 1024, `${file.blocks * 512} bytes on the disk: no chunk was written`);
    t.diagnostic(`${refused} reads refused, ${place.proxy.parts.length} requests for parts`);

    // The registry is honest again: the same reads give the signed bytes. A chunk that was refused is refused
    // for a second.
    place.proxy.use(() => 'pass');
    for (const chunk of [0, 1, chunks >> 1, chunks - 2]) {
      const buffer = Buffer.alloc(4096);
      const at = chunk * chunkBytes + 4096;
      for (let attempt = 1; ; attempt += 1) {
        try {
          await readAt(fd, buffer, 0, 4096, at);
          break;
        } catch (thrown) {
          if (attempt === 20) throw thrown;
          await pause(500);
        }
      }
      assert.ok(buffer.equals(content.subarray(at, at + 4096)), `chunk ${chunk}`);
    }
  });
});
