import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { formatFiles } from './format-files.ts';

const nobody = 65_534;
const needsRoot = { skip: process.getuid?.() !== 0 && 'it takes root' };
const upperCase = {
  check: false,
  attempted: 'format text',
  format: (text: string) => ({ text: text.toUpperCase(), problems: [] }),
};

describe('formatting files in place', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'format-files-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  const put = (name: string, content: string | Buffer): string => {
    const file = join(folder, name);
    writeFileSync(file, content);
    return file;
  };

  it('changes the file to which a link leads, and keeps the link', async () => {
    const file = put('file', 'a');
    const link = join(folder, 'link');
    symlinkSync('file', link);
    assert.deepEqual((await formatFiles([link], upperCase)).changed, [link]);
    assert.equal(readFileSync(file, 'utf8'), 'A');
    assert.ok(lstatSync(link).isSymbolicLink());
  });

  it('keeps the mode of a file', async () => {
    const file = put('private', 'a');
    chmodSync(file, 0o640);
    await formatFiles([file], upperCase);
    assert.equal(statSync(file).mode & 0o777, 0o640);
  });

  it('keeps the owner of a file', needsRoot, async () => {
    const file = put('owned', 'a');
    chownSync(file, 12, 34);
    await formatFiles([file], upperCase);
    const { uid, gid } = statSync(file);
    assert.deepEqual([readFileSync(file, 'utf8'), uid, gid], ['A', 12, 34]);
  });

  it('formats a file of another user that this user may write', needsRoot, async (t) => {
    const file = put('shared', 'a');
    chownSync(folder, nobody, nobody);
    chmodSync(file, 0o666);
    t.after(() => process.seteuid?.(0));
    process.seteuid?.(nobody);
    await formatFiles([file], upperCase);
    const { uid, gid, mode } = statSync(file);
    assert.deepEqual([readFileSync(file, 'utf8'), uid, gid, mode & 0o777], ['A', 0, 0, 0o666]);
  });

  it('refuses a file that is not UTF-8, and leaves all files as they are', async () => {
    const [first, second] = [put('first', 'a'), put('second', Buffer.from('caf\xe9', 'latin1'))];
    await assert.rejects(
      formatFiles([first, second], upperCase),
      (error) =>
        isPortcullisError(error) && error.code === 'CLI_FORMAT_UNREADABLE' && /not UTF-8/.test(error.message),
    );
    assert.equal(readFileSync(first, 'utf8'), 'a');
    assert.equal(readFileSync(second, 'latin1'), 'caf\xe9');
  });
});
