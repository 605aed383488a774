import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasDescriptions, openServiceFolder } from './folder.ts';
import type { ServiceFolder } from './folder.ts';
import { linesOf } from './read.ts';

const described = (name: string, address = '10.96.0.1'): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80]\n`;

/** What it says now: names and problems without the folder; undefined: nothing else than before. */
async function told(folder: ServiceFolder, root: string): Promise<{ names: string[]; problems: string[] } | undefined> {
  const reading = await folder.changed();
  return (
    reading && {
      names: reading.described.map(({ service }) => service.name),
      problems: linesOf(reading.problems)
        .filter((line) => !line.startsWith('  '))
        .map((line) => line.replaceAll(`${root}/`, '')),
    }
  );
}

async function inFolder(body: (root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-folder-'));
  try {
    await body(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test('links as Kubernetes mounts a ConfigMap: what they lead to is read, and read again when it is replaced', () =>
  inFolder(async (root) => {
    const generation = (name: string, service: string): void => {
      mkdirSync(join(root, name));
      writeFileSync(join(root, name, 'web.yaml'), described(service));
      symlinkSync(name, join(root, '..data_tmp'));
      renameSync(join(root, '..data_tmp'), join(root, '..data'));
    };
    generation('..2026_01', 'one');
    symlinkSync('..data/web.yaml', join(root, 'web.yaml'));
    const folder = openServiceFolder(root);
    assert.equal(hasDescriptions(root), true);
    assert.deepEqual(await told(folder, root), { names: ['one'], problems: [] });
    assert.equal(await told(folder, root), undefined);
    generation('..2026_02', 'two');
    assert.deepEqual(await told(folder, root), { names: ['two'], problems: [] });
    rmSync(join(root, '..data'));
    assert.deepEqual((await told(folder, root))?.problems.length, 1, 'a link that leads nowhere takes nothing away: it is a problem');
  }));

test('what is no file, too large, no text or in a circle is told, and the rest is read', () =>
  inFolder(async (root) => {
    writeFileSync(join(root, 'a.yaml'), described('a'));
    mkdirSync(join(root, 'folder.yaml'));
    execFileSync('mkfifo', [join(root, 'pipe.yaml')]);
    symlinkSync('/dev/zero', join(root, 'endless.yaml'));
    symlinkSync('circle.yaml', join(root, 'circle.yaml'));
    writeFileSync(join(root, 'large.yaml'), '');
    truncateSync(join(root, 'large.yaml'), 100 * 1024 * 1024);
    writeFileSync(join(root, 'bytes.yaml'), Buffer.of(0x6e, 0xff, 0xfe));
    writeFileSync(join(root, 'empty.yaml'), '');
    writeFileSync(join(root, 'comment.yaml'), '# nothing\n');
    writeFileSync(join(root, 'z.yaml'), described('z', '10.96.0.2'));
    writeFileSync(join(root, '.hidden.yaml'), described('hidden'));
    writeFileSync(join(root, 'notes.txt'), 'text');
    const reading = await told(openServiceFolder(root), root);
    assert.deepEqual(reading?.names, ['a', 'z']);
    const expected = [
      /^bytes\.yaml:1:1: it is not UTF-8/u,
      /^circle\.yaml:1:1: it can not be read: ELOOP/u,
      /^empty\.yaml:1:1: it is empty/u,
      /^endless\.yaml:1:1: it is not a file/u,
      /^folder\.yaml:1:1: it is not a file/u,
      /^large\.yaml:1:1: the file is larger than 33554432 bytes/u,
      /^pipe\.yaml:1:1: it is not a file/u,
    ];
    assert.equal(reading.problems.length, expected.length, reading.problems.join('\n'));
    for (const [index, line] of expected.entries()) assert.match(reading.problems[index] ?? '', line);
  }));

test('a folder that goes is no order; one that takes its place is read', () =>
  inFolder(async (root) => {
    const path = join(root, 'services');
    const folder = openServiceFolder(path);
    assert.equal(await folder.changed(), undefined);
    mkdirSync(path);
    writeFileSync(join(path, 'a.yaml'), described('a'));
    assert.deepEqual((await told(folder, path))?.names, ['a']);
    renameSync(path, join(root, 'former'));
    assert.equal(await folder.changed(), undefined);
    writeFileSync(path, 'a file where the folder was');
    assert.equal(await folder.changed(), undefined);
    unlinkSync(path);
    mkdirSync(path);
    writeFileSync(join(path, 'a.yaml'), described('b'));
    assert.deepEqual((await told(folder, path))?.names, ['b']);
    rmSync(join(path, 'a.yaml'));
    assert.deepEqual(await told(folder, path), { names: [], problems: [] });
  }));

test('half a file is not taken for all of it: what is being written is read when it is quiet', () =>
  inFolder(async (root) => {
    const place = join(root, 'a.yaml');
    const both = `${described('one')}---\n${described('two', '10.96.0.2')}`;
    writeFileSync(place, both);
    const folder = openServiceFolder(root, { quietMs: 60_000 });
    assert.deepEqual(await told(folder, root), { names: ['one', 'two'], problems: [] }, 'at the start it is read as it is');
    const age = (path: string): void => utimesSync(path, new Date(0), new Date(0));
    writeFileSync(place, described('one'));
    age(root);
    assert.equal(await told(folder, root), undefined, 'a file was written a moment ago');
    writeFileSync(place, both);
    age(place);
    age(root);
    assert.deepEqual(await told(folder, root), { names: ['one', 'two'], problems: [] });
    renameSync(place, join(root, 'a.yaml~'));
    assert.equal(await told(folder, root), undefined, 'a file went a moment ago, as when an editor keeps the old one');
    age(root);
    assert.deepEqual(await told(folder, root), { names: [], problems: [] });
    writeFileSync(place, both);
    const looks: unknown[] = [];
    for (let look = 0; look < 20 && looks.at(-1) === undefined; look += 1) looks.push(await told(folder, root));
    assert.deepEqual(looks.at(-1), { names: ['one', 'two'], problems: [] }, 'what is written all the time is read, too');
    assert.ok(looks.length > 5);
  }));
