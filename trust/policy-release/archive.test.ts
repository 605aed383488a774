import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { mostArchiveBytes, packRelease, unpackRelease } from './archive.ts';

interface Entry {
  readonly name: string;
  readonly type?: 'symlink' | 'link' | 'directory' | 'fifo' | 'character-device';
  readonly linkname?: string;
  readonly body?: Buffer;
}

const malformed = { code: 'TRUST_RELEASE_MALFORMED' };

async function archiveOf(...entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { body, ...header } of entries) tar.entry(header, body ?? Buffer.from('x'));
  tar.finalize();
  return buffer(tar);
}

test('the same files give the same bytes in any order, and come back', async () => {
  const name = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,20}$/u);
  const files = fc.array(fc.tuple(name, fc.uint8Array({ maxLength: 2000 })), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(files, async (pairs) => {
      const given = new Map(pairs.map(([file, bytes]) => [file, Buffer.from(bytes)]));
      const packed = await packRelease(given);
      const turned = new Map([...given].reverse());
      assert.ok(packed.equals(await packRelease(turned)));
      const back = await unpackRelease(packed);
      assert.deepEqual([...back].sort(), [...given].sort());
    }),
    { numRuns: 30 },
  );
});

test('names that lead out of the folder, are hidden or collide are refused', async () => {
  const hostile = [
    ['../policy.yaml'],
    ['/etc/policy.yaml'],
    ['a/../../b'],
    ['a//b'],
    ['.hidden'],
    ['a/.hidden'],
    ['-rf'],
    ['a\\b'],
    ['a\nb'],
    ['a', 'a'],
    ['a', 'a/b'],
    ['a/b/c', 'a/b'],
    [Array.from({ length: 9 }, () => 'd').join('/')],
    ['n'.repeat(256)],
  ];
  for (const names of hostile)
    await assert.rejects(
      archiveOf(...names.map((name) => ({ name }))).then(unpackRelease),
      malformed,
      JSON.stringify(names),
    );
});

test('anything but regular files is refused', async () => {
  for (const type of ['symlink', 'link', 'directory', 'fifo', 'character-device'] as const)
    await assert.rejects(
      archiveOf({ name: 'a', type, linkname: '/etc/passwd', body: Buffer.alloc(0) }).then(unpackRelease),
      malformed,
      type,
    );
});

test('archives that are empty, cut, too large or hold too many files are refused', async () => {
  await assert.rejects(unpackRelease(Buffer.alloc(0)), malformed);
  await assert.rejects(unpackRelease(Buffer.alloc(1024)), malformed);
  const whole = await archiveOf({ name: 'a', body: Buffer.alloc(5000) });
  await assert.rejects(unpackRelease(whole.subarray(0, 2000)), malformed);
  await assert.rejects(unpackRelease(Buffer.alloc(mostArchiveBytes + 1)), malformed);
  await assert.rejects(packRelease(new Map([['a', Buffer.alloc(mostArchiveBytes)]])), malformed);
  const many = Array.from({ length: 1001 }, (_, index) => ({ name: `f${index}` }));
  await assert.rejects(archiveOf(...many).then(unpackRelease), malformed);
});

test('arbitrary bytes never fail in another way', async () => {
  const whole = await archiveOf({ name: 'policy.yaml' }, { name: 'keys/a.pub' });
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (at, byte) => {
      const bytes = Buffer.from(whole);
      bytes[at] = byte;
      try {
        await unpackRelease(bytes);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'TRUST_RELEASE_MALFORMED');
      }
    }),
    { numRuns: 200 },
  );
});
