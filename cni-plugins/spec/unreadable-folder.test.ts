import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const skip = process.getuid?.() === 0 ? false : 'needs root, to become another user';

test('a user who may not read the folder of networks is asked to run the command as root', { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-networks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o700);
  // The process loads the code as root: another user may be unable to enter the folder of the checkout.
  const program = `
    const { readConfFile } = await import(${JSON.stringify(join(import.meta.dirname, 'conf-folder.ts'))});
    process.setgroups([]);
    process.setgid(65534);
    process.setuid(65534);
    try {
      readConfFile(${JSON.stringify(join(folder, 'pods.conflist'))});
    } catch ({ failure }) {
      process.stdout.write(failure.code + ': ' + failure.fix);
    }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
  assert.equal(stdout, 'NETWORK_CONFLIST_UNREADABLE: run the command as root', stderr);
});
