import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { after, test } from 'node:test';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import { rawTar } from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import { range } from '../unpack/unpack.fixture.ts';
import { openLayerFile } from './check-layer.ts';
import { encode, unpack } from './erofs.fixture.ts';

/**
 * Twice as much of anything that archives can multiply costs at most twice as much, to encode and to check.
 */

// In memory: the cost of a journal and a busy disk is not the cost of the code.
const folder = mkdtempSync('/dev/shm/portcullis-erofs-cost-');
after(() => {
  rmSync(folder, { recursive: true });
});
let count = 0;

interface Case {
  readonly n: number;
  readonly entries: (n: number) => readonly RawEntry[];
  /** The archive of the layer below. */
  readonly below?: (n: number) => readonly RawEntry[];
}

const cases: Readonly<Record<string, Case>> = {
  'files of one folder': {
    n: 2000,
    entries: (n) => range(n, (index) => ({ name: `a/${(index * 7919) % n}`, body: 'x' })),
  },
  'folders with long names': {
    n: 500,
    entries: (n) => range(n, (index) => ({ name: `${'n'.repeat(240)}${index}/f` })),
  },
  'the depth of folders': {
    n: 16,
    entries: (n) => range(16, (index) => ({ name: `${index}/${'d/'.repeat(n)}f` })),
  },
  'long symlinks': {
    n: 1000,
    entries: (n) => range(n, (index) => ({ name: `s${index}`, type: '2', link: 'x'.repeat(800) })),
  },
  'hard links to one file': {
    n: 1000,
    entries: (n) => [
      { name: 'l0' },
      ...range(n, (index): RawEntry => ({ name: `l${index + 1}`, type: '1', link: `l${index}` })),
    ],
  },
  'equal and different extended attributes': {
    n: 500,
    entries: (n) =>
      range(n, (index) => ({
        name: `f${index}`,
        pax: { 'SCHILY.xattr.user.a': 'x'.repeat(300), 'SCHILY.xattr.user.b': `${index % 50}` },
      })),
  },
  'one path many times': { n: 1000, entries: (n) => range(n, () => ({ name: 'a/file' })) },
  'a tree that a file replaces and that is created again': {
    n: 300,
    entries: (n) => range(n, () => [{ name: 'a', type: '5' }, { name: 'a/b/c/d/e' }, { name: 'a' }]).flat(),
  },
  'whiteouts and opaque folders': {
    n: 500,
    entries: (n) =>
      range(n, (index) => [{ name: `.wh.f${index}` }, { name: `d${index}/.wh..wh..opq` }]).flat(),
  },
  'hard links to files below': {
    n: 200,
    entries: (n) => range(n, (index) => ({ name: `link${index}`, type: '1', link: `a/b/f${index}` })),
    below: (n) => range(n, (index) => ({ name: `a/b/f${index}`, body: 'content' })),
  },
  'entries below folders that are symlinks below': {
    n: 200,
    entries: (n) => range(n, (index) => ({ name: `s${index % 3}/f${index}` })),
    below: () => [
      { name: 't', type: '5' },
      ...range(3, (index): RawEntry => ({ name: `s${index}`, type: '2', link: 't' })),
    ],
  },
  'the bytes of a file': { n: 2 * 1024 * 1024, entries: (n) => [{ name: 'f', body: Buffer.alloc(n, 'x') }] },
};

for (const [name, { n, entries, below }] of Object.entries(cases)) {
  test(`${name}: twice as many take about twice the time`, () =>
    assertNearLinearWork(
      name,
      async (size) => {
        const lowers =
          below === undefined ? [] : [(await unpack(`${folder}/${count++}`, rawTar(below(size)))).root];
        const tar = rawTar(entries(size));
        return async () => {
          const path = `${folder}/${count++}`;
          closeSync(openLayerFile(path, await encode(path, tar, { lowers })));
          rmSync(path);
          rmSync(`${path}.blob`);
        };
      },
      { n },
    ));
}
