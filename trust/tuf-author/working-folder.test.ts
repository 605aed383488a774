import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { openWorkingFolder } from './working-folder.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-working-'));
after(() => rmSync(home, { recursive: true }));

const refused = { code: 'TRUST_AUTHOR_NAME' };

test('a name that is not valid for a collection has no folder', () => {
  for (const name of [
    '',
    '.',
    '..',
    '../other',
    '/abs',
    'a//b',
    'a/',
    'a/./b',
    'a b',
    'a\nrole: root',
    'a\u2028b',
    'a*',
    '\ud800',
    'x'.repeat(256),
  ])
    assert.throws(() => openWorkingFolder(home, name), refused, JSON.stringify(name));
  assert.deepEqual(readdirSync(home), []);
});

test('an image’s name, with a port or without, has a folder of its own', () => {
  const names = [
    'pay',
    'registry.example.com/pay/app',
    'localhost:5000/a',
    '127.0.0.1:5000/a',
    '[::1]:5000/a',
    'größe/ä',
  ];
  const paths = names.map((name) => openWorkingFolder(home, name).path);
  assert.equal(new Set(paths).size, names.length);
});

test('a collection of any name has its own folder directly below the folder of collections', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (one, other) => {
      const paths = [one, other].map((name) => {
        try {
          return openWorkingFolder(home, name).path;
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, refused.code);
          return undefined;
        }
      });
      for (const path of paths)
        if (path !== undefined)
          assert.match(path.slice(join(home, 'collections/').length), /^(?!\.{1,2}$)[^/]{1,255}$/u);
      if (paths[0] !== undefined && one !== other) assert.notEqual(paths[0], paths[1]);
    }),
  );
});

test('metadata that cannot be listed are not taken for a collection that has none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-working-'));
  const working = openWorkingFolder(folder, 'example.com/unread');
  assert.equal((await working.standing('tuf')).size, 0);
  mkdirSync(working.path, { recursive: true });
  symlinkSync('tuf', join(working.path, 'tuf'));
  try {
    await assert.rejects(working.standing('tuf'), { code: 'TRUST_AUTHOR_WORKING_FOLDER' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what a killed command left in the folder is removed by a later one', async () => {
  const working = openWorkingFolder(home, 'example.com/killed');
  await working.saveStaged([]);
  await working.saveStanding('tuf', new Map());
  const long = new Date(Date.now() - 3_600_000);
  for (const name of ['.staged.json.0123456789ab.tmp', 'tuf/.snapshot.json.0123456789ab.tmp']) {
    writeFileSync(join(working.path, name), '');
    utimesSync(join(working.path, name), long, long);
  }
  await working.saveStaged([]);
  await working.saveStanding('tuf', new Map());
  assert.deepEqual(readdirSync(working.path).sort(), ['staged.json', 'tuf']);
  assert.deepEqual(readdirSync(join(working.path, 'tuf')), []);
});
