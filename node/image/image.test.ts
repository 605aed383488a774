import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import {
  entriesFolder,
  entryFileName,
  entryText,
  readEntryFileName,
  slotOfCommandLine,
} from './boot-entry.ts';
import { installUpdate } from './install-update.ts';
import type { InstallInput } from './install-update.ts';
import { formatManifest, readManifest } from './manifest.ts';
import type { NodeImageManifest } from './manifest.ts';
import { runningImage } from './running-image.ts';
import { confirmSlot, failedVersion } from './slot-entries.ts';
import { openUpdateSource } from './update-source.ts';

const parts = { root: 'r'.repeat(9000), kernel: 'kernel', initial: 'initial' } as const;
const files = { root: 'root.img', kernel: 'vmlinuz', initial: 'initial.img' } as const;
const partOf = (text: string) => ({
  bytes: text.length,
  sha256: createHash('sha256').update(text).digest('hex'),
});
const manifest: NodeImageManifest = {
  apiVersion: 'portcullis.dev/v1alpha1',
  kind: 'NodeImageManifest',
  name: 'test',
  version: 2,
  architecture: 'amd64',
  commandLine: 'quiet',
  parts: { root: partOf(parts.root), kernel: partOf(parts.kernel), initial: partOf(parts.initial) },
  verity: { rootHash: '0'.repeat(64), salt: '1'.repeat(64), dataBlocks: 2 },
};

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (thrown) {
    assert.ok(isPortcullisError(thrown), String(thrown));
    return thrown.code;
  }
  return 'none';
}

describe('boot entries', () => {
  it('have names in which the boot loader counts', () => {
    for (const [entry, name] of [
      [{ slot: 'a' }, 'portcullis-a.conf'],
      [{ slot: 'b', triesLeft: 1 }, 'portcullis-b+1.conf'],
      [{ slot: 'b', triesLeft: 0, triesDone: 3 }, 'portcullis-b+0-3.conf'],
    ] as const) {
      assert.equal(entryFileName(entry), name);
      assert.deepEqual(readEntryFileName(name), entry);
    }
    for (const other of [
      'portcullis-c.conf',
      'portcullis-a+.conf',
      'portcullis-a.conf.partial',
      'debian.conf',
    ])
      assert.equal(readEntryFileName(other), undefined);
  });

  it('name the slot and the root hash, which the boot reads', () => {
    const text = entryText('b', manifest);
    assert.match(text, /^version 2$/mu);
    const options = /^options (.*)$/mu.exec(text)?.[1] ?? '';
    assert.equal(options, `quiet portcullis.slot=b portcullis.root=2:${'0'.repeat(64)}:${'1'.repeat(64)}`);
    assert.equal(slotOfCommandLine(options), 'b');
    assert.equal(slotOfCommandLine('quiet portcullis.slot=c'), undefined);
  });
});

describe('a manifest', () => {
  it('is read as it was written', () => {
    assert.deepEqual(readManifest(Buffer.from(formatManifest(manifest)), 'm'), manifest);
  });

  for (const [what, change] of [
    ['a line feed in the command line', { commandLine: 'quiet\ninitrd /other' }],
    ['an unknown field', { more: 1 }],
    ['a digest that is none', { parts: { ...manifest.parts, root: { bytes: 1, sha256: 'x' } } }],
    ['another architecture', { architecture: 'arm64' }],
  ] as const)
    it(`with ${what} is refused`, async () => {
      const text = JSON.stringify({ ...manifest, ...change });
      assert.equal(await codeOf(async () => readManifest(Buffer.from(text), 'm')), 'NODE_IMAGE_INVALID');
    });
});

describe('an update', () => {
  let folder = '';
  const at = (path: string): string => join(folder, path);
  const entries = (): readonly string[] => readdirSync(at(`boot/${entriesFolder}`)).sort();
  const device = (): string => readFileSync(at('devices/portcullis-b'), 'latin1');
  const install = (more: Partial<InstallInput> = {}) =>
    installUpdate({
      source: openUpdateSource(at('source'), new AbortController().signal),
      places: { boot: at('boot'), devices: at('devices'), lock: at('lock') },
      running: { slot: 'a', name: 'test', version: 1 },
      again: false,
      verify: () => Promise.resolve(undefined),
      ...more,
    });
  const publish = (written: NodeImageManifest): void =>
    writeFileSync(at('source/manifest.json'), formatManifest(written));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-node-image-'));
    for (const path of ['source', 'devices', `boot/${entriesFolder}`])
      mkdirSync(at(path), { recursive: true });
    publish(manifest);
    writeFileSync(at('source/manifest.json.bundle'), '{}');
    for (const [part, text] of Object.entries(parts))
      writeFileSync(at(`source/${files[part as keyof typeof files]}`), text);
    writeFileSync(at('devices/portcullis-b'), '\0'.repeat(10_000));
    writeFileSync(at(`boot/${entriesFolder}/portcullis-a+3.conf`), 'version 1\n');
    writeFileSync(at(`boot/${entriesFolder}/portcullis-b+3.conf`), 'version 0\n');
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it('is written to the other slot, with one try', async () => {
    assert.deepEqual(await install(), { installed: true, slot: 'b', version: 2 });
    assert.deepEqual(entries(), ['portcullis-a+3.conf', 'portcullis-b+1.conf']);
    assert.equal(
      readFileSync(at(`boot/${entriesFolder}/portcullis-b+1.conf`), 'utf8'),
      entryText('b', manifest),
    );
    assert.ok(device().startsWith(parts.root));
    assert.equal(readFileSync(at('boot/portcullis/b/vmlinuz'), 'utf8'), parts.kernel);
    assert.equal(readFileSync(at('boot/portcullis/b/initial.img'), 'utf8'), parts.initial);
  });

  it('of the same or an older version changes nothing', async () => {
    for (const version of [2, 3]) {
      const done = await install({ running: { slot: 'a', name: 'test', version } });
      assert.deepEqual(done, { installed: false, version: 2, because: 'current' });
    }
    assert.deepEqual(entries(), ['portcullis-a+3.conf', 'portcullis-b+3.conf']);
  });

  it('that is older than the update which waits for the next boot does not replace it', async () => {
    publish({ ...manifest, version: 3 });
    await install();
    const before = entries();
    publish(manifest);
    assert.deepEqual(await install(), { installed: false, version: 2, because: 'newer' });
    assert.deepEqual(entries(), before);
    // The boot of version 3 was not confirmed.
    renameSync(
      at(`boot/${entriesFolder}/portcullis-b+1.conf`),
      at(`boot/${entriesFolder}/portcullis-b+0-1.conf`),
    );
    assert.equal((await install()).installed, true);
  });

  it('does not replace the image to return to before the running image is confirmed', async () => {
    const unconfirmed = ['portcullis-a+0-1.conf', 'portcullis-b+3.conf'];
    renameSync(
      at(`boot/${entriesFolder}/portcullis-a+3.conf`),
      at(`boot/${entriesFolder}/${unconfirmed[0]}`),
    );
    for (const again of [false, true])
      assert.deepEqual(await install({ again }), { installed: false, version: 2, because: 'unconfirmed' });
    assert.deepEqual(entries(), unconfirmed);
    assert.equal(await confirmSlot(at('boot'), 'a'), true);
    assert.equal((await install()).installed, true);
  });

  it('does not replace the image to return to if only the version in its entry is damaged', async () => {
    const entry = at(`boot/${entriesFolder}/portcullis-b+3.conf`);
    writeFileSync(entry, readFileSync(entry, 'utf8').replace('version ', 'versio\0 '));
    renameSync(
      at(`boot/${entriesFolder}/portcullis-a+3.conf`),
      at(`boot/${entriesFolder}/portcullis-a+0-1.conf`),
    );
    assert.deepEqual(await install(), { installed: false, version: 2, because: 'unconfirmed' });
    assert.equal(await confirmSlot(at('boot'), 'a'), true);
    assert.equal((await install()).installed, true);
  });

  it('is written to a slot that no longer starts although the running image is not confirmed', async () => {
    for (const [from, to] of [
      ['a+3', 'a+0-3'],
      ['b+3', 'b+0-3'],
    ])
      renameSync(
        at(`boot/${entriesFolder}/portcullis-${from}.conf`),
        at(`boot/${entriesFolder}/portcullis-${to}.conf`),
      );
    assert.equal((await install()).installed, true);
  });

  it('that no trusted key signed, or of another image, changes nothing', async () => {
    assert.equal(
      await codeOf(() => install({ verify: () => Promise.resolve('no key') })),
      'NODE_IMAGE_REFUSED',
    );
    publish({ ...manifest, name: 'other' });
    assert.equal(await codeOf(() => install()), 'NODE_IMAGE_REFUSED');
    assert.deepEqual(entries(), ['portcullis-a+3.conf', 'portcullis-b+3.conf']);
    assert.ok(!device().includes('r'));
  });

  for (const [what, part, text] of [
    ['a changed root', 'root', `x${parts.root.slice(1)}`],
    ['a longer root', 'root', `${parts.root}x`],
    ['a shorter root', 'root', parts.root.slice(1)],
    ['a changed kernel', 'kernel', 'Kernel'],
    ['a changed initial file system', 'initial', 'Initial'],
  ] as const)
    it(`with ${what} leaves no entry of its slot`, async () => {
      writeFileSync(at(`source/${files[part]}`), text);
      assert.equal(await codeOf(() => install()), 'NODE_IMAGE_DAMAGED');
      assert.deepEqual(entries(), ['portcullis-a+3.conf']);
    });

  it('that does not fit into the slot is refused', async () => {
    writeFileSync(at('devices/portcullis-b'), 'small');
    assert.equal(await codeOf(() => install()), 'NODE_IMAGE_NOT_WRITTEN');
    assert.deepEqual(entries(), ['portcullis-a+3.conf']);
  });

  it('without a part, or without a device, is refused', async () => {
    rmSync(at('source/vmlinuz'));
    assert.equal(await codeOf(() => install()), 'NODE_IMAGE_UNREADABLE');
    assert.deepEqual(entries(), ['portcullis-a+3.conf']);
    rmSync(at('devices/portcullis-b'));
    assert.equal(await codeOf(() => install()), 'NODE_IMAGE_NOT_WRITTEN');
    rmSync(at('source/manifest.json'));
    assert.equal(await codeOf(() => install()), 'NODE_IMAGE_UNREADABLE');
  });

  it('whose boot was not confirmed is not installed again unless asked for', async () => {
    await install();
    const folderOfEntries = at(`boot/${entriesFolder}`);
    rmSync(join(folderOfEntries, 'portcullis-b+1.conf'));
    writeFileSync(join(folderOfEntries, 'portcullis-b+0-1.conf'), entryText('b', manifest));
    assert.equal(failedVersion(at('boot'), 'b'), 2);
    assert.deepEqual(await install(), { installed: false, version: 2, because: 'failed' });
    assert.equal((await install({ again: true })).installed, true);
  });

  it('repairs a slot that worked before and used up its tries', async () => {
    const folderOfEntries = at(`boot/${entriesFolder}`);
    rmSync(join(folderOfEntries, 'portcullis-b+3.conf'));
    writeFileSync(join(folderOfEntries, 'portcullis-b+0-3.conf'), entryText('b', manifest));
    assert.equal((await install()).installed, true);
  });

  it('is kept when it is confirmed, and gets all tries', async () => {
    await install();
    renameSync(
      at(`boot/${entriesFolder}/portcullis-b+1.conf`),
      at(`boot/${entriesFolder}/portcullis-b+0-1.conf`),
    );
    assert.equal(await confirmSlot(at('boot'), 'b'), true);
    assert.deepEqual(entries(), ['portcullis-a+3.conf', 'portcullis-b+3.conf']);
  });
});

describe('the running image', () => {
  it('is known by the command line and a file of the root', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-image-'));
    try {
      const [commandLine, identity] = [join(folder, 'cmdline'), join(folder, 'identity')];
      writeFileSync(commandLine, 'quiet portcullis.slot=b portcullis.root=1:2:3\n');
      writeFileSync(identity, '{"name":"test","version":7}');
      assert.deepEqual(await runningImage(commandLine, identity), { slot: 'b', name: 'test', version: 7 });
      for (const text of ['{}', '', '[]', 'null']) {
        writeFileSync(identity, text);
        assert.equal(await codeOf(() => runningImage(commandLine, identity)), 'NODE_IMAGE_NONE');
      }
      writeFileSync(commandLine, 'quiet\n');
      assert.equal(await codeOf(() => runningImage(commandLine, identity)), 'NODE_IMAGE_NONE');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
