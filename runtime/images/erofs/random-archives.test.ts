import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { it } from 'node:test';
import fc from 'fast-check';
import { rawTar } from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import { codeOf, encode, unpack } from './erofs.fixture.ts';
import type { LayerOptions } from './erofs.fixture.ts';
import { assertJudged, judged, layersOfEachTest, mountable } from './layers.fixture.ts';

const { newPath, memoryPath, same } = layersOfEachTest();

const seed = (): { seed?: number } =>
  process.env['FUZZ_SEED'] === undefined ? {} : { seed: Number(process.env['FUZZ_SEED']) };

const partName = fc.constantFrom(
  'a',
  'b',
  'c',
  'd\u00e9',
  '.',
  '',
  '..',
  '.wh.a',
  '.wh.b',
  '.wh..wh..opq',
  'n'.repeat(200),
);
const anyPath = fc.array(partName, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const anyEntry: fc.Arbitrary<RawEntry> = fc
  .record({
    name: anyPath,
    type: fc.constantFrom('0', '0', '1', '2', '5', '5', '6'),
    link: fc.oneof(anyPath, fc.constantFrom('a', 'b/c', '/', '..', '../../outside', '/a/b')),
    size: fc.constantFrom(0, 1, 512, 600, 5000),
    pax: fc.dictionary(
      fc.constantFrom('mtime', 'SCHILY.xattr.user.a', 'SCHILY.xattr.user.b', 'SCHILY.xattr.trusted.x', 'uid'),
      fc.constantFrom('1', '1000000000.5', '77.25'),
      { maxKeys: 3 },
    ),
  })
  .map(({ name, type, link, size, pax }) => {
    const { uid, mtime, ...others } = pax;
    const numbers = {
      ...(uid === undefined ? {} : { uid: uid.split('.')[0] ?? '0' }),
      ...(mtime === undefined ? {} : { mtime }),
    };
    return {
      name: name === '' ? 'a' : name,
      type,
      link: type === '1' || type === '2' ? link : '',
      body: type === '0' ? 'x'.repeat(size) : '',
      pax: { ...others, ...numbers },
    };
  });

/**
 * Both forms accept the archive and have the same tree, or refuse it with the same code. Returns the mounted
 * root.
 */
async function both(tar: Buffer, options: LayerOptions = {}): Promise<string | undefined> {
  const path = newPath();
  const refusedByFile = await codeOf(() => encode(path, tar, options));
  const refusedByFolder = await codeOf(() => unpack(memoryPath(), tar, options));
  assert.equal(refusedByFile, refusedByFolder);
  assert.equal(existsSync(path), refusedByFile === undefined);
  if (refusedByFile !== undefined) return undefined;
  const { layer } = await same(tar, options);
  if (judged.skip === false) assertJudged(layer.path);
  return layer.root;
}

it(
  'any archive over any other archive gives the same tree or the same refusal as in the folder form',
  mountable,
  async (t) => {
    if (judged.skip !== false) t.diagnostic(`fsck.erofs checks none of the files: ${judged.skip}`);
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyEntry, { maxLength: 14 }),
        fc.array(anyEntry, { maxLength: 14 }),
        async (below, above) => {
          const base = rawTar(below);
          const top = rawTar(above);
          const lower = await both(base);
          if (lower === undefined) await both(top);
          else await both(top, { lowers: [lower] });
        },
      ),
      { numRuns: Number(process.env['FUZZ_TIMES'] ?? 1) * 150, ...seed() },
    );
  },
);
