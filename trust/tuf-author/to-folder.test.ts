import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
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
