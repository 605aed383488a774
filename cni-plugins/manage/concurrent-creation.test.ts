import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { closeFd, lockFile, openFile } from '../../base/kernel/index.ts';
import { portcullisCommand } from '../../test/fixtures/command.ts';

test('two commands at once do not create two networks with one subnet', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-two-networks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const conf = join(folder, 'net.d');
  mkdirSync(conf);
  const [program = '', ...words] = portcullisCommand;
  const flags = ['--conf-dir', conf, '--root', folder, '--subnet', '10.9.0.0/24'];
  // Another command is between its check and its write.
  const other = openFile(conf, constants.O_RDONLY);
  lockFile(other);
  const command = spawn(program, [...words, 'network', 'create', 'late', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(command, 'close') as Promise<[number]>;
  let stderr = '';
  command.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  // It waits for the lock of the folder that it has opened, or is about to.
  const fds = `/proc/${command.pid}/fd`;
  const hasOpened = (): boolean =>
    readdirSync(fds).some((fd) => {
      try {
        return readlinkSync(join(fds, fd)) === conf;
      } catch {
        return false;
      }
    });
  while (command.exitCode === null && !hasOpened()) await pause(5);
  const ipam = { type: 'portcullis-ipam', ranges: [[{ subnet: '10.9.0.0/24' }]] };
  const plugins = [{ type: 'portcullis-bridge', bridge: 'br9', ipam }];
  writeFileSync(
    join(conf, '50-early.conflist'),
    JSON.stringify({ cniVersion: '1.1.0', name: 'early', plugins }),
  );
  closeFd(other);
  const [code] = await ended;
  assert.deepEqual([code, readdirSync(conf)], [1, ['50-early.conflist']], stderr);
  assert.match(stderr, /of the network early .* overlaps.*NETWORK_SUBNET_TAKEN/u);
});
