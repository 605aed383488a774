import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { getXattr, listXattr, mknod } from '../../../base/kernel/index.ts';
import { rawTar } from './tar.fixture.ts';
import { layerFolderOfEachTest, unpackHere } from './unpack.fixture.ts';

const { newPath, requestOf } = layerFolderOfEachTest('copy-up');

/** The bytes of `user.dé` in UTF-8, as an archive has them. */
const record = `SCHILY.xattr.${Buffer.from('user.d\u00e9').toString('latin1')}`;
const name = 'user.d\u00e9';

describe('a hard link to a file of a layer below', () => {
  it('keeps the mode of a device, whatever the umask is', async () => {
    const lower = newPath();
    mkdirSync(lower);
    for (const [device, mode] of [
      ['null', 0o666],
      ['odd', 0o7707],
    ] as const) {
      mknod(`${lower}/${device}`, 0o020000 | mode, 1, 3);
      chmodSync(`${lower}/${device}`, mode);
    }
    const request = requestOf(
      rawTar([
        { name: 'one', type: '1', link: 'null' },
        { name: 'two', type: '1', link: 'odd' },
      ]),
    );
    await unpackHere(request, [lower]);
    assert.deepEqual(
      ['one', 'two'].map((each) => statSync(`${request.staging}/fs/${each}`).mode),
      [0o020666, 0o027707],
    );
  });

  it('keeps an extended attribute whose name is not ASCII', async () => {
    const below = requestOf(rawTar([{ name: 'f', body: 'x', pax: { [record]: 'value' } }]), { lowest: true });
    await unpackHere(below);
    const request = requestOf(rawTar([{ name: 'l', type: '1', link: 'f' }]));
    await unpackHere(request, [`${below.staging}/fs`]);
    assert.deepEqual(listXattr(`${request.staging}/fs/l`), [name]);
    assert.equal(Buffer.from(getXattr(`${request.staging}/fs/l`, name) ?? []).toString(), 'value');
  });
});

describe('an extended attribute', () => {
  it('has exactly the bytes of its name in the archive', async () => {
    const request = requestOf(
      rawTar([
        { name: 'f', pax: { [record]: 'value', 'SCHILY.xattr.user.\u00ff\u00fe': 'bytes' } },
        { name: 'd/', type: '5', pax: { [record]: 'folder' } },
      ]),
      { lowest: true },
    );
    await unpackHere(request);
    const names = listXattr(`${request.staging}/fs/f`, { encoding: 'latin1' }).sort();
    assert.deepEqual(names, [Buffer.from(name).toString('latin1'), 'user.\u00ff\u00fe'].sort());
    assert.deepEqual(listXattr(`${request.staging}/fs/d`), [name]);
  });

  it('is inherited from a folder below, under its name', async () => {
    const below = requestOf(rawTar([{ name: 'd/', type: '5', pax: { [record]: 'folder' } }]), {
      lowest: true,
    });
    await unpackHere(below);
    const request = requestOf(rawTar([{ name: 'd/new', body: 'x' }]));
    await unpackHere(request, [`${below.staging}/fs`]);
    assert.deepEqual(listXattr(`${request.staging}/fs/d`), [name]);
  });
});
