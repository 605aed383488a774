import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { folderDestination } from './to-folder.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-to-folder-'));
after(() => rmSync(home, { recursive: true }));
const publication = (role: string) => {
  const lacking = [{ role, version: 3, bytes: Buffer.from(`{"role":"${role}"}`) }];
  return [{ dialect: 'tuf' as const, lacking, all: lacking }];
};

test('a file is written where clients request it, also if the name of its role contains folders', async () => {
  const folder = join(home, 'made/on/the/way');
  const destination = folderDestination(folder);
  await destination.publish(publication('targets/team'));
  assert.deepEqual(readdirSync(folder), ['3.targets']);
  assert.equal(readFileSync(join(folder, '3.targets/team.json'), 'utf8'), '{"role":"targets/team"}');
  const source = destination.source('tuf');
  assert.equal(String(await source.fetch('3.targets%2Fteam.json', 1024)), '{"role":"targets/team"}');
  assert.equal(await source.fetch('4.targets%2Fteam.json', 1024), undefined);
  await assert.rejects(source.fetch('3.targets%2Fteam.json', 5), { code: 'TRUST_TUF_TOO_LARGE' });
});

test('a new root is there only when the files of its keys are, also if one of them cannot be written', async () => {
  const folder = join(home, 'rotated');
  const lacking = ['root', 'targets', 'snapshot', 'timestamp'].flatMap(
    (role) => publication(role)[0]?.lacking ?? [],
  );
  // A file cannot take the name of a folder.
  mkdirSync(join(folder, '3.snapshot.json'), { recursive: true });
  await assert.rejects(folderDestination(folder).publish([{ dialect: 'tuf', lacking, all: lacking }]), {
    code: 'TRUST_AUTHOR_DESTINATION',
  });
  assert.deepEqual(readdirSync(folder).sort(), ['3.snapshot.json', '3.targets.json']);
});

test('a new root is there only when the timestamp is, also if the disk has no room for the timestamp', async () => {
  const folder = join(home, 'small');
  mkdirSync(folder);
  // A tmpfs of four blocks, of which one is free, in a mount namespace that ends with the program.
  const program = `
    import { execFileSync } from 'node:child_process';
    import { readdirSync, writeFileSync } from 'node:fs';
    import { folderDestination } from ${JSON.stringify(import.meta.resolve('./to-folder.ts'))};
    const folder = ${JSON.stringify(folder)};
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', folder]);
    const bytes = Buffer.alloc(4096);
    for (const name of ['a', 'b', 'c']) writeFileSync(folder + '/' + name, bytes);
    const lacking = ['root', 'timestamp'].map((role) => ({ role, version: 3, bytes }));
    const error = await folderDestination(folder)
      .publish([{ dialect: 'tuf', lacking, all: lacking }])
      .catch((thrown) => thrown.code);
    process.stdout.write(JSON.stringify({ error, files: readdirSync(folder).sort() }));`;
  const node = [process.execPath, '--input-type=module-typescript', '-e', program];
  const { stdout } = await promisify(execFile)('unshare', ['-m', '--propagation', 'private', ...node]);
  assert.deepEqual(JSON.parse(stdout) as unknown, { error: 'STORAGE_DISK_FULL', files: ['a', 'b', 'c'] });
});

test('what a killed publish left in the folder is removed by a later one', async () => {
  const folder = join(home, 'killed');
  mkdirSync(join(folder, '3.targets'), { recursive: true });
  const long = new Date(Date.now() - 3_600_000);
  for (const name of ['.timestamp.json.0123456789ab.tmp', '3.targets/.team.json.0123456789ab.tmp']) {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), long, long);
  }
  const destination = folderDestination(folder);
  await destination.publish(publication('timestamp'));
  await destination.publish(publication('targets/team'));
  assert.deepEqual(readdirSync(folder).sort(), ['3.targets', 'timestamp.json']);
  assert.deepEqual(readdirSync(join(folder, '3.targets')), ['team.json']);
});

test('a role name cannot lead out of the folder', async () => {
  const destination = folderDestination(join(home, 'inside'));
  for (const role of ['a/../../out', 'a/../b', 'a//b', 'a\0b'])
    await assert.rejects(
      destination.publish(publication(role)),
      { code: 'TRUST_TUF_MALFORMED' },
      JSON.stringify(role),
    );
  // The names of their files begin with a version.
  for (const role of ['../out', '/abs', '..']) await destination.publish(publication(role));
  assert.deepEqual(readdirSync(join(home, 'inside')).sort(), ['3.', '3...', '3....json']);
  await assert.rejects(destination.source('tuf').fetch('..%2F..%2Fetc%2Fpasswd', 1024), {
    code: 'TRUST_TUF_MALFORMED',
  });
});

test('a place that is not a folder is refused by its name', async () => {
  writeFileSync(join(home, 'file'), 'x');
  const destination = folderDestination(join(home, 'file/below'));
  const refused = (error: Error) =>
    'code' in error &&
    error.code === 'TRUST_AUTHOR_DESTINATION' &&
    error.message.includes(join(home, 'file'));
  await assert.rejects(destination.publish(publication('targets')), refused);
  await assert.rejects(destination.source('tuf').fetch('timestamp.json', 1024), refused);
});
