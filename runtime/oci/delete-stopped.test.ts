import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import { deleteStopped } from './delete-stopped.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-delete-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(folder, 'c'));
});

/** The process has ended, and its number may belong to another one. */
const ended = { pid: spawnSync('true').pid, 'process-start-time': 7, 'systemd-cgroup': false };
const write = (status: object | string, spec = '{"linux":{}}'): void => {
  writeFileSync(join(dir, 'status'), typeof status === 'string' ? status : JSON.stringify(status));
  writeFileSync(join(dir, 'config.json'), spec);
};

test('the folder of a container whose first process has ended is removed', async () => {
  write(ended);
  mkdirSync(join(dir, 'more'));
  assert.equal(await deleteStopped(dir), true);
  assert.equal(existsSync(dir), false);
  assert.equal(await deleteStopped(dir), false, 'the program reports an absent container');
});

test('another process with the same number does not count', async () => {
  write({ ...ended, pid: process.pid });
  assert.equal(await deleteStopped(dir), true);
});

const startTime = Number(processIdentity(process.pid)?.startTime);
for (const [why, status, spec] of [
  ['the process lives', { ...ended, pid: process.pid, 'process-start-time': startTime }],
  ['there are hooks', ended, '{"hooks":{"poststop":[]}}'],
  ['there is a cache allocation', ended, '{"linux":{"intelRdt":{}}}'],
  ['systemd has the cgroup', { ...ended, 'systemd-cgroup': true }],
  ['the file is cut off', '{"pid": 12'],
  ['the file has other fields', { id: 'x' }],
] as const)
  test(`the program deletes the container when ${why}`, async () => {
    write(status, spec);
    assert.equal(await deleteStopped(dir), false);
    assert.equal(existsSync(join(dir, 'status')), true);
  });

test('the program deletes a container without its specification', async () => {
  writeFileSync(join(dir, 'status'), JSON.stringify(ended));
  assert.equal(await deleteStopped(dir), false);
  assert.equal(existsSync(join(dir, 'status')), true);
});
