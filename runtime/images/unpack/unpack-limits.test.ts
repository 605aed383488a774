import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createWriteStream, lstatSync, readFileSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { pipeline } from 'node:stream/promises';
import { createZstdCompress } from 'node:zlib';
import { getXattr } from '../../../base/kernel/index.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { endOfArchive, extendedHeader, paxRecord, rawBlock, rawEntry, rawTar } from './tar.fixture.ts';
import type { RawEntry } from './tar.fixture.ts';
import { createTarReader } from './tar-reader.ts';
import { codeIs, layerFolderOfEachTest, range, unpackHere } from './unpack.fixture.ts';

const layers = layerFolderOfEachTest('unpack-limits');

/** Returns the root of the unpacked archive. */
async function unpack(
  tar: Buffer,
  limits: Partial<ImageLimits> = {},
  lowers: readonly string[] = [],
): Promise<string> {
  const request = layers.requestOf(tar, { lowest: lowers.length === 0, limits });
  await unpackHere(request, lowers);
  return `${request.staging}/fs`;
}

const tooLarge = 'IMAGES_LAYER_TOO_LARGE';
const xattr = 'SCHILY.xattr.';

/**
 * Returns the first bytes of an archive: the header that announces `body`, and enough of the body to show
 * what follows.
 */
function begun(body: Buffer, shown: number): Buffer {
  return Buffer.concat([rawBlock('header', 'x', body.length), body.subarray(0, shown)]);
}

const early: Readonly<Record<string, readonly [string, Buffer]>> = {
  'an attribute’s value over 64 KiB': [tooLarge, begun(paxRecord(`${xattr}user.a`, 'x'.repeat(65_537)), 40)],
  'the value of an attribute that is not kept, over 64 KiB': [
    tooLarge,
    begun(paxRecord(`${xattr}trusted.a`, 'x'.repeat(65_537)), 40),
  ],
  'an attribute’s name over 255 bytes': [
    tooLarge,
    begun(paxRecord(`${xattr}user.${'a'.repeat(251)}`, 'x'.repeat(60_000)), 300),
  ],
  'a link over 4096 bytes': [tooLarge, begun(paxRecord('linkpath', 'x'.repeat(4097)), 20)],
  'a name over 4096 bytes': [tooLarge, begun(paxRecord('path', 'x'.repeat(4097)), 20)],
  'a number of many digits': [tooLarge, begun(paxRecord('size', '1'.repeat(65)), 12)],
  'a keyword that does not end': [tooLarge, begun(paxRecord('k'.repeat(200_000), 'x'), 1100)],
  'a pax header over 1 MiB': [tooLarge, rawBlock('header', 'x', 1024 * 1024 + 1)],
  'a global pax header over 1 MiB': [tooLarge, rawBlock('header', 'g', 1024 * 1024 + 1)],
  'a GNU long name that is too long': [tooLarge, rawBlock('header', 'L', 8192)],
  'a GNU long link that is too long': [tooLarge, rawBlock('header', 'K', 8192)],
};
for (const [what, [code, bytes]] of Object.entries(early)) {
  test(`${what} is refused before it is read`, () => {
    const unused = (): never => assert.fail('it creates no entry');
    for (const step of [bytes.length, 7]) {
      const reader = createTarReader({ begin: unused, data: unused, end: unused });
      assert.throws(() => {
        for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step));
      }, codeIs(code));
    }
  });
}

const whole: Readonly<Record<string, readonly [string, Buffer]>> = {
  'a GNU long name of 4097 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    Buffer.concat([extendedHeader(Buffer.alloc(4097, 'x'), 'L'), rawBlock('f', '0', 0)]),
  ],
  'a GNU long link of 4097 bytes': [
    'IMAGES_LAYER_BAD_LINK',
    Buffer.concat([extendedHeader(Buffer.alloc(4097, 'x'), 'K'), rawBlock('f', '2', 0)]),
  ],
  'a part of a name over 255 bytes': ['IMAGES_LAYER_BAD_NAME', rawEntry({ name: `${'x'.repeat(256)}/f` })],
  'a last part of a name over 255 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    rawEntry({ name: `a/${'x'.repeat(256)}` }),
  ],
  'a last part over 255 bytes in the folder of the previous entry': [
    'IMAGES_LAYER_BAD_NAME',
    Buffer.concat([rawEntry({ name: 'a/f' }), rawEntry({ name: `a/${'x'.repeat(256)}` })]),
  ],
  'a whiteout of a name over 255 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    rawEntry({ name: `.wh.${'x'.repeat(256)}` }),
  ],
  'a hard link to a part over 255 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    rawEntry({ name: 'l', type: '1', link: 'x'.repeat(256) }),
  ],
  'a path that symlinks make longer than 4096 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    Buffer.concat([
      rawEntry({ name: 's', type: '2', link: range(1900, () => 'd').join('/') }),
      rawEntry({ name: `s/${'e/'.repeat(200)}f` }),
    ]),
  ],
  'names of one entry’s attributes of more than 64 KiB in total': [
    tooLarge,
    rawEntry({
      name: 'f',
      pax: Object.fromEntries(range(300, (index) => [`${xattr}user.${index}.${'a'.repeat(230)}`, ''])),
    }),
  ],
};
for (const [what, [code, bytes]] of Object.entries(whole)) {
  test(`${what} is refused`, async () => {
    await assert.rejects(unpack(Buffer.concat([bytes, endOfArchive])), codeIs(code));
  });
}

test('records are read the same however the stream is split; the longest names and values are accepted', async () => {
  const longest = 'n'.repeat(255);
  const value = Buffer.from(range(2000, (index) => index % 256));
  const tar = rawTar([
    {
      name: `a/${longest}`,
      pax: {
        [`${xattr}user.v`]: value,
        comment: 'x'.repeat(100_000),
        [`${xattr}trusted.t`]: 'y',
        mtime: '12.5',
      },
    },
    { name: `.wh.${longest}` },
    { name: 'link', type: '2', link: 'x/'.repeat(2047) },
    { name: 'l', pax: { path: 'renamed' }, body: 'body' },
  ]);
  const fs = await unpack(tar);
  assert.deepEqual(Buffer.from(getXattr(`${fs}/a/${longest}`, 'user.v') ?? []), value);
  assert.equal(lstatSync(`${fs}/a/${longest}`).mtimeMs, 12_500);
  assert.ok(lstatSync(`${fs}/${longest}`).isCharacterDevice());
  assert.equal(readFileSync(`${fs}/renamed`, 'utf8'), 'body');
  const entriesOf = (step: number): unknown[] => {
    const seen: unknown[] = [];
    const reader = createTarReader({
      begin: (entry) => seen.push(entry),
      data: (chunk) => seen.push(chunk.toString('latin1')),
      end: () => undefined,
    });
    for (let at = 0; at < tar.length; at += step) reader.push(Buffer.from(tar.subarray(at, at + step)));
    reader.finish();
    return seen.filter((each) => typeof each !== 'string');
  };
  const expected = entriesOf(tar.length);
  for (const step of [1, 13, 511, 512, 513]) assert.deepEqual(entriesOf(step), expected);
});

test('malformed pax records are refused', async () => {
  for (const body of [
    'x',
    '5',
    '5 ',
    ' a=b\n',
    '4 a=',
    '6 a=b',
    '5 ab\n',
    '6 a=b\n7',
    '99 a=b\n',
    '00000000006 a=b\n',
    '-6 a=b\n',
    '6 a=bb',
    '3 =',
    '1 \n',
  ])
    await assert.rejects(
      unpack(Buffer.concat([extendedHeader(Buffer.from(body)), rawBlock('f', '0', 0), endOfArchive])),
      codeIs('IMAGES_LAYER_CORRUPT'),
      body,
    );
});

test('an empty file whose short name ends with a slash is a file if its long name does not', async () => {
  const name = `${'d/'.repeat(50)}file`;
  const fs = await unpack(rawTar([{ name }]));
  assert.ok(lstatSync(`${fs}/${name}`).isFile());
});

test('the total size of data kept in memory until the end of a layer is limited', async () => {
  const limits = { maxKeptBytes: 10_000 };
  const folders = range(20, (index): RawEntry => ({
    name: `d${index}`,
    type: '5',
    pax: { [`${xattr}user.a`]: 'x'.repeat(1000) },
  }));
  await assert.rejects(unpack(rawTar(folders), limits), codeIs(tooLarge));
  const symlinks = range(20, (index): RawEntry => ({ name: `s${index}`, type: '2', link: 'x'.repeat(1000) }));
  await assert.rejects(unpack(rawTar(symlinks), limits), codeIs(tooLarge));
  const links = range(20, (index): RawEntry => ({
    name: `l${index}`,
    type: '1',
    link: `${'y/'.repeat(500)}f`,
  }));
  await assert.rejects(unpack(rawTar(links), limits), codeIs(tooLarge));
  const files = range(20, (index): RawEntry => ({
    name: `f${index}`,
    pax: { [`${xattr}user.a`]: 'x'.repeat(1000) },
  }));
  await unpack(rawTar(files), limits);
});

test('hard links into lower layers, folders without an entry, and paths are limited in number and total size', async () => {
  const below = await unpack(rawTar([{ name: 'f' }]));
  const links = rawTar(range(11, (index) => ({ name: `l${index}`, type: '1', link: 'f' })));
  await assert.rejects(unpack(links, { maxPendingLinks: 10 }, [below]), codeIs(tooLarge));
  await unpack(links, { maxPendingLinks: 11 }, [below]);
  const deep = rawTar([{ name: `${'d/'.repeat(20)}f` }]);
  await assert.rejects(unpack(deep, { maxEntries: 20 }), codeIs(tooLarge));
  await unpack(deep, { maxEntries: 21 });
  await assert.rejects(unpack(deep, { maxPathBytes: 400 }), codeIs(tooLarge));
});

test('small entries of great depth are refused as a layer that is too large', async () => {
  const entries = range(40, (index) => ({ name: `${index}/${'d/'.repeat(1000)}f` }));
  await assert.rejects(unpack(rawTar(entries)), codeIs(tooLarge));
});

test('entries through symlinks that multiply their steps are refused as a layer that is too large', async () => {
  const target = range(550, () => './a/..').join('/');
  const symlinks = range(30, (index): RawEntry => ({
    name: `s${index}`,
    type: '2',
    link: `${target}/${index === 29 ? 'a' : `s${index + 1}`}`,
  }));
  const entries = range(200, (index) => ({ name: `s0/d${index}/f` }));
  await assert.rejects(unpack(rawTar([{ name: 'a', type: '5' }, ...symlinks, ...entries])), codeIs(tooLarge));
});

test('files copied from the layers below count towards the layer’s content', async () => {
  const below = await unpack(
    rawTar([
      { name: 'large', body: 'x'.repeat(100_000) },
      ...range(5, (index): RawEntry => ({ name: `l${index}`, type: '1', link: 'large' })),
    ]),
  );
  const top = rawTar(range(5, (index) => ({ name: `copy${index}`, type: '1', link: `l${index}` })));
  await assert.rejects(unpack(top, { maxLayerBytes: 450_000 }, [below]), codeIs(tooLarge));
  const fs = await unpack(top, { maxLayerBytes: 500_000 }, [below]);
  assert.equal(statSync(`${fs}/copy4`).size, 100_000);
});

/** Compressed while it is written: the archives are larger than the memory that may be used. */
async function largeLayer({ header, type, count: entries }: Hoard): Promise<string> {
  const blob = `${layers.newPath()}.zst`;
  const parts = function* (): Generator<Buffer> {
    for (let index = 0; index < entries; index++)
      yield Buffer.concat([header, rawBlock(`e${index}`, type, 0)]);
    yield endOfArchive;
  };
  await pipeline(parts(), createZstdCompress(), createWriteStream(blob));
  return blob;
}

/**
 * Unpacks the blob in another process. Returns its peak of resident memory, in MiB, and the code of its
 * error.
 */
async function unpackApart(blob: string): Promise<{ readonly code: string; readonly peak: number }> {
  const modules = new URL('.', import.meta.url).href;
  const script = `
    const { unpackLayer } = await import('${modules}unpack-layer.ts');
    const { createJobCell, createWorkClock } = await import('${modules}work-clock.ts');
    const { defaultLimits } = await import('${modules}../limits/limits.ts');
    const request = { blob: ${JSON.stringify(blob)}, staging: ${JSON.stringify(`${blob}.layer`)}, diffId: 'sha256:0', lowest: true, limits: defaultLimits };
    let code = 'none';
    await unpackLayer(request, async () => [], createWorkClock(createJobCell(), ''), new AbortController().signal).catch((error) => (code = error.code));
    console.log(JSON.stringify({ code, peak: process.resourceUsage().maxRSS / 1024 }));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  return JSON.parse(stdout) as { code: string; peak: number };
}

const mostMebibytes = 384;
/** Entries that share one pax header. */
interface Hoard {
  readonly header: Buffer;
  readonly type: string;
  readonly count: number;
}
const paxOf = (records: readonly (readonly [string, string])[]): Buffer =>
  extendedHeader(Buffer.concat(records.map(([key, value]) => paxRecord(key, value))));
const hoards: Readonly<Record<string, Hoard>> = {
  'folders with large attributes': {
    header: paxOf([[`${xattr}user.a`, 'x'.repeat(65_000)]]),
    type: '5',
    count: 8000,
  },
  'folders with many attributes': {
    header: paxOf(range(4000, (index) => [`${xattr}user.${index}`, 'x'])),
    type: '5',
    count: 700,
  },
  'long links': {
    header: paxOf([['linkpath', `${`${'y'.repeat(250)}/`.repeat(16)}f`]]),
    type: '1',
    count: 120_000,
  },
};
for (const [what, hoard] of Object.entries(hoards)) {
  test(`a layer of ${what} is refused, and memory stays below ${mostMebibytes} MiB`, async () => {
    const { code, peak } = await unpackApart(await largeLayer(hoard));
    assert.equal(code, tooLarge);
    assert.ok(peak < mostMebibytes, `${Math.round(peak)} MiB`);
  });
}
