import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { contentOfSparse, oldSparse, sparseByPax } from './sparse.fixture.ts';
import type { SparseFile } from './sparse.fixture.ts';
import { endOfArchive, extendedHeader, paxRecord, rawBlock, rawEntry } from './tar.fixture.ts';
import { createTarReader } from './tar-reader.ts';
import { codeIs, layerFolderOfEachTest, range, unpackHere } from './unpack.fixture.ts';

const { newPath, requestOf } = layerFolderOfEachTest('sparse');

const forms: Readonly<Record<string, (name: string, file: SparseFile) => Buffer>> = {
  'pax 0.0': (name, file) => sparseByPax('0.0', name, file),
  'pax 0.1': (name, file) => sparseByPax('0.1', name, file),
  'pax 1.0': (name, file) => sparseByPax('1.0', name, file),
  'old GNU tar': oldSparse,
};
/** Pieces that begin and end anywhere. */
const odd: SparseFile = {
  size: 300_001,
  pieces: [1, 5000, 12_288, 100_000, 299_990].map((offset, index) => ({
    offset,
    data: Buffer.alloc(7 + 31 * index, `${index}`).subarray(0, 11),
  })),
};
const cases: Readonly<Record<string, SparseFile>> = {
  'pieces anywhere': odd,
  'all hole': { size: 70_000, pieces: [] },
  'no hole': { size: 1000, pieces: [{ offset: 0, data: Buffer.alloc(1000, 'x') }] },
  'a hole at the end': { size: 10_000, pieces: [{ offset: 0, data: Buffer.alloc(512, 'x') }] },
  'an empty piece at the end, as GNU tar writes it': {
    size: 9000,
    pieces: [
      { offset: 4096, data: Buffer.alloc(512, 'x') },
      { offset: 9000, data: Buffer.alloc(0) },
    ],
  },
  'a map of several blocks': {
    size: 409_600,
    pieces: range(100, (index) => ({ offset: index * 4096, data: Buffer.alloc(512, 'p') })),
  },
  'no bytes': { size: 0, pieces: [] },
};

describe('a sparse file', () => {
  for (const [form, make] of Object.entries(forms))
    for (const [what, file] of Object.entries(cases))
      it(`of ${form} with ${what} has its content, and the next entry follows`, async () => {
        const request = requestOf(
          Buffer.concat([make('sparse', file), rawEntry({ name: 'next', body: 'next' }), endOfArchive]),
        );
        await unpackHere(request);
        assert.ok(readFileSync(`${request.staging}/fs/sparse`).equals(contentOfSparse(file)));
        assert.equal(readFileSync(`${request.staging}/fs/next`, 'utf8'), 'next');
        assert.equal(statSync(`${request.staging}/fs/sparse`).mtimeMs, 1_000_000_000_000);
      });

  it('of 2 GiB costs only as much as its data', async () => {
    const file: SparseFile = { size: 2 ** 31, pieces: [{ offset: 2 ** 30, data: Buffer.from('data') }] };
    const request = requestOf(Buffer.concat([sparseByPax('1.0', 'large', file), endOfArchive]));
    const { bytes } = await unpackHere(request);
    const { size, blocks } = statSync(`${request.staging}/fs/large`);
    assert.equal(size, 2 ** 31);
    assert.ok(blocks * 512 <= 8192, String(blocks));
    assert.ok(bytes <= 3 * 4096, String(bytes));
  });

  it('written by GNU tar is read, in each version', async () => {
    for (const version of ['0.0', '0.1', '1.0', undefined]) {
      const folder = newPath();
      execFileSync('mkdir', [folder]);
      writeFileSync(`${folder}/f`, 'begin');
      truncateSync(`${folder}/f`, 1_000_000);
      writeFileSync(`${folder}/f`, 'end', { flag: 'a' });
      const format =
        version === undefined ? ['--format=gnu'] : ['--format=pax', `--sparse-version=${version}`];
      const tar = execFileSync('tar', ['-C', folder, '--sparse', ...format, '-cf', '-', 'f'], {
        maxBuffer: 2 ** 24,
      });
      assert.ok(tar.length < 100_000, 'tar found the hole');
      const request = requestOf(tar);
      await unpackHere(request);
      assert.deepEqual(readFileSync(`${request.staging}/fs/f`), readFileSync(`${folder}/f`));
    }
  });

  it('gives the same result, however its archive is divided', () => {
    const archive = Buffer.concat([
      ...Object.values(forms).map((make) => make('sparse', cases['a map of several blocks'] ?? odd)),
      endOfArchive,
    ]);
    const read = (lengths: readonly number[]): readonly string[] => {
      const seen: string[] = [];
      let data = '';
      const reader = createTarReader({
        begin: ({ name, size, sparse }) => void seen.push(JSON.stringify([name, size, sparse])),
        data: (part) => void (data += part.toString('latin1')),
        end: () => void seen.push(data),
      });
      for (let [at, turn] = [0, 0]; at < archive.length; turn += 1) {
        const length = lengths[turn % lengths.length] ?? 1;
        reader.push(archive.subarray(at, at + length));
        at += length;
      }
      reader.finish();
      return seen;
    };
    const whole = read([archive.length]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 }), (lengths) => {
        assert.deepEqual(read(lengths), whole);
      }),
      { numRuns: 50 },
    );
  });
});

const sparse = (
  records: Readonly<Record<string, string>>,
  body: Uint8Array = Buffer.alloc(0),
  type = '0',
): Buffer => {
  const header = extendedHeader(
    Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(`GNU.sparse.${key}`, value))),
  );
  return Buffer.concat([
    header,
    rawBlock('f', type, body.length),
    body,
    Buffer.alloc((512 - (body.length % 512)) % 512),
    endOfArchive,
  ]);
};
const inBody = (map: string, size = '1000'): Buffer =>
  sparse({ major: '1', minor: '0', realsize: size }, Buffer.from(map.padEnd(512, '\0')));
const old = (...numbers: readonly number[]): Buffer => {
  const pieces = range(numbers.length / 2, (index) => ({
    offset: numbers[2 * index] ?? 0,
    data: Buffer.alloc(numbers[2 * index + 1] ?? 0),
  }));
  return Buffer.concat([oldSparse('f', { size: 1000, pieces }), endOfArchive]);
};

const refusals: Readonly<Record<string, readonly [code: string, tar: () => Buffer]>> = {
  'an unknown version': ['IMAGES_LAYER_UNSUPPORTED', () => sparse({ major: '2', minor: '0', realsize: '1' })],
  'an unknown record': ['IMAGES_LAYER_UNSUPPORTED', () => sparse({ other: '1', size: '1' })],
  'no size': ['IMAGES_LAYER_CORRUPT', () => sparse({ map: '0,1', numblocks: '1' })],
  'no map': ['IMAGES_LAYER_CORRUPT', () => sparse({ size: '5', numblocks: '0' })],
  'a body that is too short for its map': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ major: '1', minor: '0', realsize: '5' }),
  ],
  'two maps': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '0,1', offset: '0', numbytes: '1' }, Buffer.from('x')),
  ],
  'a length without an offset': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', numbytes: '1', offset: '0' }),
  ],
  'a number of pieces that differs from the header': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '2', map: '0,1' }, Buffer.from('x')),
  ],
  'a map with text in it': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '0,x' }, Buffer.from('x')),
  ],
  'a negative offset': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '-1,1' }, Buffer.from('x')),
  ],
  'a piece outside the file': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '5,1' }, Buffer.from('x')),
  ],
  'pieces that overlap': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '2', map: '0,2,1,1' }, Buffer.from('xyz')),
  ],
  'pieces in a wrong order': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '2', map: '3,1,0,1' }, Buffer.from('xy')),
  ],
  'more data than its pieces have': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '0,1' }, Buffer.from('xy')),
  ],
  'less data than its pieces have': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '5', numblocks: '1', map: '0,2' }, Buffer.from('x')),
  ],
  'a number in the body that does not end': ['IMAGES_LAYER_CORRUPT', () => inBody('9'.repeat(400))],
  'text in the map of the body': ['IMAGES_LAYER_CORRUPT', () => inBody('one\n')],
  'more pieces than a map can have': ['IMAGES_LAYER_TOO_LARGE', () => inBody('99999999\n')],
  'a map that exceeds the body': ['IMAGES_LAYER_CORRUPT', () => inBody('1000\n')],
  'a map in the body of more than 1 MiB': [
    'IMAGES_LAYER_TOO_LARGE',
    () =>
      sparse(
        { major: '1', minor: '0', realsize: '5' },
        Buffer.from(`200000\n${'000000000000000\n'.repeat(70_000)}`),
      ),
  ],
  'a folder that is sparse': [
    'IMAGES_LAYER_CORRUPT',
    () => sparse({ size: '0', numblocks: '1', map: '0,0' }, Buffer.alloc(0), '5'),
  ],
  'pieces of old GNU tar that overlap': ['IMAGES_LAYER_CORRUPT', () => old(0, 100, 50, 100)],
  'an archive that ends in the map': [
    'IMAGES_LAYER_TRUNCATED',
    () => oldSparse('f', cases['a map of several blocks'] ?? odd).subarray(0, 1024),
  ],
  'a file that is larger than a layer': [
    'IMAGES_LAYER_TOO_LARGE',
    () => sparse({ size: String(2 ** 40), numblocks: '1', map: '0,0' }),
  ],
  'small pieces in many blocks': [
    'IMAGES_LAYER_TOO_LARGE',
    () => {
      const pieces = range(2000, (index) => ({ offset: index * 65_536, data: Buffer.from('x') }));
      return Buffer.concat([sparseByPax('1.0', 'f', { size: 2 ** 27, pieces }), endOfArchive]);
    },
  ],
};

describe('refuses a sparse file with', () => {
  for (const [what, [code, tar]] of Object.entries(refusals)) {
    it(what, async () => {
      const limits = { ratioFloorBytes: 2 ** 23 };
      await assert.rejects(unpackHere(requestOf(tar(), { limits })), codeIs(code));
    });
  }
});
