import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createLogger } from '../base/log/index.ts';
import { openServedSocket } from './served-socket.ts';

const program = `
  import { openSync } from 'node:fs';
  import { createLogger } from ${JSON.stringify(import.meta.resolve('../base/log/index.ts'))};
  import { openServedSocket } from ${JSON.stringify(import.meta.resolve('./served-socket.ts'))};
  const log = createLogger({ level: 'silent' });
  // Kernel calls are loaded at the first use.
  await (await openServedSocket(process.argv[1] + '.first', () => ({ close: async () => {} }), log, '')).close();
  const held = [];
  try { for (;;) held.push(openSync('/dev/null')); } catch {}
  try {
    await openServedSocket(process.argv[1], () => ({ close: async () => {} }), log, '');
    console.log('served');
  } catch (thrown) {
    console.log(thrown.code, thrown.kind, thrown.message);
  }
  process.exit(0);
`;

describe('a socket of the daemon', () => {
  let folder = '';
  before(() => (folder = mkdtempSync(join(tmpdir(), 'pc-served-'))));
  after(() => rmSync(folder, { recursive: true }));

  it('that cannot be opened for lack of descriptors is a failure of the start', () => {
    const socket = join(folder, 'short.sock');
    const said = spawnSync(
      'prlimit',
      ['--nofile=80', process.execPath, '--input-type=module', '-e', program, socket],
      { encoding: 'utf8' },
    );
    assert.match(
      said.stdout,
      /^CRI_SOCKET_LISTEN exhausted .*too many open files.*LimitNOFILE/u,
      said.stderr,
    );
  });

  it('that cannot be opened for another reason is not', async () => {
    const log = createLogger({ level: 'silent' });
    const serve = () => ({ close: () => Promise.resolve() });
    const service = await openServedSocket('relative.sock', serve, log, 'it is not served');
    await service.close();
    assert.equal(existsSync('relative.sock'), false);
  });
});
