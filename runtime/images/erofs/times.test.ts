import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { describe, it } from 'node:test';
import { rawTar } from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import { unpack } from './erofs.fixture.ts';
import { layersOfEachTest, mountable } from './layers.fixture.ts';

const { memoryPath, mounted } = layersOfEachTest();

/** Times in the form of pax, and in nanoseconds. */
const times: readonly (readonly [string, bigint])[] = [
  ['1234567890.123456789', 1_234_567_890_123_456_789n],
  ['1234567890.1', 1_234_567_890_100_000_000n],
  ['1.000000001', 1_000_000_001n],
  ['1.0000000019', 1_000_000_001n],
  ['7.', 7_000_000_000n],
  ['8589934591.999999999', 8_589_934_591_999_999_999n],
  ['999999999999', 8_589_934_592_000_000_000n],
  // Some tools write milliseconds.
  ['1700000000000', 8_589_934_592_000_000_000n],
  ['-5.5', 0n],
];
const entries = times.flatMap(([mtime], index): RawEntry[] => [
  { name: `f${index}`, body: 'x', pax: { mtime } },
  { name: `s${index}`, type: '2', link: 'x', pax: { mtime } },
  { name: `d${index}/`, type: '5', pax: { mtime } },
  { name: `p\u00e9${index}`, type: '6', pax: { mtime } },
]);
const expected = times.map(([, ns]) => [ns, ns, ns, ns]);

function timesIn(root: string, names: readonly string[]): bigint[][] {
  return times.map((_, index) =>
    names.map(
      (name) => lstatSync(Buffer.from(`${root}/${name}${index}`, 'latin1'), { bigint: true }).mtimeNs,
    ),
  );
}
const names = ['f', 's', 'd', 'p\u00e9'];

describe('the time of an entry is exact to the nanosecond', mountable, () => {
  it('in a mounted layer file', async () => {
    const { root } = await mounted(rawTar(entries));
    assert.deepEqual(timesIn(root, names), expected);
  });

  it('in a folder', async () => {
    const { root } = await unpack(memoryPath(), rawTar(entries));
    assert.deepEqual(timesIn(root, names), expected);
  });

  it('also of a file that is copied from a layer below', async () => {
    const above = rawTar(
      times.flatMap((_, index): RawEntry[] => [
        { name: `f-${index}`, type: '1', link: `f${index}` },
        { name: `s-${index}`, type: '1', link: `s${index}` },
        { name: `p-${index}`, type: '1', link: `p\u00e9${index}` },
      ]),
    );
    const lower = await mounted(rawTar(entries));
    const file = await mounted(above, { lowers: [lower.root] });
    const folder = await unpack(memoryPath(), above, { lowers: [lower.root] });
    const taken = expected.map((each) => each.slice(1));
    assert.deepEqual(timesIn(file.root, ['f-', 's-', 'p-']), taken);
    assert.deepEqual(timesIn(folder.root, ['f-', 's-', 'p-']), taken);
  });

  it('also of a folder that is inherited from a layer below', async () => {
    const lower = await mounted(rawTar([{ name: 'd/', type: '5', pax: { mtime: '1234567890.123456789' } }]));
    const above = rawTar([{ name: 'd/new' }]);
    const file = await mounted(above, { lowers: [lower.root] });
    const folder = await unpack(memoryPath(), above, { lowers: [lower.root] });
    for (const root of [file.root, folder.root])
      assert.equal(lstatSync(`${root}/d`, { bigint: true }).mtimeNs, 1_234_567_890_123_456_789n);
  });
});
