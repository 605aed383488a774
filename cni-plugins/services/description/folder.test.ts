import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { hasDescriptions, openServiceFolder } from './folder.ts';
import type { FolderServices, ServiceFolder } from './folder.ts';

/** Uses real files, and the thread that reads them. */

const described = (name: string, address = '10.96.0.1'): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80]\n`;
const quietMs = 60;

let root: string;
let folder: string;
let opened: ServiceFolder | undefined;
let found: FolderServices;
const logged: string[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'portcullis-folder-'));
  folder = join(root, 'services');
  mkdirSync(folder);
  logged.length = 0;
});
afterEach(() => {
  opened?.close();
  rmSync(root, { recursive: true, force: true });
});

/** Opens the folder as the thread of services does at its start. */
const open = async (): Promise<void> => {
  opened?.close();
  opened = openServiceFolder({
    folder,
    storedAt: join(root, 'state', 'files'),
    log: { error: (fields, message) => void logged.push(`${message} ${JSON.stringify(fields)}`) },
    quietMs,
  });
  await opened.settled();
  found = opened.changed() ?? assert.fail('the first call returns no services');
};
const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
/**
 * Returns `one two (three)`: three belongs to a file that has not been readable since the start. `+`: others
 * stay, too.
 */
const services = (): string => {
  found = opened?.changed() ?? found;
  const names = [
    ...found.described.map(({ service }) => service.name),
    ...found.kept.map((name) => `(${name})`),
  ];
  return [...names, ...(found.isWhole ? [] : ['+'])].join(' ');
};
const problems = (): string => {
  services();
  return found.problems.join('\n').replaceAll(`${folder}/`, '');
};
const becomes = async (report: () => string, wanted: string | RegExp): Promise<void> => {
  const is = (): boolean => (typeof wanted === 'string' ? report() === wanted : wanted.test(report()));
  for (const end = performance.now() + 30_000; !is(); await pause(20))
    if (performance.now() > end) assert.equal(report(), wanted);
};
/** Checks for longer than any change takes until it is in force. */
const stays = async (wanted: string): Promise<void> => {
  for (const end = performance.now() + 10 * quietMs; performance.now() < end; await pause(20))
    assert.equal(services(), wanted);
};
/** Waits until the state in force is on disk. */
const kept = (): Promise<void> => pause(4 * quietMs).then(() => void services());

test('the targets of links, as in a mounted ConfigMap, are read, and read again when they are replaced', async () => {
  const generation = (name: string, service: string): void => {
    mkdirSync(join(folder, name));
    write(`${name}/web.yaml`, described(service));
    symlinkSync(name, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  };
  generation('..2026_01', 'one');
  symlinkSync('..data/web.yaml', join(folder, 'web.yaml'));
  await open();
  assert.equal(
    hasDescriptions(() => folder),
    true,
  );
  assert.equal(services(), 'one');
  assert.equal(opened?.changed(), undefined);
  generation('..2026_02', 'two');
  await becomes(services, 'two');
  rmSync(join(folder, '..data'));
  await becomes(
    problems,
    /^web\.yaml:1:1: it cannot be read: it does not exist \(its last good version stays in force\)$/u,
  );
  await stays('two');
});

test('a path that is not a file, too large, not text or a circular link is reported, and the other files are read', async () => {
  write('a.yaml', described('a'));
  mkdirSync(join(folder, 'folder.yaml'));
  execFileSync('mkfifo', [join(folder, 'pipe.yaml')]);
  symlinkSync('/dev/zero', join(folder, 'endless.yaml'));
  symlinkSync('circle.yaml', join(folder, 'circle.yaml'));
  write('large.yaml', '');
  truncateSync(join(folder, 'large.yaml'), 100 * 1024 * 1024);
  writeFileSync(join(folder, 'bytes.yaml'), Buffer.of(0x6e, 0xff, 0xfe));
  write('empty.yaml', '');
  write('comment.yaml', '# nothing\n');
  write('z.yaml', described('z', '10.96.0.2'));
  write('.hidden.yaml', described('hidden'));
  write('notes.txt', 'text');
  await open();
  assert.equal(
    services(),
    'a z +',
    'nothing is removed, because the previous services of these files are not known',
  );
  const lines = problems()
    .split('\n')
    .filter((line) => !line.startsWith('  '));
  const expected = [
    /^bytes\.yaml:1:1: it cannot be read: it is not UTF-8/u,
    /^circle\.yaml:1:1: it cannot be read: its symbolic links form a loop/u,
    /^comment\.yaml:1:1: the file is empty/u,
    /^empty\.yaml:1:1: the file is empty/u,
    /^endless\.yaml:1:1: it cannot be read: it is not a regular file/u,
    /^folder\.yaml:1:1: it cannot be read: it is not a regular file/u,
    /^large\.yaml:1:1: the file is larger than 33554432 bytes/u,
    /^pipe\.yaml:1:1: it cannot be read: it is not a regular file/u,
  ];
  assert.equal(lines.length, expected.length, lines.join('\n'));
  for (const [index, line] of expected.entries()) assert.match(lines[index] ?? '', line);
});

test('for an emptied or invalid file the last valid version stays in force; removing a file removes its services', async () => {
  write('a.yaml', described('a'));
  write('b.yaml', described('b', '10.96.0.2'));
  await open();
  assert.equal(services(), 'a b');
  const forms = [
    '',
    '\n',
    '# nothing\n',
    '---\n',
    described('a').slice(0, 50),
    `${described('a')}---\n${described('c', '10.96.0.300')}`,
  ];
  for (const text of forms) {
    write('a.yaml', text);
    await becomes(problems, /^a\.yaml:\d+:\d+: [^]*its last good version stays in force\)$/u);
    await stays('a b');
    write('a.yaml', `${described('a')}# ${text.length}\n`);
    await becomes(problems, '');
  }
  write('a.yaml', '');
  rmSync(join(folder, 'b.yaml'));
  await becomes(services, 'a');
  rmSync(join(folder, 'a.yaml'));
  await becomes(services, '');
});

test('a file is read when it stops changing, and a file with several documents is read as a whole', async () => {
  await open();
  write('a.yaml', described('one'));
  await becomes(services, 'one');
  const both = `${described('one')}---\n${described('two', '10.96.0.2')}`;
  write('a.yaml', both);
  await becomes(services, 'one two');
  for (const end = performance.now() + 10 * quietMs; performance.now() < end; await pause(quietMs / 6)) {
    write('a.yaml', described('one'));
    assert.equal(services(), 'one two', 'half of a file that is being written');
  }
  write('a.yaml', both);
  await stays('one two');
});

test('if the folder is missing, cannot be listed, or was replaced by an empty one, all services stay in force, also after a restart', async () => {
  write('a.yaml', described('a'));
  await open();
  await kept();
  renameSync(folder, `${folder}.former`);
  await becomes(problems, /is gone; the last services stay in force$/u);
  await stays('a');
  await open();
  assert.equal(services(), '(a)', 'after a restart');
  writeFileSync(folder, 'a file where the folder was');
  await becomes(problems, /cannot be listed: it, or a part of its path, is not a folder/u);
  await stays('(a)');
  rmSync(folder);
  mkdirSync(folder);
  await becomes(problems, /is empty, and is not the same folder as before/u);
  await open();
  assert.equal(services(), '(a)');
  write('b.yaml', described('b'));
  await becomes(services, 'b');
  rmSync(join(folder, 'b.yaml'));
  await becomes(services, '');
});

test('a file that is emptied while no process follows the folder keeps its services; a file that is removed meanwhile loses them', async () => {
  write('a.yaml', described('a'));
  write('b.yaml', described('b', '10.96.0.2'));
  await open();
  await kept();
  write('a.yaml', '');
  rmSync(join(folder, 'b.yaml'));
  await open();
  await becomes(services, '(a)');
  assert.match(problems(), /^a\.yaml:1:1: the file is empty/u);
  write('a.yaml', described('c'));
  await becomes(services, 'c');
});

test('while it is unknown which file had which services, nothing is removed', async () => {
  await open();
  assert.equal(services(), '+', 'an empty folder at the first start');
  write('a.yaml', described('a'));
  await becomes(services, 'a');
  await kept();
  writeFileSync(join(root, 'state', 'files'), 'damaged');
  write('b.yaml', 'half: [');
  await open();
  assert.equal(services(), 'a +');
  assert.match(problems(), /is damaged: no service from files is removed/u);
  rmSync(join(folder, 'b.yaml'));
  await becomes(services, 'a');
  assert.equal(problems(), '');
});

test('a service in two files belongs to the first file, and is reported as a problem in the other', async () => {
  write('a.yaml', described('web'));
  write('b.yaml', `${described('other', '10.96.0.2')}---\n${described('web', '10.96.0.3')}`);
  await open();
  assert.equal(services(), 'web other');
  assert.deepEqual(found.described[0]?.service.addresses, ['10.96.0.1']);
  assert.match(
    problems(),
    /^b\.yaml:6:1: the service web occurs twice, first at a\.yaml:1; remove or rename one/u,
  );
});
