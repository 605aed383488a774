import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import { defaultLimits } from '../limits/limits.ts';
import { sha256 } from '../test-kit.ts';
import { rawTar } from './tar.fixture.ts';
import type { RawEntry } from './tar.fixture.ts';
import { range, unpackHere } from './unpack.fixture.ts';

/** Twice as much of anything that archives can multiply costs at most twice as much. */

// In memory: the cost of a journal and a busy disk is not the cost of the code.
const folder = mkdtempSync('/dev/shm/portcullis-unpack-cost-');
after(() => {
  rmSync(folder, { recursive: true });
});
let count = 0;

interface Layer {
  readonly blob: string;
  readonly diffId: string;
}

function layerOf(entries: readonly RawEntry[]): Layer {
  const tar = rawTar(entries);
  const blob = `${folder}/${count++}.tar`;
  writeFileSync(blob, tar);
  return { blob, diffId: sha256(tar) };
}

/** Returns the root of the unpacked layer. */
async function unpack({ blob, diffId }: Layer, lowers: readonly string[] = []): Promise<string> {
  const staging = `${folder}/${count++}`;
  await unpackHere({ blob, staging, diffId, lowest: lowers.length === 0, limits: defaultLimits }, lowers);
  return `${staging}/fs`;
}

const deepPath = (depth: number): string => range(depth, () => 'd').join('/');

interface Case {
  readonly n: number;
  readonly entries: (n: number) => readonly RawEntry[];
  /** Archives of the layers below, lowest first. */
  readonly below?: (n: number) => readonly (readonly RawEntry[])[];
}

const deep = deepPath(400);
const cases: Readonly<Record<string, Case>> = {
  'hard links to a deep folder below': {
    n: 100,
    entries: (n) => range(n, (index) => ({ name: `link${index}`, type: '1', link: `${deep}/f${index % 8}` })),
    below: () => range(4, () => range(8, (index) => ({ name: `${deep}/f${index}` }))),
  },
  'hard links to files below, each with a different name': {
    n: 150,
    entries: (n) => range(n, (index) => ({ name: `link${index}`, type: '1', link: `a/b/f${index}` })),
    below: (n) => [range(n, (index) => ({ name: `a/b/f${index}` }))],
  },
  'the depth of a hard link’s target': {
    n: 100,
    entries: (n) => range(50, (index) => ({ name: `link${index}`, type: '1', link: `${deepPath(n)}/f` })),
    below: (n) => range(8, () => [{ name: `${deepPath(n)}/f` }]),
  },
  'layers below a deep hard link': {
    n: 8,
    entries: () => range(50, (index) => ({ name: `link${index}`, type: '1', link: `${deepPath(200)}/f` })),
    below: (n) => range(n, () => [{ name: `${deepPath(200)}/f` }]),
  },
  'hard links to hard links': {
    n: 500,
    entries: (n) => [
      { name: 'l0' },
      ...range(n, (index): RawEntry => ({ name: `l${index + 1}`, type: '1', link: `l${index}` })),
    ],
  },
  'hard links to hard links to a file below': {
    n: 300,
    entries: (n) =>
      range(n, (index) => ({ name: `l${index + 1}`, type: '1', link: index === 0 ? 'file' : `l${index}` })),
    below: () => [[{ name: 'file' }]],
  },
  'hard links through symlinks below': {
    n: 300,
    entries: (n) => range(n, (index) => ({ name: `l${index}`, type: '1', link: `s0/s/f${index % 4}` })),
    below: () => [
      [
        ...range(19, (index): RawEntry => ({
          name: `s${index}`,
          type: '2',
          link: index === 18 ? 'a/b' : `s${index + 1}`,
        })),
        { name: 'a/b/s', type: '2', link: '.' },
        ...range(4, (index) => ({ name: `a/b/f${index}` })),
      ],
    ],
  },
  'whiteouts over several layers': {
    n: 300,
    entries: (n) => range(n, (index) => ({ name: `.wh.f${index}` })),
    below: () => range(4, () => [{ name: 'f1' }]),
  },
  'opaque folders over several layers': {
    n: 100,
    entries: (n) => range(n, (index) => ({ name: `d${index}/.wh..wh..opq` })),
    below: (n) => range(4, () => range(n, (index) => ({ name: `d${index}`, type: '5' }))),
  },
  'folders that only the layers below list': {
    n: 50,
    entries: (n) => range(n, (index) => ({ name: `a/d${index}/f` })),
    below: (n) => range(4, () => range(n, (index) => ({ name: `a/d${index}`, type: '5' }))),
  },
  'layers below folders that the archive does not list': {
    n: 8,
    entries: () => range(50, (index) => ({ name: `a/d${index}/f` })),
    below: (n) => range(n, () => range(50, (index) => ({ name: `a/d${index}`, type: '5' }))),
  },
  'folders that are symlinks below': {
    n: 50,
    entries: (n) => range(n, (index) => ({ name: `s${index}/f${index}` })),
    below: (n) => [
      [
        { name: 'target', type: '5' },
        ...range(n, (index): RawEntry => ({ name: `s${index}`, type: '2', link: 'target' })),
      ],
    ],
  },
  'entries below folders that are symlinks below': {
    n: 100,
    entries: (n) => range(n, (index) => ({ name: `s${index % 3}/f${index}` })),
    below: () => [
      [
        { name: 't', type: '5' },
        ...range(3, (index): RawEntry => ({ name: `s${index}`, type: '2', link: 't' })),
      ],
    ],
  },
  'folders with times and modes': {
    n: 150,
    entries: (n) => range(n, (index) => ({ name: `d${index}`, type: '5' })),
  },
  'the depth of folders': {
    n: 16,
    entries: (n) => range(16, (index) => ({ name: `${index}/${deepPath(n)}/f` })),
  },
  'one path many times': {
    n: 250,
    entries: (n) => range(n, () => ({ name: 'a/file' })),
  },
  'a tree that a file replaces and that is created again': {
    n: 50,
    entries: (n) => range(n, () => [{ name: 'a', type: '5' }, { name: 'a/b/c/d/e' }, { name: 'a' }]).flat(),
  },
  'a large tree that a file replaces': {
    n: 200,
    entries: (n) => [...range(n, (index) => ({ name: `a/${index % 20}/f${index}` })), { name: 'a' }],
  },
  'entries through symlinks of the layer': {
    n: 150,
    entries: (n) => [
      ...range(30, (index): RawEntry => ({
        name: `s${index}`,
        type: '2',
        link: index === 29 ? 'a/b' : `./s${index + 1}`,
      })),
      ...range(n, (index) => ({ name: `s0/x${index % 50}/f${index}` })),
    ],
  },
  'the length of symlinks’ targets': {
    n: 125,
    entries: (n) => [
      { name: 'a', type: '5' },
      { name: 's', type: '2', link: range(n, () => './a/..').join('/') },
      ...range(300, (index) => ({ name: `s/x${index}/f` })),
    ],
  },
  'pax records of one entry': {
    n: 2000,
    entries: (n) => [{ name: 'f', pax: Object.fromEntries(range(n, (index) => [`comment.${index}`, 'x'])) }],
  },
  'entries with extended attributes': {
    n: 150,
    entries: (n) =>
      range(n, (index) => ({
        name: `f${index}`,
        pax: { 'SCHILY.xattr.user.a': 'x'.repeat(500), 'SCHILY.xattr.user.b': 'y' },
      })),
  },
  'the bytes of a file': {
    n: 1024 * 1024,
    entries: (n) => [{ name: 'f', body: Buffer.alloc(n, 'x') }],
  },
};

for (const [name, { n, entries, below = () => [] }] of Object.entries(cases)) {
  test(`${name}: twice as many take about twice the time`, () =>
    assertNearLinearWork(
      name,
      async (size) => {
        const lowers: string[] = [];
        for (const archive of below(size)) lowers.unshift(await unpack(layerOf(archive)));
        const layer = layerOf(entries(size));
        return () => unpack(layer, lowers);
      },
      { n },
    ));
}
