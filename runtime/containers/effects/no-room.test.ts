import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PortcullisError, isPortcullisError } from '../../../base/errors/index.ts';
import type { ErrorKind } from '../../../base/errors/index.ts';
import { orNoRoom } from './no-room.ts';

const refused = (kind: ErrorKind, code = 'RUNTIME_CREATE_FAILED'): PortcullisError =>
  new PortcullisError({
    code,
    kind,
    attempted: 'create container',
    on: 'c',
    why: 'crun said: open etc/resolv.conf: No such file or directory',
    fix: 'correct what the runtime names',
  });

test('a refusal of the runtime because of a full disk does not count as an error of the request', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-no-room-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=40', 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', [folder]);
    rmdirSync(folder);
  });
  const kindOf = async (thrown: unknown): Promise<string> => {
    const found = await orNoRoom(thrown, ['/', '/no/such/folder', folder]);
    return isPortcullisError(found) ? found.kind : 'without a code';
  };
  assert.equal(await kindOf(refused('precondition')), 'precondition');
  const filler = join(folder, 'filler');
  writeFileSync(filler, Buffer.alloc(1024 * 1024 - 32 * 1024));
  assert.equal(await kindOf(refused('precondition')), 'exhausted');
  assert.match(
    String(await orNoRoom(refused('precondition'), [folder])),
    /no space left .* crun said: open etc\/resolv.conf/,
  );
  assert.equal(await kindOf(refused('internal')), 'internal');
  assert.equal(await kindOf(refused('internal', 'RUNTIME_MONITOR_FAILED')), 'exhausted');
  assert.equal(await kindOf(new Error('another')), 'without a code');
  rmSync(filler);
  for (let index = 0; index < 30; index += 1) writeFileSync(join(folder, `file-${index}`), '');
  assert.equal(await kindOf(refused('precondition')), 'exhausted', 'almost without inodes');
});
